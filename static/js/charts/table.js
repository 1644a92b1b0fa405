// @ts-check
/** The rows of a chart as a table for screen readers. */

import { element } from '../dom.js';

const MOST_ROWS = 25;

/**
 * Fills the table with at most {@link MOST_ROWS} rows, the newest first.
 * @param {HTMLElement} place
 * @param {string} title
 * @param {readonly string[]} names of the lines
 * @param {Float64Array} times
 * @param {(time: number) => string} clock
 * @param {(at: number, line: number) => string} describe describes the value of a line in a row
 */
export function fillTable(place, title, names, times, clock, describe) {
  const head = element('tr', '', ...['Time', ...names].map((name) => {
    const cell = element('th', '', name);
    cell.scope = 'col';
    return cell;
  }));
  const lines = [];
  const step = Math.max(1, Math.ceil(times.length / MOST_ROWS));
  for (let i = times.length - 1; i >= 0 && lines.length < MOST_ROWS; i -= step) {
    const time = element('th', '', clock(times[i]));
    time.scope = 'row';
    lines.push(element('tr', '', time, ...names.map((_, line) => element('td', '', describe(i, line)))));
  }
  place.replaceChildren(element('table', '', element('caption', '', title), element('thead', '', head), element('tbody', '', ...lines)));
}
