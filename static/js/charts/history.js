// @ts-check
/**
 * What was before the page was opened: the buckets of `GET api/history`, one question per field, as rows of one time line.
 * A bucket's value is what the field was last; an empty stretch becomes a row of NaN, a gap.
 *
 *     {"buckets": [{"period": "2024-07-15T14:00:00Z", "count": 60, "average": 41.2, "min": 12, "max": 77, "last": 40.5}, ...]}
 */

import { Refusal } from '../rest.js';

/** Buckets further apart than this many times the usual distance have a gap between them. */
const GAP = 2.5;

/**
 * @param {import('../rest.js').Rest} rest
 * @param {string} channel
 * @param {readonly string[]} fields
 * @param {{from: number, to: number}} range ms
 * @returns {Promise<{times: number[], values: number[][]}>} empty where the server keeps no history
 */
export async function loadHistory(rest, channel, fields, { from, to }) {
  const query = { channel, from: new Date(from).toISOString(), to: new Date(to).toISOString(), interval: 'auto' };
  const lists = await Promise.all(
    fields.map(async (field) => {
      const answer = await rest.ask('api/history', { query: { ...query, field } }).catch((error) => {
        if (error instanceof Refusal) return null; // no history: the chart begins now
        throw error;
      });
      const buckets = answer?.data?.buckets ?? answer?.data?.points ?? answer?.data;
      return Array.isArray(buckets) ? buckets : [];
    }),
  );
  return rows(lists);
}

/**
 * Buckets of several fields as one time line.
 * @param {any[][]} lists one list of buckets per field
 */
export function rows(lists) {
  /** @type {Map<number, number[]>} */
  const byTime = new Map();
  lists.forEach((buckets, field) => {
    for (const bucket of buckets) {
      const time = Date.parse(bucket?.period);
      const value = bucket?.last ?? bucket?.average;
      if (Number.isNaN(time) || typeof value !== 'number') continue;
      const row = byTime.get(time) ?? lists.map(() => NaN);
      row[field] = value;
      byTime.set(time, row);
    }
  });
  const known = [...byTime.keys()].sort((a, b) => a - b);
  const steps = known.slice(1).map((time, i) => time - known[i]).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? Infinity;
  /** @type {number[]} */
  const times = [];
  /** @type {number[][]} */
  const values = lists.map(() => []);
  const add = (/** @type {number} */ time, /** @type {number[]} */ row) => {
    times.push(time);
    row.forEach((value, field) => values[field].push(value));
  };
  known.forEach((time, i) => {
    if (i > 0 && time - known[i - 1] > GAP * usual) add(known[i - 1] + usual, lists.map(() => NaN));
    add(time, byTime.get(time) ?? []);
  });
  return { times, values };
}
