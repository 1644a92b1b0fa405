// @ts-check
/**
 * One large value with its unit, its change over the time range, and a sparkline. It shrinks until it fits, and is amber or red
 * beyond a limit.
 */

import { colorsOf } from '../charts/colors.js';
import { drawSparkline } from '../charts/sparkline.js';
import { Track } from '../charts/track.js';
import { element, setData, setText } from '../dom.js';
import { isMoney, kindOf, valueAt } from '../fields.js';
import { NOTHING, joined } from '../format.js';
import { beyond } from '../limits.js';
import { number } from '../locale.js';
import { NO_DATA, empty } from './empty.js';

const CAPACITY = 1_200;
/** Width of a letter of the unit, relative to one of the number. */
const UNIT_SIZE = 0.5;
/** Longest distance of the first value from the beginning of the range, as a part of its length. */
const NEAR = 0.02;

/** Channels whose value includes a comparison, and the field it refers to. */
const OWN_TREND = { 'metrics.orders': { field: 'ordersToday', trend: 'trend', than: 'than yesterday by now' } };

/** @type {import('./contract.js').Mount} */
export function mountNumber(tile, body, context) {
  const { channel, field } = tile;
  if (channel === undefined || field === undefined) return empty(body, 'This tile has no channel yet.', 'Choose Edit to select one.');
  const kind = kindOf(field, tile.options?.unit);
  const own = OWN_TREND[/** @type {keyof typeof OWN_TREND} */ (channel)];
  const value = element('span', 'number-value', NOTHING);
  const unit = element('span', 'number-unit');
  const trend = element('span', 'number-trend');
  const canvas = element('canvas', 'number-line');
  canvas.setAttribute('aria-hidden', 'true');
  const level = element('span', 'number-level');
  const figure = element('p', 'number-figure', value, unit);
  body.append(figure, element('p', 'number-note', level, trend), canvas);

  const { range } = context;
  const track = new Track(context, channel, [field], tile.options?.unit, CAPACITY);
  const money = isMoney(field) ? context.followCurrency() : () => {};
  const [color] = colorsOf(channel, [field]);
  let length = 0;

  return {
    draw: ({ now, live, lines, palette }) => {
      const { data } = track;
      const setting = { currency: context.currency() };
      const reading = kind.read(valueAt(data, field), setting);
      setText(value, reading.text);
      setText(unit, reading.unit === '' ? '' : ` ${reading.unit}`);
      const characters = Math.max(3, reading.text.length + reading.unit.length * UNIT_SIZE);
      if (characters !== length) figure.style.setProperty('--chars', String((length = characters)));
      const limits = context.limits?.of(channel, field, tile.options) ?? [];
      const limit = beyond(track.row()[0], limits);
      setData(body, 'level', limit?.level ?? '');
      setData(body, 'loading', String(track.isLoading));
      setText(level, limit === null ? '' : `${limit.below ? 'below' : 'above'} ${joined(kind.drawn(limit.at, setting))}`);
      if (!lines && !track.changed) return;
      track.changed = false;
      const to = range.end(now);
      const from = to - range.length;
      const view = track.view(now, live);
      const start = range.paused ? from : Math.max(from, Math.min(view.times[0] ?? from, to - range.length / 10));
      drawSparkline(canvas, view, { from: start, to, live, palette, color: limit === null ? palette.series?.[color] : palette.levels[limit.level] });
      const comparison = own !== undefined && own.field === field ? ownTrend(valueAt(data, own.trend), own.than) : '';
      const format = (/** @type {number} */ value) => joined(kind.drawn(value, setting));
      const isKnown = !track.isSilent && !Number.isNaN(track.row()[0]);
      setText(trend, comparison || (data === null && !track.isLoading ? NO_DATA : isKnown ? movement(view, from, to, range.name, format, isTotal(field)) : ''));
    },
    ...track.handlers,
    printing: () => (track.changed = true),
    close: () => {
      track.close();
      money();
    },
  };
}

/**
 * Returns whether a field is a running total by its name: `ordersToday`, `bytes_total`.
 * @param {string} field
 */
const isTotal = (field) => /(today|total|count)$/i.test(field);

/**
 * @param {unknown} trend of the server, such as `+12%`
 * @param {string} than
 */
function ownTrend(trend, than) {
  const match = typeof trend === 'string' ? /^([+-]?)(\d+(?:\.\d+)?)%$/.exec(trend) : null;
  if (match === null) return '';
  if (Number(match[2]) === 0) return `→ same as yesterday by now`;
  return `${match[1] === '-' ? '↓' : '↑'} ${match[2]} % ${match[1] === '-' ? 'less' : 'more'} ${than}`;
}

/**
 * Describes the change of a value over the range; empty if the known values do not reach back to its beginning.
 * @param {{times: Float64Array, values: Float64Array[], lows: Float64Array[], highs: Float64Array[]}} view
 * @param {number} from
 * @param {number} to
 * @param {string} name of the range's length
 * @param {(value: number) => string} format
 * @param {boolean} [total] whether the value is a running total, whose growth in percent says nothing
 */
export function movement({ times, values: [values], lows: [lows], highs: [highs] }, from, to, name, format, total = false) {
  let first = -1;
  while (first + 1 < times.length && times[first + 1] <= from + NEAR * (to - from)) first += 1;
  let last = times.length - 1;
  while (last > first && (times[last] > to || Number.isNaN(values[last]))) last -= 1;
  if (first < 0 || last <= first || Number.isNaN(values[first])) return '';
  const before = values[first];
  const after = values[last];
  if (before === after) {
    const low = lows.subarray(first, last + 1).reduce((least, value) => (value < least ? value : least), Infinity);
    const high = highs.subarray(first, last + 1).reduce((most, value) => (value > most ? value : most), -Infinity);
    return low === high ? `→ steady over ${name}` : `between ${format(low)} and ${format(high)} over ${name}`;
  }
  const arrow = after > before ? '↑' : '↓';
  if (total && after > before) return `+${format(after - before)} over ${name}`;
  if (before === 0) return `${arrow} from 0 over ${name}`;
  const part = Math.abs((after - before) / before) * 100;
  if (part < 0.05) return `${arrow} less than 0.1 % over ${name}`;
  return `${arrow} ${part >= 999.5 ? '> 999' : part >= 9.95 ? Math.round(part) : number(part, 1, 1)} % over ${name}`;
}
