// @ts-check
/** Renders texts of the document: inline code and paragraphs become elements, never markup. */

import { element } from '../dom.js';

/**
 * Renders a text with inline `code`.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function inline(text) {
  return text.split('`').map((part, index) => (index % 2 === 1 ? element('code', '', part) : part));
}

/**
 * Splits a text into paragraphs at empty lines.
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
 * Makes a preformatted block that can be scrolled by keyboard, with a copy button.
 * @param {string} text
 * @param {string} label for screen readers
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
    announce((await copied(text, pre)) ? 'Copied' : 'Text selected: copy it with the keyboard');
  });
  return element('div', 'block', pre, copy);
}

/**
 * Copies the text, or selects it where copying is not allowed (a page without TLS).
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
