// @ts-check
/** "Send your first number": a line for curl with this server's address, and a button that sends the same from the page. */

import { address } from './address.js';
import { element, setText } from './dom.js';
import { sentence } from './format.js';
import { ApiError } from './rest.js';

const EXAMPLE = { channel: 'metrics.hello', data: { visitors: 42 } };

/**
 * Returns the command that pushes the example.
 * @param {boolean} withToken whether the server requires a token
 */
export function firstCommand(withToken) {
  const token = withToken ? '-H "Authorization: Bearer $TRICAST_TOKEN" ' : '';
  return `curl ${token}-d '${JSON.stringify(EXAMPLE)}' ${address('api/metrics')}`;
}

/**
 * @param {object} options
 * @param {import('./rest.js').Rest} options.rest
 * @param {boolean} options.required whether the server requires a token
 * @param {boolean} options.mayPush whether the reader may push
 * @param {boolean} [options.linked] whether to link to the list of all channels
 */
export function firstNumber({ rest, required, mayPush, linked = false }) {
  const command = element('code', 'first-command', firstCommand(required));
  const copy = element('button', 'button button-small', 'Copy');
  copy.type = 'button';
  copy.addEventListener('click', () => copyText(firstCommand(required), copy));
  const problem = element('p', 'first-problem');
  problem.setAttribute('role', 'status');
  const send = element('button', 'button button-main button-small', 'Send it from this page');
  send.type = 'button';
  send.addEventListener('click', async () => {
    try {
      await rest.request('api/metrics', { method: 'POST', body: EXAMPLE });
      setText(problem, 'Sent: visitors 42.');
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setText(problem, `Couldn’t send: ${sentence(error.message)}`);
    }
  });
  const actions = element('p', 'first-actions', ...(mayPush ? [send] : []));
  if (linked) actions.append(linkTo('explore', 'All channels'));
  actions.append(linkTo('docs', 'API docs'));
  const words = element('div', 'first-words',
    element('h3', 'first-title', 'Send your first number'),
    element('p', '', 'Run this in a terminal. The number appears here within a second.'),
  );
  if (required) words.append(element('p', 'first-note', 'Set TRICAST_TOKEN to a token with the permission write:metrics first.'));
  return element('div', 'first', words, element('div', 'first-line', command, copy), actions, problem);
}

/**
 * Copies a text, and says so on the button.
 * @param {string} text
 * @param {HTMLButtonElement} button
 */
export async function copyText(text, button) {
  const label = button.textContent ?? 'Copy';
  // Outside of HTTPS and localhost there is no clipboard: the reader selects the text.
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  setText(button, copied ? 'Copied' : 'Press Ctrl+C');
  if (!copied) selectText(button.previousElementSibling);
  setTimeout(() => setText(button, label === 'Copied' ? 'Copy' : label), 2_000);
}

/** @param {Element | null} node */
function selectText(node) {
  if (node === null) return;
  const range = document.createRange();
  range.selectNodeContents(node);
  getSelection()?.removeAllRanges();
  getSelection()?.addRange(range);
}

/**
 * @param {string} path
 * @param {string} label
 */
function linkTo(path, label) {
  const link = element('a', '', label);
  link.href = path;
  return link;
}
