// @ts-check
/** Details of a channel in a dialog: its newest value as JSON, live, and the command that reads it. */

import { address } from '../address.js';
import { element, setText } from '../dom.js';
import { copyText } from '../first-number.js';

/** Longest JSON that is shown. */
const MOST_CHARACTERS = 20_000;

/**
 * @param {import('./catalog.js').Channel} channel
 * @param {import('../subscriptions.js').Subscriptions} subscriptions
 * @param {boolean} withToken whether the server requires a token
 */
export function showDetails({ name, kind }, subscriptions, withToken) {
  const heading = element('h2', 'dialog-title', name);
  heading.id = 'details-title';
  const json = element('pre', 'details-json', kind === 'event' ? 'Waiting for the next event …' : '');
  json.tabIndex = 0;
  json.setAttribute('aria-label', kind === 'event' ? 'Newest event' : 'Newest value');
  const token = withToken ? '-H "Authorization: Bearer $TRICAST_TOKEN" ' : '';
  const commands = [
    ['Read it once', `curl ${token}${address(`api/metrics/${name}`)}`],
    ['Follow it', `curl -N ${token}'${address('events')}?channels=${name}'`],
  ];
  const lines = commands.map(([label, text]) => {
    const copy = element('button', 'button button-small', 'Copy');
    copy.type = 'button';
    copy.setAttribute('aria-label', `Copy: ${label}`);
    copy.addEventListener('click', () => copyText(text, copy));
    return element('div', 'details-command', element('p', 'details-label', label), element('div', 'first-line', element('code', 'first-command', text), copy));
  });
  const close = element('button', 'button', 'Close');
  close.type = 'button';
  const dialog = element('dialog', 'dialog dialog-wide', element('div', 'dialog-form', heading, json, ...lines, element('div', 'dialog-buttons', close)));
  dialog.setAttribute('aria-labelledby', heading.id);
  document.body.append(dialog);
  close.addEventListener('click', () => dialog.close());
  let frame = 0;
  /** @type {any} */
  let shown;
  const end = subscriptions.subscribe(name, {
    onUpdate: ({ event, data }) => {
      shown = event === null ? data : { event, ...data };
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        setText(json, JSON.stringify(shown, null, 2).slice(0, MOST_CHARACTERS));
      });
    },
  });
  dialog.addEventListener('close', () => {
    end();
    dialog.remove();
  });
  dialog.showModal();
  close.focus();
}
