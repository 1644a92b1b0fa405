// @ts-check
/**
 * Formats of values: each kind turns a value of the server into a text with a unit, and into the number that charts draw. A
 * value of another type (null, absent) becomes an em dash, never 0 or NaN.
 */

export const NOTHING = '—';

/** @typedef {{text: string, unit: string}} Reading */
/** @typedef {{currency: string}} Setting */

/**
 * @typedef {object} Kind
 * @property {string} scale kinds with the same scale share an axis
 * @property {(value: any, setting: Setting) => Reading} read formats a value of the server
 * @property {(value: any) => number} number returns the number to draw; NaN for none
 * @property {(number: number, setting: Setting) => Reading} drawn formats such a number
 */

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
/** By number of digits. Creating a format is a hundred times slower than using it. */
const SHORT = [0, 1, 2].map((digits) => new Intl.NumberFormat('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const money = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/**
 * Formats about three significant digits, without rounding the integer part.
 * @param {number} value
 */
function short(value) {
  const size = Math.abs(value);
  const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2;
  if (size >= 1e15) return value.toExponential(2);
  if (size > 0 && size < 0.005) return value.toPrecision(2);
  return SHORT[digits].format(value);
}

/**
 * @param {number} value
 * @param {number} step
 * @param {readonly string[]} units
 * @returns {Reading}
 */
function scaled(value, step, units) {
  let index = 0;
  while (Math.abs(value) >= step * 0.9995 && index < units.length - 1) {
    value /= step;
    index += 1;
  }
  return { text: index === 0 ? whole.format(value) : short(value), unit: units[index] };
}

/**
 * @param {string} scale
 * @param {(value: number, setting: Setting) => Reading} read
 * @returns {Kind}
 */
function numeric(scale, read) {
  const number = (/** @type {any} */ value) => (typeof value === 'number' && Number.isFinite(value) ? value : NaN);
  const readAny = (/** @type {any} */ value, /** @type {Setting} */ setting) =>
    Number.isNaN(number(value)) ? { text: NOTHING, unit: '' } : read(value, setting);
  return { scale, number, read: readAny, drawn: readAny };
}

/**
 * Returns the kind of a plain number with a fixed unit.
 * @param {string} unit
 */
export const plain = (unit) => numeric(unit, (value) => ({ text: short(value), unit }));

export const count = numeric('', (value) => ({ text: whole.format(value), unit: '' }));
export const percent = numeric('%', (value) => ({ text: value.toFixed(1), unit: '%' }));
export const ratio = numeric('ratio', (value) => ({ text: (value * 100).toFixed(value !== 0 && Math.abs(value) < 0.1 ? 2 : 1), unit: '%' }));
export const amount = numeric('money', (value, { currency }) => ({ text: money.format(value), unit: currency }));
export const bytesPerSecond = numeric('B/s', (value) => scaled(value, 1000, ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s']));
export const bytes = numeric('B', (value) => scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB']));
export const milliseconds = numeric('ms', (value) =>
  value < 10_000 ? { text: short(value), unit: 'ms' } : { text: short(value / 1000), unit: 's' },
);

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
 */
export function span(seconds) {
  const all = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(all / 86_400), Math.floor(all / 3_600) % 24, Math.floor(all / 60) % 60, all % 60];
  const first = parts.findIndex((part) => part > 0);
  if (first < 0) return '0 s';
  return parts
    .map((part, i) => (part > 0 && i >= first && i <= first + 1 ? `${part} ${'dhms'[i]}` : ''))
    .filter(Boolean)
    .join(' ');
}

/**
 * Formats seconds with the largest unit alone: `8 m`.
 * @param {number} seconds
 */
export const about = (seconds) => span(seconds).split(' ').slice(0, 2).join(' ');

/** @type {Kind} */
export const duration = {
  scale: 'duration',
  number: durationSeconds,
  read: (value) => duration.drawn(durationSeconds(value), { currency: '' }),
  drawn: (seconds) => ({ text: Number.isNaN(seconds) ? NOTHING : span(seconds), unit: '' }),
};

/** Number of seconds. */
export const seconds = numeric('s', (value) => (value < 60 ? { text: short(value), unit: 's' } : { text: span(value), unit: '' }));

/**
 * Returns a display name of a field or channel: `latency_p95` and `latencyP95` become `Latency p95`.
 * @param {string} name
 */
export function humanName(name) {
  const words = name.replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/[_\-.:]+/g, ' ').trim().toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * Formats a time of day in the reader's time zone.
 * @param {number} time
 */
export const clock = (time) => new Date(time).toLocaleTimeString('en-GB');

/**
 * Turns a text of the server into a sentence.
 * @param {string} text
 */
export const sentence = (text) => (text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/([^.!?])$/, '$1.')}`);
