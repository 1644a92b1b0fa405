// @ts-check
/** What a tile says instead of values: nothing yet, not there, not allowed. */

import { element } from '../dom.js';

export const NO_DATA = 'No data received on this channel yet.';

/**
 * @param {HTMLElement} body
 * @param {string} text
 * @returns {import('./contract.js').Face}
 */
export function empty(body, text) {
  body.append(element('p', 'tile-empty', text));
  return { draw: () => {}, close: () => {} };
}
