// @ts-check
/** Markdown tile: `options.text` with a subset of Markdown; see ../markdown.js. */

import { renderMarkdown } from '../markdown.js';
import { empty } from './empty.js';

/** @type {import('./contract.js').Mount} */
export function mountMarkdown(tile, body) {
  const text = typeof tile.options?.text === 'string' ? tile.options.text.trim() : '';
  if (text === '') return empty(body, 'This tile has no text yet.');
  body.append(...renderMarkdown(text));
  return { draw: () => {}, close: () => {} };
}
