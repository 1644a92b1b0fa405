// @ts-check
/**
 * Formats of values: each kind turns a value of the server into a text with a unit, into the number that charts draw, and into
 * the labels of an axis. Numbers and times follow the reader's locale. A value of another type (null, absent) becomes an em
 * dash, never 0 or NaN.
 */

import { NOTHING, locale, money, number, scaledTo, significant } from './locale.js';

export { NOTHING, clock, locale, timeIn } from './locale.js';

/** @typedef {{text: string, unit: string}} Reading */
/** @typedef {{currency: string}} Setting */
/** A unit of a scale, such as kB: values are divided by `factor`, those from `from` on. @typedef {{factor: number, unit: string, from?: number}} Step */

/**
 * @typedef {object} Kind
 * @property {string} scale kinds with the same scale share an axis
 * @property {(value: any, setting: Setting) => Reading} read formats a value of the server
 * @property {(value: any) => number} number returns the number to draw; NaN for none
 * @property {(number: number, setting: Setting) => Reading} drawn formats such a number
 * @property {(splits: readonly number[], setting: Setting) => {labels: string[], unit: string}} axis labels of an axis, all with the same number of decimals, and their unit
 * @property {readonly number[] | null} increments distances between labels of an axis; null for those of decimal numbers
 * @property {number | null} whole upper end of values that are parts of a whole; null for others
 */

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P', 'E'];

/**
 * @param {string} unit with prefixes: kB
 * @param {number} base units per value
 * @returns {Step[]}
 */
const decimal = (unit, base) => PREFIXES.map((prefix, index) => ({ factor: 1000 ** index / base, unit: prefix + unit }));

/**
 * Returns the steps of a number with any unit: thousands are abbreviated from `from` on.
 * @param {string} unit without prefixes: 2 M orders
 * @param {number} from
 * @returns {Step[]}
 */
const abbreviated = (unit, from) =>
  PREFIXES.map((prefix, index) => ({
    factor: 1000 ** index,
    unit: prefix === '' || unit === '' || unit.startsWith('/') ? prefix + unit : `${prefix} ${unit}`,
    from: index === 0 ? 0 : Math.max(from, 1000 ** index),
  }));
/** Times in seconds. */
const TIMES = [[1e-9, 'ns'], [1e-6, 'µs'], [1e-3, 'ms'], [1, 's'], [60, 'min'], [3_600, 'h'], [86_400, 'd']];
const TIME_INCREMENTS = [
  ...[-9, -8, -7, -6, -5, -4, -3, -2, -1].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power)),
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400],
  ...[2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 10_000].map((days) => days * 86_400),
];
/** Numbers of this size and more are abbreviated: 1.23 M. The labels of an axis are from the second on. */
const [LARGE, LARGE_LABEL] = [1e6, 1e4];
/** Times from this one on are written in days, in seconds. */
const DAYS_FROM = 3 * 86_400;

/**
 * Returns the step with which a number is written: the largest one that is not larger.
 * @param {number} value
 * @param {readonly Step[]} steps in rising order
 */
function stepFor(value, steps) {
  const size = Math.abs(value) * 1.0005; // 999.95 is written as 1.00 k
  return steps.reduce((found, step) => (size >= (step.from ?? step.factor) ? step : found), steps[0]);
}

/**
 * @param {object} parts
 * @param {string} parts.scale
 * @param {(value: number, setting: Setting) => Reading} parts.read
 * @param {readonly Step[]} parts.steps units of an axis
 * @param {readonly number[]} [parts.increments]
 * @param {number} [parts.whole]
 * @param {(value: any) => number} [parts.number]
 * @returns {Kind}
 */
function numeric({ scale, read, steps, increments, whole, number: parse = numberOf }) {
  const drawn = (/** @type {number} */ value, /** @type {Setting} */ setting) => (Number.isFinite(value) ? read(value, setting) : { text: NOTHING, unit: '' });
  return {
    scale,
    number: parse,
    drawn,
    read: (value, setting) => drawn(parse(value), setting),
    axis: (splits) => {
      const { factor, unit } = stepFor(Math.max(...splits.map(Math.abs)), steps);
      return { labels: scaledTo(splits, factor), unit };
    },
    increments: increments ?? null,
    whole: whole ?? null,
  };
}

/** @param {any} value */
const numberOf = (value) => (typeof value === 'number' && Number.isFinite(value) ? value : NaN);

/**
 * Formats a number with about three significant digits; its integer part is not rounded below a million.
 * @param {number} value
 * @param {string} unit
 * @returns {Reading}
 */
function short(value, unit) {
  const step = stepFor(value, abbreviated(unit, LARGE));
  return { text: significant(value / step.factor), unit: step.unit };
}

/**
 * Returns the kind of a plain number with a fixed unit.
 * @param {string} unit
 */
export const plain = (unit) => numeric({ scale: unit, read: (value) => short(value, unit), steps: abbreviated(unit, LARGE_LABEL) });

/**
 * Returns the kind of a number whose unit has prefixes: 1.5 kB, 20 MW.
 * @param {string} unit
 * @param {number} [base] units per value: 1e6 for values in MB
 */
export const prefixed = (unit, base = 1) => {
  const steps = decimal(unit, base);
  const read = (/** @type {number} */ value) => {
    const step = stepFor(value, steps);
    return { text: significant(value / step.factor), unit: step.unit };
  };
  return numeric({ scale: `${unit}*${base}`, read, steps });
};

/**
 * Returns the kind of a time.
 * @param {number} size of one, in seconds: 0.001 for values in milliseconds
 */
const time = (size) => {
  const steps = TIMES.map(([factor, unit]) => ({ factor: Number(factor) / size, unit: String(unit) }));
  const read = (/** @type {number} */ value) => {
    const inSeconds = value * size;
    if (Math.abs(inSeconds) >= 60) return { text: inSeconds < 0 ? `−${span(-inSeconds, DAYS_FROM)}` : span(inSeconds, DAYS_FROM), unit: '' };
    // 1,500 ms is not written as 1.5 s: a latency is read in milliseconds.
    const own = steps.find(({ factor }) => factor === 1);
    const step = value === 0 && own !== undefined ? own : size === 1e-3 && inSeconds < 10 && inSeconds >= 1 ? { factor: 1, unit: 'ms' } : stepFor(value, steps.slice(0, 4));
    return { text: significant(value / step.factor), unit: step.unit };
  };
  return numeric({ scale: `time*${size}`, read, steps, increments: TIME_INCREMENTS.map((seconds) => seconds / size) });
};

export const count = numeric({
  scale: '',
  read: (value) => (Math.abs(value) < LARGE ? { text: number(value, 0, 0), unit: '' } : short(value, '')),
  steps: abbreviated('', LARGE_LABEL),
});
export const percent = numeric({ scale: '%', read: (value) => ({ text: part(value), unit: '%' }), steps: [{ factor: 1, unit: '%' }], whole: 100 });
export const ratio = numeric({ scale: 'ratio', read: (value) => ({ text: part(value * 100), unit: '%' }), steps: [{ factor: 0.01, unit: '%' }], whole: 1 });
export const bytes = prefixed('B');
export const bytesPerSecond = prefixed('B/s');
export const bits = prefixed('bit');
export const bitsPerSecond = prefixed('bit/s');
export const seconds = time(1);
export const milliseconds = time(1e-3);
export const microseconds = time(1e-6);
export const nanoseconds = time(1e-9);
export const minutes = time(60);
export const hours = time(3_600);

/**
 * Formats a percentage with one decimal, with two if it is small.
 * @param {number} value
 */
const part = (value) => (value !== 0 && Math.abs(value) < 1 ? number(value, 2, 2) : number(value, 1, 1));

/**
 * Returns the kind of amounts of money.
 * @param {string | null} fixed code of the currency; null for that of the server's business
 * @returns {Kind}
 */
export const moneyIn = (fixed) => ({
  ...numeric({ scale: `money ${fixed ?? ''}`, read: (value, { currency }) => ({ text: money(value, fixed ?? currency, Math.abs(value) >= LARGE), unit: '' }), steps: [] }),
  axis: (splits, { currency }) => {
    const { factor, unit } = stepFor(Math.max(...splits.map(Math.abs)), abbreviated('', LARGE_LABEL));
    return { labels: scaledTo(splits, factor), unit: `${unit} ${fixed ?? currency}`.trim() };
  },
});
export const amount = moneyIn(null);

/** Points in time: seconds or milliseconds since 1970, or RFC 3339. @type {Kind} */
export const date = {
  ...numeric({ scale: 'date', read: () => ({ text: '', unit: '' }), steps: [] }),
  number: (value) => (typeof value === 'string' ? Date.parse(value) : numberOf(value)),
  read: (value) => date.drawn(date.number(value), { currency: '' }),
  drawn: (value) => (isEpoch(value) ? { text: locale.dateTime(value * (value < 1e11 ? 1_000 : 1)), unit: '' } : Number.isFinite(value) ? short(value, '') : { text: NOTHING, unit: '' }),
  axis: (splits) => ({ labels: splits.map((value) => (isEpoch(value) ? locale.day(value * (value < 1e11 ? 1_000 : 1)) : significant(value))), unit: '' }),
};

/** Whether a number is a time from 1990 to 2100, in seconds or milliseconds. @param {number} value */
const isEpoch = (value) => (value >= 631e6 && value < 4_103e6) || (value >= 631e9 && value < 4_103e9);

/**
 * Parses an ISO 8601 duration of days or smaller units. Returns seconds; NaN for anything else.
 * @param {unknown} value
 */
export function durationSeconds(value) {
  const match = typeof value === 'string' ? /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/.exec(value) : null;
  if (match === null || value === 'P' || value === 'PT') return NaN;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}

/**
 * Formats seconds with the two largest units: `42 s`, `8 m 30 s`, `2 h 5 m`, `3 d 4 h`.
 * @param {number} seconds
 * @param {number} [daysFrom] seconds from which on days are used
 */
export function span(seconds, daysFrom = 86_400) {
  const all = Math.max(0, Math.round(seconds));
  const days = all < daysFrom ? 0 : Math.floor(all / 86_400);
  const parts = [days, Math.floor(all / 3_600) - 24 * days, Math.floor(all / 60) % 60, all % 60];
  const first = parts.findIndex((part) => part > 0);
  if (first < 0) return '0 s';
  return parts
    .map((part, i) => (part > 0 && i >= first && i <= first + 1 ? `${number(part, 0, 0)} ${'dhms'[i]}` : ''))
    .filter(Boolean)
    .join(' ');
}

/**
 * Formats seconds with the largest unit alone: `8 m`.
 * @param {number} seconds
 */
export const about = (seconds) => span(seconds).split(' ').slice(0, 2).join(' ');

/** ISO 8601 durations, drawn as seconds. @type {Kind} */
export const duration = { ...seconds, scale: 'duration', number: durationSeconds, read: (value) => duration.drawn(durationSeconds(value), { currency: '' }) };

/**
 * Joins a reading to a text.
 * @param {Reading} reading
 */
export const joined = ({ text, unit }) => (unit === '' ? text : `${text} ${unit}`);

/**
 * Returns a display name of a field or channel: `latency_p95` and `latencyP95` become `Latency p95`.
 * @param {string} name
 */
export function humanName(name) {
  const words = name.replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/[_\-.:]+/g, ' ').trim().toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * Turns a text of the server into a sentence.
 * @param {string} text
 */
export const sentence = (text) => (text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/([^.!?])$/, '$1.')}`);
