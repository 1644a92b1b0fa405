// @ts-check
/** Words of whoever made the board: `options.text`, paragraphs parted by empty lines. Text, never markup. */

import { element } from '../dom.js';
import { empty } from './empty.js';

/** @type {import('./contract.js').Mount} */
export function mountText(tile, body) {
  const text = typeof tile.options?.text === 'string' ? tile.options.text.trim() : '';
  if (text === '') return empty(body, 'Nothing is written here yet.');
  body.append(...text.split(/\n\s*\n/).map((part) => element('p', 'text-part', part)));
  return { draw: () => {}, close: () => {} };
}
