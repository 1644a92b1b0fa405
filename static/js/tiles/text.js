// @ts-check
/** Text tile: `options.text`, paragraphs separated by empty lines. Plain text, never markup. */

import { element } from '../dom.js';
import { empty } from './empty.js';

/** @type {import('./contract.js').Mount} */
export function mountText(tile, body) {
  const text = typeof tile.options?.text === 'string' ? tile.options.text.trim() : '';
  if (text === '') return empty(body, 'This tile has no text yet.');
  body.append(...text.split(/\n\s*\n/).map((part) => element('p', 'text-part', part)));
  return { draw: () => {}, close: () => {} };
}
