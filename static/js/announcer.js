// @ts-check
/**
 * The two live regions of the page. They announce the state of the connection, alerts, the outcome of an edit and the value
 * under a chart's cursor, but never live values.
 */

import { byId } from './dom.js';

/** Texts that are replaced within this time are not announced, so that a moving cursor does not chatter. */
const SETTLED_MS = 500;

export class Announcer {
  #polite = byId('announcer');
  #urgent = byId('alarm');
  #timer = 0;
  #count = 0;

  /** @param {string} text announced politely */
  announce(text) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#put(this.#polite, text), SETTLED_MS);
  }

  /** @param {string} text announced at once */
  warn(text) {
    this.#put(this.#urgent, text);
  }

  /**
   * Alternates a trailing space, because the same text twice would not count as a change.
   * @param {HTMLElement} region
   * @param {string} text
   */
  #put(region, text) {
    this.#count += 1;
    region.textContent = text + (this.#count % 2 === 0 ? '\u00a0' : '');
  }
}
