// @ts-check
/** Small dialogs: a name, a new dashboard, a confirmation. */

import { element } from '../dom.js';

let dialogs = 0;

/**
 * @param {string} title
 * @param {string} label
 * @param {string} value initial text
 * @param {string} act label of the button
 * @returns {Promise<string | null>} null if cancelled
 */
export function askForName(title, label, value, act) {
  const input = element('input', 'input');
  input.value = value;
  input.required = true;
  input.maxLength = 100;
  const field = element('label', 'dialog-field', element('span', '', label), input);
  return ask(title, field, act, () => input.value.trim() || null);
}

/**
 * Asks for the name of a new dashboard and its template.
 * @param {readonly {id: string, label: string, about: string}[]} templates the first one is chosen at first
 * @returns {Promise<{name: string, template: string} | null>} null if cancelled
 */
export async function askForBoard(templates) {
  const input = element('input', 'input');
  input.required = true;
  input.maxLength = 100;
  const choices = templates.map(({ id, label, about }, index) => {
    const radio = element('input');
    radio.type = 'radio';
    radio.name = 'template';
    radio.value = id;
    radio.checked = index === 0;
    radio.addEventListener('change', () => {
      const isOwn = input.value !== '' && !templates.some((one) => one.label === input.value);
      if (!isOwn) input.value = index === 0 ? '' : label;
    });
    return element('label', 'template', radio, element('span', 'template-words', element('span', 'template-name', label), element('span', 'template-about', about)));
  });
  const list = element('fieldset', 'templates', element('legend', '', 'Template'), ...choices);
  const content = element('div', 'dialog-form', element('label', 'dialog-field', element('span', '', 'Name'), input), list);
  const chosen = () => templates.find((_, index) => choices[index].querySelector('input')?.checked)?.id ?? '';
  const name = await ask('New dashboard', content, 'Create', () => input.value.trim() || null);
  return name === null ? null : { name, template: chosen() };
}

/**
 * Asks before something is deleted.
 * @param {string} title
 * @param {string} text
 * @param {string} act
 * @returns {Promise<boolean>}
 */
export async function confirmed(title, text, act) {
  return (await ask(title, element('p', '', text), act, () => 'yes', true)) !== null;
}

/**
 * @param {string} title
 * @param {HTMLElement} content
 * @param {string} act
 * @param {() => string | null} read
 * @param {boolean} [danger] whether it can't be undone
 * @returns {Promise<string | null>}
 */
function ask(title, content, act, read, danger = false) {
  dialogs += 1;
  const heading = element('h2', 'dialog-title', title);
  heading.id = `prompt-${dialogs}`;
  const cancel = element('button', 'button', 'Cancel');
  cancel.type = 'button';
  const submit = element('button', danger ? 'button button-danger' : 'button button-main', act);
  submit.type = 'submit';
  const form = element('form', 'dialog-form', heading, content, element('div', 'dialog-buttons', cancel, submit));
  const dialog = element('dialog', 'dialog dialog-small', form);
  dialog.setAttribute('aria-labelledby', heading.id);
  document.body.append(dialog);
  cancel.addEventListener('click', () => dialog.close());
  return new Promise((resolve) => {
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const answer = read();
      if (answer === null) return;
      resolve(answer);
      dialog.close();
    });
    dialog.addEventListener('close', () => {
      resolve(null);
      dialog.remove();
    });
    dialog.showModal();
  });
}
