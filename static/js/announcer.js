// @ts-check
/**
 * The two live regions of the page. They speak of what changes how the page is to be read: the state of the connection,
 * alerts, the outcome of an edit, the value under a chart's cursor. Never of each value that comes in.
 */

import { byId } from './dom.js';

/** What is replaced within this time is not read out, so a retry every few seconds or a moving cursor doesn't chatter. */
const SETTLED_MS = 500;

export class Announcer {
  #polite = byId('announcer');
  #urgent = byId('alarm');
  #timer = 0;
  #count = 0;

  /** @param {string} text said when the reader is at rest */
  say(text) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#put(this.#polite, text), SETTLED_MS);
  }

  /** @param {string} text said at once */
  warn(text) {
    this.#put(this.#urgent, text);
  }

  /**
   * The same words twice are a change only if something differs.
   * @param {HTMLElement} region
   * @param {string} text
   */
  #put(region, text) {
    this.#count += 1;
    region.textContent = text + (this.#count % 2 === 0 ? '\u00a0' : '');
  }
}
