// @ts-check
/** Texts of the document: a little Markdown (code, paragraphs) becomes elements, never markup. */

import { element } from '../dom.js';

/**
 * A text with `code` in it.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function inline(text) {
  return text.split('`').map((part, index) => (index % 2 === 1 ? element('code', '', part) : part));
}

/**
 * Paragraphs, with an empty line between.
 * @param {string | undefined} text
 * @returns {HTMLElement[]}
 */
export function paragraphs(text) {
  return (text ?? '')
    .split(/\n\s*\n/)
    .filter((part) => part.trim() !== '')
    .map((part) => element('p', '', ...inline(part)));
}

/**
 * A block of text that keeps its lines and can be scrolled by keyboard, with a button that copies it.
 * @param {string} text
 * @param {string} label what it is, for who can't see it
 * @param {(text: string) => void} announce
 */
export function block(text, label, announce) {
  const pre = element('pre', '', element('code', '', text));
  pre.tabIndex = 0;
  pre.setAttribute('role', 'region');
  pre.setAttribute('aria-label', label);
  const copy = element('button', 'copy', 'Copy');
  copy.type = 'button';
  copy.setAttribute('aria-label', `Copy: ${label}`);
  copy.addEventListener('click', async () => {
    announce((await copied(text, pre)) ? 'Copied' : 'The text is selected: copy it with the keyboard');
  });
  return element('div', 'block', pre, copy);
}

/**
 * Copies, or where that is not allowed (a page without TLS) selects the text.
 * @param {string} text
 * @param {HTMLElement} pre
 */
async function copied(text, pre) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(pre);
    return false;
  }
}
