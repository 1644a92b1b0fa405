// @ts-check
/** What went wrong with the reader's last step in a tile; it stays until it is closed, or until the next step works. */

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
 * A sentence as the end of another.
 * @param {string} text
 */
export const lowered = (text) => text.replace(/^[A-Z](?=[a-z ])/, (letter) => letter.toLowerCase());
