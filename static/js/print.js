// @ts-check
/**
 * Printing: lays the page out at the width of the paper, draws all charts, and adds a line with title and time. The
 * rest (no controls, light colours) is in css/print.css.
 */

import { byId, setText } from './dom.js';
import { locale } from './format.js';

/**
 * @param {object} parts
 * @param {(on: boolean) => void} parts.prepare draws all tiles, visible or not
 * @param {() => string} parts.title
 * @param {() => number} parts.end of the time range, ms
 */
export function startPrinting({ prepare, title, end }) {
  const turn = (/** @type {boolean} */ on) => {
    const root = document.documentElement;
    if (on) root.dataset.print = 'true';
    else delete root.dataset.print;
    setText(byId('print-title'), title());
    setText(byId('print-time'), locale.long(end()));
    prepare(on);
  };
  addEventListener('beforeprint', () => turn(true));
  addEventListener('afterprint', () => turn(false));
}
