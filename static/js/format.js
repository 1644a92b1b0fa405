// @ts-check
/**
 * How values read: each kind turns what the server sent into a text, its unit, and the number a sparkline draws. Anything
 * that is not of the kind (null, absent, a wrong type) reads as an em dash, never as 0 or NaN.
 */

export const NOTHING = '—';

/** @typedef {{text: string, unit: string}} Reading */
/** @typedef {{currency: string}} Setting */

/**
 * @typedef {object} Kind
 * @property {string} scale values of kinds with the same one can be drawn on one axis
 * @property {(value: any, setting: Setting) => Reading} read what the server sent
 * @property {(value: any) => number} number what is drawn of it; NaN for nothing
 * @property {(number: number, setting: Setting) => Reading} drawn what such a number reads
 */

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
/** By number of digits; making one takes longer than using it a hundred times. */
const SHORT = [0, 1, 2].map((digits) => new Intl.NumberFormat('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const money = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/**
 * About three significant digits, never fewer whole ones than there are.
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
 * A plain number with a fixed unit.
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
 * An ISO 8601 duration of at most days, in seconds; NaN for anything else.
 * @param {unknown} value
 */
export function durationSeconds(value) {
  const match = typeof value === 'string' ? /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/.exec(value) : null;
  if (match === null || value === 'P' || value === 'PT') return NaN;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}

/**
 * Seconds as the two largest units that matter: `42 s`, `8 m 30 s`, `2 h 5 m`, `3 d 4 h`.
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
 * The same with the largest unit alone, for what is only roughly of interest: `8 m`.
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

/** A number of seconds. */
export const seconds = numeric('s', (value) => (value < 60 ? { text: short(value), unit: 's' } : { text: span(value), unit: '' }));

/**
 * A field or channel name for a person: `latency_p95` and `latencyP95` become `Latency p95`.
 * @param {string} name
 */
export function humanName(name) {
  const words = name.replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/[_\-.:]+/g, ' ').trim().toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * Time of day on the reader's clock.
 * @param {number} time
 */
export const clock = (time) => new Date(time).toLocaleTimeString('en-GB');

/**
 * What a server says, as a sentence.
 * @param {string} text
 */
export const sentence = (text) => (text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/([^.!?])$/, '$1.')}`);
