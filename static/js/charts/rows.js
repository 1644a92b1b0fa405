// @ts-check
/** Rows of a chart: one time line with the average, lowest and highest value of each line (ring.js). Pure. */

/**
 * @typedef {object} Rows
 * @property {Float64Array} times ms
 * @property {Float64Array[]} values one list per line; NaN for none
 * @property {Float64Array[]} lows
 * @property {Float64Array[]} highs
 */

/** @typedef {{last: number, min: number, avg: number, max: number}} Stats NaN for none */

/**
 * @param {Rows} rows
 * @returns {Rows}
 */
export function copyOf({ times, values, lows, highs }) {
  const copies = (/** @type {Float64Array[]} */ lists) => lists.map((list) => list.slice());
  return { times: times.slice(), values: copies(values), lows: copies(lows), highs: copies(highs) };
}

/**
 * Returns the index of the last row at or before a time; -1 if there is none.
 * @param {Float64Array} times
 * @param {number} time
 */
export function rowAt(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * Returns the last, lowest, average and highest value of a line in a time range. The average is weighted by time.
 * @param {Rows} rows
 * @param {number} line
 * @param {number} from ms
 * @param {number} to ms
 * @returns {Stats}
 */
export function statsOf({ times, values, lows, highs }, line, from, to) {
  const [value, low, high] = [values[line], lows[line], highs[line]];
  const stats = { last: NaN, min: Infinity, avg: NaN, max: -Infinity };
  let [sum, weight, plain, count] = [0, 0, 0, 0];
  for (let i = Math.max(0, rowAt(times, from)); i < times.length && times[i] <= to; i += 1) {
    if (Number.isNaN(value[i])) continue;
    stats.last = value[i];
    const next = i + 1 < times.length ? times[i + 1] : times[i];
    if (next < from) continue;
    if (low[i] < stats.min) stats.min = low[i];
    if (high[i] > stats.max) stats.max = high[i];
    plain += value[i];
    count += 1;
    const length = Math.min(next, to) - Math.max(times[i], from);
    if (length <= 0) continue;
    const end = Number.isNaN(value[i + 1]) ? value[i] : value[i + 1];
    sum += ((value[i] + end) / 2) * length;
    weight += length;
  }
  if (count === 0) return { last: stats.last, min: NaN, avg: NaN, max: NaN };
  return { ...stats, avg: weight > 0 ? sum / weight : plain / count };
}

/**
 * Returns the lowest and highest value of some lines in a time range; null for none.
 * @param {Rows | null} rows
 * @param {number} from ms
 * @param {number} to ms
 * @param {(line: number) => boolean} counts
 * @returns {[number, number] | null}
 */
export function extremes(rows, from, to, counts) {
  if (rows === null) return null;
  const { times, lows, highs } = rows;
  let low = Infinity;
  let high = -Infinity;
  // The last row before the left edge and the first after the right edge belong to visible lines.
  const first = Math.max(0, rowAt(times, from));
  for (let line = 0; line < lows.length; line += 1) {
    if (!counts(line)) continue;
    for (let i = first; i < times.length && !(times[i - 1] > to); i += 1) {
      if (lows[line][i] < low) low = lows[line][i];
      if (highs[line][i] > high) high = highs[line][i];
    }
  }
  return low > high ? null : [low, high];
}
