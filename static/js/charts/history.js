// @ts-check
/**
 * Values from before the page was opened: `GET api/history` for all fields of a tile at once, as rows of one time line.
 *
 *     {"interval": "raw", "fields": {"ordersToday": [
 *       {"period": "2024-07-15T14:00:00.000Z", "count": 1, "total": 51, "average": 51, "min": 51, "max": 51, "last": 51}, ...]}}
 *
 * Up to an hour these are the points themselves, beyond it minutes, hours and days: the average in the middle of each, with its
 * lowest and highest value. An unchanged value is not recorded again, so a stretch without points means that the value held, unless the
 * server was unavailable, which the host's own numbers reveal, because they change every second. Those stretches become gaps.
 */

import { ApiError } from '../rest.js';
import { now } from '../time.js';

/** Fields that the server records every second while it runs. The others are requested only if the first has silent spans. */
const PULSE = { channel: 'metrics.infrastructure', field: 'cpu_usage', others: ['memory_usage', 'network_in', 'network_out'] };
/** Shortest silence that counts as an outage, in ms and in buckets. */
const SILENCE_MS = 10_000;
const SILENCE_BUCKETS = 1.5;
/** Values this close to the last beat belong to it. */
const BEAT_MS = 2_000;
/** Values that are closer are joined by a line, others by a step, because the first one held. */
const HOLD_MS = 2_500;
/** Length of a bucket in ms; points have none. */
const STEPS = /** @type {Record<string, number>} */ ({ raw: 0, minute: 60_000, hour: 3_600_000, day: 86_400_000 });
/** Longest ranges that are drawn from points, of which the server keeps one a second, and from minutes and hours; longer ones are drawn from days. */
const LONGEST = /** @type {[string, number][]} */ ([['raw', 3_600_000], ['minute', 2 * 86_400_000], ['hour', 120 * 86_400_000], ['day', Infinity]]);
/** The server keeps finer history for less time: of a range that begins earlier than this, the next coarser one is tried if the first is empty. */
const OLD_MS = 3 * 3_600_000;
/** Additional part of the range that is requested, so that the value at its beginning is known. */
const LEAD = 0.1;
/** Tiles that load within this time share one response with the pulse. */
const SHARED_MS = 2_000;

/**
 * History is requested after the first value, otherwise changes in between would be in neither. After this time it is requested
 * without waiting for the first value, and again when the value arrives.
 */
export const FIRST_VALUE_MS = 500;

/** @typedef {{from: number, to: number}} Span ms */

/**
 * `lows` and `highs` are those of the time that a row stands for; NaN for none. `last`: the newest values. `outageEnd`: when the
 * server was last available again, NaN if it always was.
 * @typedef {{times: number[], values: number[][], lows: number[][], highs: number[][], last: number[], outageEnd: number}} Past
 */

/** @typedef {{interval: string, fields: Record<string, Bucket[]>}} Answer */
/** @typedef {{period: string, average: number, min: number, max: number, last: number}} Bucket */

/** Outages that were requested last, the newest first. @type {{span: Span, outages: Promise<Span[]>}[]} */
let pulses = [];
/** The range itself, the one that it is compared with, and those before a zoom. */
const MOST_PULSES = 4;

/**
 * Returns when the server was unavailable. Tiles that load together share the answer.
 * @param {import('../rest.js').Rest} rest
 * @param {readonly string[]} intervals
 * @param {Span} span
 */
function outagesIn(rest, intervals, span) {
  const isNear = (/** @type {number} */ one, /** @type {number} */ other) => Math.abs(one - other) <= SHARED_MS;
  const known = pulses.find((pulse) => isNear(pulse.span.from, span.from) && isNear(pulse.span.to, span.to));
  if (known !== undefined) return known.outages;
  const outages = serverOutages(rest, intervals, span);
  pulses = [{ span, outages }, ...pulses].slice(0, MOST_PULSES);
  return outages;
}

/**
 * @param {import('../rest.js').Rest} rest
 * @param {string} channel
 * @param {readonly string[]} fields
 * @param {Span} range on the page's clock
 * @param {number} [until] time of the first live value, ms; NaN for none
 * @returns {Promise<Past>} empty if the server keeps no history
 */
export async function loadHistory(rest, channel, fields, range, until = NaN) {
  const to = range.to + rest.skew;
  const length = range.to - range.from;
  const span = { from: to - length * (1 + LEAD), to };
  const first = LONGEST.findIndex(([, longest]) => length <= longest);
  const intervals = LONGEST.slice(first).map(([interval]) => interval);
  const [answer, outages] = await Promise.all([ask(rest, channel, fields, intervals, span), outagesIn(rest, intervals, span)]);
  const past = rows(fields.map((field) => answer?.fields[field] ?? []), outages, STEPS[answer?.interval ?? 'raw'] ?? 0, Math.min(until + rest.skew || to, to));
  const behind = outages.filter(({ from }) => from > span.from).map((gap) => gap.to);
  return { ...past, times: past.times.map((time) => time - rest.skew), outageEnd: (behind.at(-1) ?? NaN) - rest.skew };
}

/**
 * Returns when the server was unavailable.
 * @param {import('../rest.js').Rest} rest
 * @param {readonly string[]} intervals
 * @param {Span} span
 */
async function serverOutages(rest, intervals, span) {
  const { channel, field, others } = PULSE;
  const answer = await ask(rest, channel, [field], intervals, span);
  // Of a time from which no beat was kept, nothing is known.
  if (answer?.fields[field]?.length === 0 && span.to < now() + rest.skew - OLD_MS) return [];
  const quiet = silences(answer, span);
  if (answer === null || quiet.length === 0) return quiet;
  // On an idle machine one number may be constant for a while, but not all of them.
  const asked = { from: quiet[0].from - BEAT_MS, to: quiet[quiet.length - 1].to + BEAT_MS };
  const more = await ask(rest, channel, others, [answer.interval], asked);
  return silences({ ...answer, fields: { ...answer.fields, ...more?.fields } }, span);
}

/**
 * @param {import('../rest.js').Rest} rest
 * @param {string} channel
 * @param {readonly string[]} fields
 * @param {readonly string[]} intervals to try in this order
 * @param {Span} span on the server's clock
 * @returns {Promise<Answer | null>} null if there is none
 */
async function ask(rest, channel, fields, [interval, ...others], { from, to }) {
  const query = { channel, from: new Date(from).toISOString(), to: new Date(to).toISOString(), interval, field: fields };
  try {
    const { data } = await rest.request('api/history', { query });
    // For one field the response has its buckets alone.
    const answer = { interval: data.interval, fields: data.fields ?? { [fields[0]]: data.buckets } };
    const isOld = from < now() + rest.skew - OLD_MS;
    if (isOld && others.length > 0 && fields.every((field) => (answer.fields[field] ?? []).length === 0)) {
      return (await ask(rest, channel, fields, others, { from, to })) ?? answer;
    }
    return answer;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 400 && others.length > 0) return ask(rest, channel, fields, others, { from, to }); // too many points
    return null; // no history, or no permission: the line begins now
  }
}

/**
 * Returns the spans in which the pulse was silent for too long.
 * @param {{interval: string, fields: Record<string, {period: string}[]>} | null} answer
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
 * Merges buckets of several fields into one time line: a value holds until the next, except while the server was unavailable.
 * @param {Bucket[][]} lists one list of buckets per field
 * @param {Span[]} outages
 * @param {number} step length of a bucket, ms
 * @param {number} [until] live values begin here: a bucket that contains it stands for its first part
 * @returns {Omit<Past, 'outageEnd'>}
 */
export function rows(lists, outages, step, until = Infinity) {
  /** @type {Map<number, (Bucket | undefined)[]>} */
  const byTime = new Map();
  lists.forEach((buckets, field) => {
    for (const bucket of buckets) {
      const time = Date.parse(bucket.period);
      const row = byTime.get(time) ?? lists.map(() => undefined);
      row[field] = bucket;
      byTime.set(time, row);
    }
  });
  const past = { times: /** @type {number[]} */ ([]), values: lists.map(() => []), lows: lists.map(() => []), highs: lists.map(() => []) };
  const add = (/** @type {number} */ time, /** @type {number[]} */ values, lows = values, highs = values) => {
    past.times.push(time);
    for (const [place, row] of /** @type {[number[][], number[]][]} */ ([[past.values, values], [past.lows, lows], [past.highs, highs]])) {
      row.forEach((value, field) => place[field].push(value));
    }
  };
  const nothing = lists.map(() => NaN);
  let held = nothing;
  let heldSince = -Infinity;
  /** Ends the held values if the server was unavailable between them and `time`. */
  const interrupt = (/** @type {number} */ time) => {
    const gap = outages.find(({ from, to }) => from + BEAT_MS < time && to > heldSince && from + BEAT_MS >= heldSince);
    if (gap === undefined || past.times.length === 0) return false;
    const from = Math.max(gap.from, heldSince);
    if (from > heldSince) add(from, held);
    add(from, nothing);
    held = nothing;
    return true;
  };
  for (const [time, row] of [...byTime].sort(([a], [b]) => a - b)) {
    if (!interrupt(time) && past.times.length > 0 && time - heldSince > HOLD_MS + (SILENCE_BUCKETS - 1) * step) {
      if (step > 0) add(heldSince, held); // a bucket is drawn in its middle, and its last value holds from its end
      add(time - 1, held);
    }
    const before = held;
    const pick = (/** @type {(bucket: Bucket, held: number) => number} */ of) =>
      row.map((bucket, field) => (bucket === undefined ? before[field] : of(bucket, before[field])));
    // The value before a bucket also held in it, until its first new one.
    const known = (/** @type {number} */ value, /** @type {number} */ otherwise) => (step === 0 || Number.isNaN(value) ? otherwise : value);
    add(
      Math.min(time + step / 2, time < until ? (time + until) / 2 : Infinity),
      pick(({ average }) => average),
      pick(({ average, min = average }, value) => Math.min(min, known(value, min))),
      pick(({ average, max = average }, value) => Math.max(max, known(value, max))),
    );
    held = pick(({ last }) => last);
    heldSince = time + step;
  }
  if (byTime.size > 0) interrupt(Infinity);
  return { ...past, last: held };
}
