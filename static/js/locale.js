// @ts-check
/** Numbers, amounts and times in the reader's locale. Creating a format is a hundred times slower than using it, so that each is kept. */

export const NOTHING = '—';

/** @type {Map<string, Intl.NumberFormat>} */
const numbers = new Map();

/**
 * @param {string} key
 * @param {Intl.NumberFormatOptions} options
 */
function formatOf(key, options) {
  let format = numbers.get(key);
  if (format === undefined) numbers.set(key, (format = new Intl.NumberFormat(undefined, options)));
  return format;
}

/** Numbers of this size and more, or smaller than the second, are written with an exponent. */
const [HUGE, TINY] = [1e21, 1e-6];

/**
 * Formats a number with the given number of decimals.
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
export function number(value, least, most) {
  if (Math.abs(value) >= HUGE) return value.toExponential(2);
  const text = formatOf(`${least} ${most}`, { minimumFractionDigits: least, maximumFractionDigits: most }).format(value);
  return text === '-0' ? '0' : text;
}

/**
 * Formats about three significant digits, without rounding the integer part: 1,234; 12.3; 1.23; 0.0012.
 * @param {number} value
 */
export function significant(value) {
  const size = Math.abs(value);
  if (size > 0 && size < TINY) return value.toExponential(1);
  if (size > 0 && size < 0.095) return formatOf('small', { maximumSignificantDigits: 2 }).format(value);
  const digits = size >= 99.95 || Number.isInteger(value) ? 0 : size >= 9.995 ? 1 : 2;
  return number(value, digits, digits);
}

/**
 * Formats the numbers of an axis with the fewest decimals that show each of them exactly, the same for all.
 * @param {readonly number[]} values
 * @param {number} factor by which they are divided
 */
export function scaledTo(values, factor) {
  const scaled = values.map((value) => value / factor);
  const isExact = (/** @type {number} */ digits) => scaled.every((value) => Math.abs(value - Number(value.toFixed(digits))) <= 1e-9 * Math.max(1, Math.abs(value)) * 10 ** -Math.min(digits, 6));
  let digits = 0;
  while (digits < 9 && !isExact(digits)) digits += 1;
  return scaled.map((value) => number(value, digits, digits));
}

/**
 * Formats an amount with the symbol of its currency, where the locale has it.
 * @param {number} value
 * @param {string} currency ISO 4217 code; empty if unknown
 * @param {boolean} compact whether thousands and millions are abbreviated
 */
export function money(value, currency, compact) {
  const digits = compact ? { notation: /** @type {const} */ ('compact'), maximumFractionDigits: 2 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  if (!/^[A-Z]{3}$/i.test(currency)) return formatOf(`money ${compact}`, digits).format(value);
  return formatOf(`money ${compact} ${currency}`, { ...digits, style: 'currency', currency, currencyDisplay: 'narrowSymbol' }).format(value);
}

/** @param {Intl.DateTimeFormatOptions} options */
const times = (options) => {
  const format = new Intl.DateTimeFormat(undefined, options);
  return (/** @type {number} */ time) => format.format(time);
};
const hour = /** @type {const} */ ('2-digit');
const minute = hour;
const second = hour;
const short = /** @type {const} */ ('short');
const numeric = /** @type {const} */ ('numeric');

/** Formats of times, ms, in the reader's time zone. */
export const locale = {
  seconds: times({ hour, minute, second }),
  minutes: times({ hour, minute }),
  day: times({ day: numeric, month: short }),
  dayAndYear: times({ day: numeric, month: short, year: numeric }),
  dayAndMinutes: times({ weekday: short, day: numeric, month: short, hour, minute }),
  dateTime: times({ day: numeric, month: short, year: numeric, hour, minute, second }),
  long: times({ dateStyle: 'long', timeStyle: 'medium' }),
  year: times({ year: numeric }),
  month: times({ month: short, year: numeric }),
};

/**
 * Formats a time of day.
 * @param {number} time ms
 */
export const clock = locale.seconds;

/**
 * Formats a time with as much of its date as is needed in a range of this length.
 * @param {number} time ms
 * @param {number} length of the range, ms
 * @param {number} now ms
 */
export function timeIn(time, length, now) {
  const isToday = new Date(time).toDateString() === new Date(now).toDateString();
  if (length <= 86_400_000 && isToday) return locale.seconds(time);
  if (length <= 14 * 86_400_000) return locale.dayAndMinutes(time);
  return locale.dayAndYear(time);
}
