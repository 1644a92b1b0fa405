// @ts-check
/**
 * The page on paper: laid out at its width before it is printed, with all charts drawn, and a line that says what it shows and
 * when. The rest (no controls, light colours) is in css/print.css.
 */

import { byId, setText } from './dom.js';

/**
 * @param {object} parts
 * @param {(on: boolean) => void} parts.prepare draws everything, seen or not
 * @param {() => string} parts.title
 * @param {() => number} parts.end of the range of time, ms
 */
export function startPrinting({ prepare, title, end }) {
  const turn = (/** @type {boolean} */ on) => {
    const root = document.documentElement;
    if (on) root.dataset.print = 'true';
    else delete root.dataset.print;
    setText(byId('print-title'), title());
    setText(byId('print-time'), new Date(end()).toLocaleString('en-GB', { dateStyle: 'long', timeStyle: 'medium' }));
    prepare(on);
  };
  addEventListener('beforeprint', () => turn(true));
  addEventListener('afterprint', () => turn(false));
}
