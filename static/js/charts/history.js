// @ts-check
/**
 * What was before the page was opened: `GET api/history` of all fields of a tile at once, as rows of one time line.
 *
 *     {"interval": "raw", "fields": {"ordersToday": [
 *       {"period": "2024-07-15T14:00:00.000Z", "count": 1, "total": 51, "average": 51, "min": 51, "max": 51, "last": 51}, ...]}}
 *
 * A value that does not change is not recorded again, so an empty stretch means that it held; unless the server was away,
 * which shows in what changes every second: this host's own numbers. Those stretches become gaps.
 */

import { Refusal } from '../rest.js';

/** What the server records all the time, as long as it is there. */
const PULSE = { channel: 'metrics.infrastructure', field: ['cpu_usage', 'memory_usage', 'network_in', 'network_out'] };
/** Longer silence than this, and than this many buckets, is no pause of the pulse. */
const SILENCE_MS = 10_000;
const SILENCE_BUCKETS = 1.5;
/** Values that are closer are joined by a line, those farther apart by a step: the first one held. */
const HOLD_MS = 2_500;
/** Length of a bucket in ms; points have none. */
const STEPS = /** @type {Record<string, number>} */ ({ raw: 0, minute: 60_000, hour: 3_600_000, day: 86_400_000 });
/** Tiles that load at the same time share one answer about the pulse. */
const SHARED_MS = 2_000;

/**
 * The past is asked for behind the first value, or else what changed in between would be in neither. A connection that
 * takes longer than this is not waited for; then the past is asked for again.
 */
export const FIRST_VALUE_MS = 500;

/** @typedef {{times: number[], values: number[][]}} Past one list of values per field; NaN for none */
/** @typedef {{from: number, to: number}} Span ms */

/** @type {{at: number, length: number, away: Promise<Span[]>}} */
let pulse = { at: 0, length: 0, away: Promise.resolve([]) };

/**
 * @param {import('../rest.js').Rest} rest
 * @param {string} channel
 * @param {readonly string[]} fields
 * @param {Span} span
 * @returns {Promise<Past>} empty where the server keeps no history
 */
export async function loadHistory(rest, channel, fields, span) {
  if (span.from - pulse.at > SHARED_MS || pulse.length !== span.to - span.from) {
    const away = ask(rest, PULSE.channel, PULSE.field, span).then((answer) => silences(answer, { from: span.from + rest.skew, to: span.to + rest.skew }));
    pulse = { at: span.from, length: span.to - span.from, away };
  }
  const [answer, away] = await Promise.all([ask(rest, channel, fields, span), pulse.away]);
  const past = rows(fields.map((field) => answer?.fields[field] ?? []), away, STEPS[answer?.interval ?? 'raw'] ?? 0);
  return { ...past, times: past.times.map((time) => time - rest.skew) };
}

/**
 * @param {import('../rest.js').Rest} rest
 * @param {string} channel
 * @param {readonly string[]} fields
 * @param {Span} span
 * @returns {Promise<{interval: string, fields: Record<string, any[]>} | null>} null where there is none
 */
async function ask(rest, channel, fields, { from, to }) {
  const query = { channel, from: new Date(from + rest.skew).toISOString(), to: new Date(to + rest.skew).toISOString(), interval: 'auto', field: fields };
  try {
    const { data } = await rest.ask('api/history', { query });
    // Of one field the server answers its buckets alone.
    return { interval: data.interval, fields: data.fields ?? { [fields[0]]: data.buckets } };
  } catch (error) {
    if (error instanceof Refusal) return null; // no history, or not for this reader: the line begins now
    throw error;
  }
}

/**
 * Where the pulse was silent for too long.
 * @param {{interval: string, fields: Record<string, any[]>} | null} answer
 * @param {Span} span
 * @returns {Span[]}
 */
export function silences(answer, span) {
  if (answer === null) return [];
  const step = STEPS[answer.interval] ?? 0;
  const most = Math.max(SILENCE_MS, SILENCE_BUCKETS * step);
  const beats = Object.values(answer.fields).flatMap((buckets) => buckets.map(({ period }) => Date.parse(period)));
  const known = [...new Set(beats)].sort((a, b) => a - b);
  const found = [];
  let last = span.from;
  for (const beat of [...known, span.to]) {
    if (beat - last > most) found.push({ from: last === span.from ? last : last + step, to: beat });
    last = beat;
  }
  return found;
}

/**
 * Buckets of several fields as one time line: a value holds until the next, but not while the server was away.
 * @param {{period: string, last: number}[][]} lists one list of buckets per field
 * @param {Span[]} away
 * @param {number} step length of a bucket, ms
 * @returns {Past}
 */
export function rows(lists, away, step) {
  /** @type {Map<number, number[]>} */
  const byTime = new Map();
  lists.forEach((buckets, field) => {
    for (const { period, last } of buckets) {
      const time = Date.parse(period);
      const row = byTime.get(time) ?? lists.map(() => NaN);
      row[field] = last;
      byTime.set(time, row);
    }
  });
  /** @type {number[]} */
  const times = [];
  /** @type {number[][]} */
  const values = lists.map(() => []);
  const add = (/** @type {number} */ time, /** @type {readonly number[]} */ row) => {
    times.push(time);
    row.forEach((value, field) => values[field].push(value));
  };
  const nothing = lists.map(() => NaN);
  let held = nothing;
  let heldSince = -Infinity;
  for (const [time, row] of [...byTime].sort(([a], [b]) => a - b)) {
    const gap = away.find(({ from, to }) => from < time && to > heldSince && from >= heldSince - step);
    if (gap !== undefined && times.length > 0) {
      if (gap.from > heldSince) add(gap.from, held);
      add(gap.from, nothing);
      held = nothing;
    } else if (times.length > 0 && time - heldSince > HOLD_MS + SILENCE_BUCKETS * step) {
      add(time - 1, held);
    }
    held = held.map((value, field) => (Number.isNaN(row[field]) ? value : row[field]));
    heldSince = time;
    add(time, held);
  }
  return { times, values };
}
