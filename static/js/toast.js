// @ts-check
/** Messages at the foot of the page. They disappear by themselves; errors stay until closed or resolved. */

import { byId, element } from './dom.js';

const STAYS_MS = 6_000;

/**
 * @param {string} text
 * @param {boolean} [bad]
 * @param {HTMLAnchorElement | null} [link] to what the message is about
 * @returns {() => void} removes it
 */
export function toast(text, bad = false, link = null) {
  const close = element('button', 'tool', '✕');
  close.type = 'button';
  close.setAttribute('aria-label', 'Close this message');
  const node = element('div', bad ? 'toast toast-bad' : 'toast', element('p', '', text), ...(link === null ? [] : [link]), close);
  close.addEventListener('click', () => node.remove());
  byId('toasts').replaceChildren(node);
  if (!bad) setTimeout(() => node.remove(), STAYS_MS);
  return () => node.remove();
}
