// @ts-check
/**
 * The time range in the address: `?range=15m` until now, `?from=…&to=…` for fixed times, and `compare=1d` or `7d`. Each zoom,
 * move and choice is an entry of the browser's history, so that "Back" returns to the range before.
 */

import { now } from '../time.js';
import { LONGEST, SHORTEST, lengthText, parseLength } from './length.js';
import { COMPARISONS } from './range.js';

/** @typedef {import('./range.js').State} State */

/** Mark of a history entry that a change of the range has made. */
const MARK = 'tricastRange';

/**
 * Returns the range that a query string names; null if it names none, or one that can't be read.
 * @param {string} search
 * @returns {State | null}
 */
export function readRange(search) {
  const query = new URLSearchParams(search);
  const compare = query.get('compare');
  const other = compare !== null && Object.hasOwn(COMPARISONS, compare) ? compare : null;
  const [from, to] = [instant(query.get('from')), instant(query.get('to'))];
  if (to - from >= SHORTEST && to - from <= LONGEST && from < now()) {
    const end = to < now() ? to : null; // a range that ends in the future is live
    return { length: end === null ? Math.max(SHORTEST, Math.round((now() - from) / 1_000) * 1_000) : to - from, to: end, compare: other };
  }
  const length = parseLength(query.get('range') ?? '');
  return Number.isNaN(length) ? null : { length, to: null, compare: other };
}

/**
 * Returns a query string with a range in place of the one that it names.
 * @param {string} search
 * @param {State} state
 */
export function writeRange(search, { length, to, compare }) {
  const query = new URLSearchParams(search);
  for (const name of ['range', 'from', 'to', 'compare']) query.delete(name);
  if (to === null) query.set('range', lengthText(length));
  else {
    query.set('from', timestamp(to - length));
    query.set('to', timestamp(to));
  }
  if (compare !== null) query.set('compare', compare);
  return `?${`${query}`.replaceAll('%3A', ':')}`;
}

/** @param {string | null} text RFC 3339, or ms since 1970 */
const instant = (text) => (text === null ? NaN : /^\d{11,14}$/.test(text) ? Number(text) : Date.parse(text));

/** @param {number} time */
const timestamp = (time) => new Date(time).toISOString().replace('.000Z', 'Z');

/**
 * Connects a range with the address.
 * @param {import('./range.js').Range} range
 */
export function followAddress(range) {
  const restore = () => {
    const state = readRange(location.search);
    if (state !== null) range.restore(state);
    return state !== null;
  };
  restore();
  // What the page shows without a range in its address.
  const initial = range.state;
  addEventListener('popstate', () => restore() || range.restore(initial));
  range.onChange((entry) => {
    if (entry === 'restored') return;
    const url = writeRange(location.search, range.state) + location.hash;
    if (entry === 'new') history.pushState({ [MARK]: true }, '', url);
    else history.replaceState(history.state, '', url);
  });
}

/**
 * Returns to the range before the last change; without one, shows twice the time.
 * @param {import('./range.js').Range} range
 * @param {number} now
 */
export function goBack(range, now) {
  if (history.state?.[MARK] === true) history.back();
  else range.zoom(-1, now);
}

/**
 * Returns the link to what the page shows: dashboard, time range, and view.
 * @param {import('./range.js').Range} range
 * @param {string | null} board
 */
export function linkTo(range, board) {
  const url = new URL(location.href);
  url.search = writeRange(url.search, range.state);
  const query = new URLSearchParams(url.search);
  query.delete('transport');
  query.delete('token');
  if (board !== null) query.set('board', board);
  url.search = `${query}`.replaceAll('%3A', ':');
  return url.href;
}
