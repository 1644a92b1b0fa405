// @ts-check
/** Message of a tile without values: no data yet, no such channel, no permission. */

import { element } from '../dom.js';

export const NO_DATA = 'No data received on this channel yet.';

/**
 * @param {HTMLElement} body
 * @param {string} text
 * @returns {import('./contract.js').TileView}
 */
export function empty(body, text) {
  body.append(element('p', 'tile-empty', text));
  return { draw: () => {}, close: () => {} };
}
