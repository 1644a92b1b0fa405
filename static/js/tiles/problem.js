// @ts-check
/** Error message about the reader's last action in a tile; it stays until it is closed, or until the next action. */

import { element, setText } from '../dom.js';

export class Problem {
  #words = element('p');
  element = element('div', 'tile-problem', this.#words);

  constructor() {
    const close = element('button', 'tool', '✕');
    close.type = 'button';
    close.setAttribute('aria-label', 'Close this message');
    close.addEventListener('click', () => this.clear());
    this.#words.setAttribute('role', 'alert');
    this.element.append(close);
    this.clear();
  }

  /** @param {string} text */
  show(text) {
    this.element.hidden = false;
    setText(this.#words, text);
  }

  clear() {
    setText(this.#words, '');
    this.element.hidden = true;
  }
}

/**
 * Lowers the first letter, so that a sentence can follow a colon.
 * @param {string} text
 */
export const lowered = (text) => text.replace(/^[A-Z](?=[a-z ])/, (letter) => letter.toLowerCase());
