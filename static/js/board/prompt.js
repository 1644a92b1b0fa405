// @ts-check
/** Small dialogs: a name, a confirmation. */

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
 * @param {string} title
 * @param {string} text
 * @param {string} act
 * @returns {Promise<boolean>}
 */
export async function confirmed(title, text, act) {
  return (await ask(title, element('p', '', text), act, () => 'yes')) !== null;
}

/**
 * @param {string} title
 * @param {HTMLElement} content
 * @param {string} act
 * @param {() => string | null} read
 * @returns {Promise<string | null>}
 */
function ask(title, content, act, read) {
  dialogs += 1;
  const heading = element('h2', 'dialog-title', title);
  heading.id = `prompt-${dialogs}`;
  const cancel = element('button', 'button', 'Cancel');
  cancel.type = 'button';
  const submit = element('button', 'button button-main', act);
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
