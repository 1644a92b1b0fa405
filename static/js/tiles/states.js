// @ts-check
/** History of states over a time range: segments with the worst level in each, and the share of time that was good. Pure. */

/** @typedef {import('./level.js').Level | 'none'} SegmentLevel `none`: no data */
/** @typedef {{from: number, level: SegmentLevel}} Change a level that holds from a time on, ms */

const RANK = { none: -1, plain: 0, good: 0, warning: 1, critical: 2 };

/**
 * Divides a time range into segments of one length with the worst level that held in each.
 * @param {readonly Change[]} changes in the order of time
 * @param {number} from ms
 * @param {number} to ms
 * @param {number} count
 * @returns {SegmentLevel[]}
 */
export function segments(changes, from, to, count) {
  /** @type {SegmentLevel[]} */
  const worst = Array.from({ length: count }, () => 'none');
  const step = (to - from) / count;
  changes.forEach((change, index) => {
    const end = Math.min(changes[index + 1]?.from ?? to, to);
    if (end <= from || change.from >= to) return;
    const first = Math.max(0, Math.floor((change.from - from) / step));
    const last = Math.min(count - 1, Math.ceil((end - from) / step) - 1);
    for (let i = first; i <= Math.max(first, last); i += 1) if (RANK[change.level] > RANK[worst[i]] || worst[i] === 'none') worst[i] = change.level;
  });
  return worst;
}

/**
 * Returns the share of the known time in which the level was not critical, 0 to 1; NaN if nothing is known.
 * @param {readonly Change[]} changes in the order of time
 * @param {number} from ms
 * @param {number} to ms
 */
export function uptime(changes, from, to) {
  let known = 0;
  let up = 0;
  changes.forEach((change, index) => {
    const start = Math.max(change.from, from);
    const end = Math.min(changes[index + 1]?.from ?? to, to);
    if (end <= start || change.level === 'none') return;
    known += end - start;
    if (change.level !== 'critical') up += end - start;
  });
  return known === 0 ? NaN : up / known;
}

/**
 * Turns rows of a line into changes. The level of a row is that of its lowest or highest value, whichever is worse.
 * @param {{times: Float64Array, values: Float64Array[], lows: Float64Array[], highs: Float64Array[]}} rows of one field
 * @param {(value: number) => import('./level.js').Level} levelOf
 * @returns {Change[]}
 */
export function changesOf({ times, values: [values], lows: [lows], highs: [highs] }, levelOf) {
  /** @type {Change[]} */
  const changes = [];
  for (let i = 0; i < times.length; i += 1) {
    const [low, high] = [levelOf(lows[i]), levelOf(highs[i])];
    const level = Number.isNaN(values[i]) ? 'none' : RANK[low] > RANK[high] ? low : high;
    if (changes.at(-1)?.level !== level) changes.push({ from: times[i], level });
  }
  return changes;
}
