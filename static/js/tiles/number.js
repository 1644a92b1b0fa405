// @ts-check
/** One value, large: its unit, how it has moved over the range of time, and the line of it. */

import { FIRST_VALUE_MS, loadHistory } from '../charts/history.js';
import { Ring } from '../charts/ring.js';
import { drawSparkline } from '../charts/sparkline.js';
import { element, setText } from '../dom.js';
import { isMoney, kindOf, valueAt } from '../fields.js';
import { NOTHING } from '../format.js';
import { empty } from './empty.js';

const CAPACITY = 1_200;
/** A value that did not come by then after a reconnect has not changed. */
const HOLDS_AFTER_MS = 1_500;

/** Channels whose value brings its own comparison, and the field that it is about. */
const OWN_TREND = { 'metrics.orders': { field: 'ordersToday', trend: 'trend', than: 'than yesterday by now' } };

/** @type {import('./contract.js').Mount} */
export function mountNumber(tile, body, context) {
  const { channel, field } = tile;
  if (channel === undefined || field === undefined) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const kind = kindOf(field, tile.options?.unit);
  const own = OWN_TREND[/** @type {keyof typeof OWN_TREND} */ (channel)];
  const value = element('span', 'number-value', NOTHING);
  const unit = element('span', 'number-unit');
  const trend = element('p', 'number-trend');
  const canvas = element('canvas', 'number-line');
  canvas.setAttribute('aria-hidden', 'true');
  body.append(element('p', 'number-figure', value, unit), trend, canvas);

  const { range } = context;
  const ring = new Ring(1, CAPACITY, range.length / CAPACITY);
  /** @type {any} */
  let data = null;
  let loads = 0;
  let holding = 0;
  let fresh = false; // the past has come, which need not wait for the lines' next turn
  /** When the value last changed, on our clock. */
  let changedAt = NaN;

  /** @param {number} [since] what is known from before then is replaced, if the server knows it better */
  const load = async (since = 0) => {
    clearTimeout(beginning);
    const mine = ++loads;
    const now = Date.now();
    const past = await loadHistory(context.rest, channel, [field], { from: now - range.length, to: now });
    if (mine !== loads) return;
    if (past.times.length > 0) ring.forgetBefore(since);
    ring.precede(past.times, past.values);
    fresh = true;
    context.redraw();
  };
  const remember = (/** @type {number} */ now) => ring.push(now, [kind.number(valueAt(data, field))]);
  /** The first value of a line has held since it last changed. */
  const begin = () => {
    const now = Date.now();
    remember(Number.isNaN(changedAt) ? now : Math.min(now, Math.max(changedAt, now - range.length)));
  };
  const ends = [
    context.live.subscribe(channel, {
      take: (news) => {
        if (news.event !== null) return;
        const first = data === null;
        data = news.data;
        changedAt = Date.parse(news.timestamp ?? '') - context.rest.skew;
        clearTimeout(holding);
        if (first) {
          begin();
          void load(ring.newest);
        } else remember(Date.now());
        context.redraw();
      },
    }),
  ];
  if (isMoney(field) && channel !== 'metrics.revenue') ends.push(context.live.subscribe('metrics.revenue', { take: () => {} }));
  const beginning = setTimeout(load, FIRST_VALUE_MS);

  return {
    draw: ({ now, live, lines, ink }) => {
      const reading = kind.read(valueAt(data, field), { currency: context.currency() });
      setText(value, reading.text);
      setText(unit, reading.unit);
      if (!lines && !fresh) return;
      fresh = false;
      const to = range.end(now);
      const from = to - range.length;
      const view = ring.view(live ? now : null);
      drawSparkline(canvas, view, { from: Math.max(from, Math.min(view.times[0] ?? from, to - range.length / 10)), to, live, ink });
      const said = own !== undefined && own.field === field ? ownTrend(valueAt(data, own.trend), own.than) : '';
      setText(trend, said || movement(view, from, to, range.name));
    },
    lose: (time) => ring.end(time),
    regain: (now) => {
      // What changed meanwhile comes now; what doesn't come holds.
      clearTimeout(holding);
      holding = setTimeout(() => data !== null && remember(now), HOLDS_AFTER_MS);
      void load(now);
    },
    rescale: () => {
      if (range.paused) return;
      ring.spacing = range.length / CAPACITY;
      ring.clear();
      if (data !== null) begin();
      void load();
    },
    close: () => {
      loads += 1;
      clearTimeout(beginning);
      clearTimeout(holding);
      ends.forEach((end) => end());
    },
  };
}

/**
 * @param {unknown} trend as the server says it, `+12%`
 * @param {string} than
 */
function ownTrend(trend, than) {
  const match = typeof trend === 'string' ? /^([+-]?)(\d+(?:\.\d+)?)%$/.exec(trend) : null;
  if (match === null) return '';
  if (Number(match[2]) === 0) return `→ same as yesterday by now`;
  return `${match[1] === '-' ? '↓' : '↑'} ${match[2]} % ${match[1] === '-' ? 'less' : 'more'} ${than}`;
}

/**
 * How far the value moved over the range.
 * @param {{times: Float64Array, values: Float64Array[]}} view
 * @param {number} from
 * @param {number} to
 * @param {string} name of the range's length
 */
function movement({ times, values: [values] }, from, to, name) {
  let first = 0;
  while (first < times.length && (times[first] < from || Number.isNaN(values[first]))) first += 1;
  let last = times.length - 1;
  while (last > first && (times[last] > to || Number.isNaN(values[last]))) last -= 1;
  if (last <= first || times[last] - times[first] < 5_000) return '';
  const before = values[first];
  const after = values[last];
  if (before === after) return `→ steady over ${name}`;
  const arrow = after > before ? '↑' : '↓';
  if (before === 0) return `${arrow} from 0 over ${name}`;
  const part = Math.abs((after - before) / before) * 100;
  return `${arrow} ${part >= 999.5 ? '> 999' : part >= 9.95 ? Math.round(part) : part.toFixed(1)} % over ${name}`;
}
