// @ts-check
/** Units: those to choose from, and the one that the name of a field suggests. */

import {
  amount, bits, bitsPerSecond, bytes, bytesPerSecond, count, date, hours, microseconds, milliseconds, minutes, moneyIn, nanoseconds, percent, plain,
  prefixed, ratio, seconds,
} from './format.js';

/** @typedef {import('./format.js').Kind} Kind */

/** Kinds by the text of `options.unit`. */
export const BY_UNIT = {
  number: plain(''),
  count,
  '%': percent,
  ratio,
  B: bytes,
  'B/s': bytesPerSecond,
  bit: bits,
  'bit/s': bitsPerSecond,
  ns: nanoseconds,
  'µs': microseconds,
  ms: milliseconds,
  s: seconds,
  min: minutes,
  h: hours,
  '/s': plain('/s'),
  Hz: prefixed('Hz'),
  W: prefixed('W'),
  Wh: prefixed('Wh'),
  V: prefixed('V'),
  A: prefixed('A'),
  money: amount,
  date,
};

/** Units for a list of choices, with their labels. Any other text is shown behind the number. */
export const CHOICES = /** @type {const} */ ([
  ['number', 'Number'],
  ['%', 'Percent (0 to 100)'],
  ['ratio', 'Ratio (0 to 1, as percent)'],
  ['B', 'Bytes'],
  ['B/s', 'Bytes per second'],
  ['bit', 'Bits'],
  ['bit/s', 'Bits per second'],
  ['ms', 'Milliseconds'],
  ['s', 'Seconds'],
  ['/s', 'Per second'],
  ['date', 'Date and time'],
  ['EUR', 'Euro'],
  ['USD', 'US dollar'],
  ['GBP', 'Pound sterling'],
  ['°C', 'Degrees Celsius'],
]);

/** Other texts for these units, in lower case. */
const ALIASES = /** @type {Record<string, keyof typeof BY_UNIT>} */ ({
  byte: 'B', bytes: 'B', 'bytes/s': 'B/s', bits: 'bit', bps: 'bit/s', 'bits/s': 'bit/s', us: 'µs', 'μs': 'µs', sec: 's', seconds: 's', percent: '%',
  milliseconds: 'ms', hz: 'Hz', 'per second': '/s', 'req/s': '/s',
});
const SYMBOLS = /** @type {Record<string, string>} */ ({ '€': 'EUR', $: 'USD', '£': 'GBP', '¥': 'JPY', '₹': 'INR' });
const CURRENCIES = new Set(typeof Intl.supportedValuesOf === 'function' ? Intl.supportedValuesOf('currency') : ['EUR', 'USD', 'GBP', 'JPY', 'CHF', 'CNY', 'INR', 'CAD', 'AUD']);

/** Kinds of other units. @type {Map<string, Kind>} */
const others = new Map();

/**
 * Returns the kind of a unit: one of {@link BY_UNIT}, a currency (EUR, €), or any text, which is shown behind the number.
 * @param {string} unit
 * @returns {Kind}
 */
export function kindOfUnit(unit) {
  const known = Object.hasOwn(BY_UNIT, unit) ? unit : ALIASES[unit.toLowerCase()];
  if (known !== undefined) return BY_UNIT[/** @type {keyof typeof BY_UNIT} */ (known)];
  let kind = others.get(unit);
  if (kind === undefined) {
    const currency = SYMBOLS[unit] ?? (CURRENCIES.has(unit) ? unit : null);
    others.set(unit, (kind = currency === null ? plain(unit) : moneyIn(currency)));
  }
  return kind;
}

/** Kinds by the last word of a name. @type {[RegExp, Kind][]} */
const LAST_WORDS = [
  [/^bytes?$/, bytes],
  [/^bits?$/, bits],
  [/^bps$/, bitsPerSecond],
  [/^(seconds?|secs?|s)$/, seconds],
  [/^(ms|msecs?|millis|milliseconds?)$/, milliseconds],
  [/^(us|usecs?|micros|microseconds?)$/, microseconds],
  [/^(ns|nanos|nanoseconds?)$/, nanoseconds],
  [/^(minutes|mins)$/, minutes],
  [/^hours$/, hours],
  [/^(percent|percentage|pct)$/, percent],
  [/^(ratio|fraction)$/, ratio],
  [/^(kb|kilobytes?)$/, prefixed('B', 1e3)],
  [/^(mb|megabytes?)$/, prefixed('B', 1e6)],
  [/^(gb|gigabytes?)$/, prefixed('B', 1e9)],
  [/^(kib|kibibytes?)$/, prefixed('B', 1_024)],
  [/^(mib|mebibytes?)$/, prefixed('B', 1_024 ** 2)],
  [/^(gib|gibibytes?)$/, prefixed('B', 1_024 ** 3)],
  [/^(mbps|mbits?)$/, prefixed('bit/s', 1e6)],
  [/^(celsius|degc)$/, plain('°C')],
  [/^(fahrenheit|degf)$/, plain('°F')],
  [/^(hz|hertz)$/, BY_UNIT.Hz],
  [/^watts?$/, BY_UNIT.W],
  [/^volts?$/, BY_UNIT.V],
  [/^amp(ere)?s?$/, BY_UNIT.A],
  [/^(rps|qps|tps|rate)$/, BY_UNIT['/s']],
  [/^(timestamp|datetime|date)$/, date],
];

/** Kinds of names that contain one of these words; the value is a time in milliseconds. */
const TIME_WORDS = /^(ms|latency|duration)$/;

/** @type {Map<string, Kind>} */
const named = new Map();
const MOST_NAMED = 5_000;

/**
 * Returns the kind that the name of a field suggests: `free_bytes`, `uptimeSeconds`, `cpu.percent`, `latency_p95`.
 * @param {string} field
 * @returns {Kind}
 */
export function kindByName(field) {
  let kind = named.get(field);
  if (kind === undefined) {
    kind = guess(wordsOf(field)) ?? BY_UNIT.number;
    if (named.size < MOST_NAMED) named.set(field, kind);
  }
  return kind;
}

/**
 * Returns the words of a name in lower case: those of `rxBytes` and `rx_bytes` are the same.
 * @param {string} name
 */
export const wordsOf = (name) => name.replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2').toLowerCase().split(/[^\p{L}\d%]+/u).filter(Boolean);

/** Words behind a unit that do not change it: `latency_ms_p95`, `size_bytes.max`. */
const STATISTICS = /^(p\d+|avg|average|mean|median|min|max|sum|total|last|first|used|free|count|today|now)$/;

/**
 * @param {string[]} words
 * @returns {Kind | null}
 */
function guess(words) {
  const last = words.at(-1) ?? '';
  const before = words.at(-2) ?? '';
  if (last === 'second' && before === 'per') return perSecond(words.at(-3) ?? '');
  if (last === 'at' && words.length > 1) return date;
  if (last === 'c' && /^(temp|temperature)$/.test(before)) return plain('°C');
  if (/^[a-z]{3}$/.test(last) && words.length > 1 && MAJOR.has(last.toUpperCase())) return kindOfUnit(last.toUpperCase());
  if (last === 'time' && before === 'response') return milliseconds;
  const [, own] = LAST_WORDS.find(([word]) => word.test(last)) ?? [];
  if (own !== undefined) return own;
  if (STATISTICS.test(last) && words.length > 1 && last !== 'count') {
    const inner = guess(words.slice(0, -1));
    if (inner !== null) return inner;
  }
  return words.some((word) => TIME_WORDS.test(word)) && last !== 'count' ? milliseconds : null;
}

/** @param {string} what before "per second" */
const perSecond = (what) => (/^bytes?$/.test(what) ? bytesPerSecond : /^bits?$/.test(what) ? bitsPerSecond : BY_UNIT['/s']);

/** Currencies that a name may end in: `price_eur`. Others are too often words: `all`, `try`, `top`. */
const MAJOR = new Set(['EUR', 'USD', 'GBP', 'JPY', 'CHF', 'CNY', 'INR', 'CAD', 'AUD', 'SEK', 'NOK', 'DKK', 'PLN', 'CZK', 'BRL']);
