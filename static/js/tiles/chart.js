// @ts-check
/**
 * Lines of up to six fields over the range of time: history first, then live. A chart is drawn anew when its newest pixel
 * would differ, however often values come; the figures above it follow each frame.
 *
 * For those who don't see it: the chart takes the focus, left and right move the cursor, what is under it is said once it
 * rests, and a table of at most 25 rows stands behind `aria-details`.
 */

import { FIRST_VALUE_MS, loadHistory } from '../charts/history.js';
import { Plot, plotHost } from '../charts/plot.js';
import { Ring } from '../charts/ring.js';
import { element, setText } from '../dom.js';
import { isMoney, kindOf, nameOf, valueAt } from '../fields.js';
import { NOTHING, clock } from '../format.js';
import { empty } from './empty.js';

const MOST_LINES = 6;
const CAPACITY = 2_000;
/** A value that did not come by then after a reconnect has not changed. */
const HOLDS_AFTER_MS = 1_500;
const TABLE_ROWS = 25;
/** No display shows more than this, whatever the width: a chart is looked at, not read off, while it moves. */
const FASTEST_MS = 150;
/** For those who asked for less motion. */
const CALM_MS = 2_000;

let charts = 0;

/** @type {import('./contract.js').Mount} */
export function mountChart(tile, body, context) {
  const { channel } = tile;
  const fields = (tile.fields ?? (tile.field === undefined ? [] : [tile.field])).slice(0, MOST_LINES);
  if (channel === undefined || fields.length === 0) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const kinds = fields.map((field) => kindOf(field, tile.options?.unit));
  const { range } = context;
  const ring = new Ring(fields.length, CAPACITY, range.length / CAPACITY);
  charts += 1;

  const figures = fields.map(() => element('span', 'legend-value', NOTHING));
  const when = element('span', 'legend-time');
  const legend = element('p', 'legend', ...fields.map((field, index) => {
    const key = element('span', 'legend-key');
    key.dataset.line = String(index + 1);
    key.setAttribute('aria-hidden', 'true');
    return element('span', 'legend-item', ...(fields.length > 1 ? [key, element('span', 'legend-name', nameOf(field))] : []), figures[index]);
  }), when);
  const host = plotHost();
  host.tabIndex = 0;
  host.setAttribute('role', 'application');
  host.setAttribute('aria-roledescription', 'chart');
  host.setAttribute('aria-label', `${tile.title}: arrow keys read the values`);
  const table = element('div', 'visually-hidden');
  table.id = `chart-rows-${charts}`;
  host.setAttribute('aria-details', table.id);
  const note = element('p', 'chart-note');
  body.append(legend, element('div', 'chart-frame', host, note), table);

  /** @type {any} */
  let data = null;
  /** @type {import('../charts/plot.js').Rows} */
  let drawn = { times: new Float64Array(0), values: fields.map(() => new Float64Array(0)) };
  /** @type {number | null} */
  let hovered = null;
  let drawnAt = 0;
  let drawnLive = true;
  let stale = true; // something other than time asks for a new drawing
  let loads = 0;
  let holding = 0;
  /** When the value last changed, on our clock. */
  let changedAt = NaN;
  let visible = true;
  let frozen = false; // paused: drawn from a copy, for the ring goes on
  /** @type {import('../charts/ink.js').Ink | null} */
  let drawnInk = null;

  const plot = new Plot(host, fields.map(nameOf), kinds, (index) => {
    if (index === hovered) return;
    hovered = index;
    context.hurry();
  });
  const row = () => fields.map((field, index) => kinds[index].number(valueAt(data, field)));
  const said = (/** @type {number} */ value, /** @type {number} */ index) => {
    const reading = kinds[index].drawn(value, { currency: context.currency() });
    return reading.unit === '' ? reading.text : `${reading.text} ${reading.unit}`;
  };

  /** @param {number} [since] what is known from before then is replaced, if the server knows it better */
  const load = async (since = 0) => {
    clearTimeout(beginning);
    const mine = ++loads;
    const now = Date.now();
    const past = await loadHistory(context.rest, channel, fields, { from: now - range.length, to: now });
    if (mine !== loads) return;
    if (past.times.length > 0) ring.forgetBefore(since);
    ring.precede(past.times, past.values);
    stale = true;
    context.redraw();
  };
  const remember = (/** @type {number} */ now) => ring.push(now, row());
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
  if (fields.some(isMoney) && channel !== 'metrics.revenue') ends.push(context.live.subscribe('metrics.revenue', { take: () => {} }));
  const beginning = setTimeout(load, FIRST_VALUE_MS);

  const seen = new IntersectionObserver((entries) => {
    visible = entries[entries.length - 1].isIntersecting;
    if (visible) context.redraw();
  });
  const sized = new ResizeObserver((entries) => {
    const { width, height } = entries[entries.length - 1].contentRect;
    plot.size(width, height);
    stale = true;
    context.redraw();
  });
  seen.observe(host);
  sized.observe(host);

  host.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -CAPACITY, End: CAPACITY }[event.key];
    if (event.key === 'Escape') plot.leave();
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    plot.step(by);
    if (hovered === null || hovered >= drawn.times.length) return;
    const at = hovered;
    context.announcer.say(`${clock(drawn.times[at])}: ${fields.map((field, i) => `${fields.length > 1 ? `${nameOf(field)} ` : ''}${said(drawn.values[i][at], i)}`).join(', ')}`);
  });
  host.addEventListener('focus', () => fillTable(table, tile.title, fields, drawn, said));
  host.addEventListener('blur', () => plot.leave());

  return {
    draw: ({ now, live, ink, calm }) => {
      if (!visible) return;
      const to = range.end(now);
      // The newest pixel differs when time has moved on by one, or the value would by then.
      const pixel = Math.max(calm ? CALM_MS : FASTEST_MS, range.length / Math.max(200, plot.width));
      const due = range.paused ? stale : now - drawnAt >= pixel;
      if (stale || due || live !== drawnLive || ink !== drawnInk) {
        // What is under the cursor is told by its place in what was drawn, so the two change together.
        if (!range.paused || !frozen) {
          const { times, values } = ring.view(live ? to : null);
          frozen = range.paused && times.length > 0;
          drawn = frozen ? { times: times.slice(), values: values.map((list) => list.slice()) } : { times, values };
        }
        plot.draw(drawn, { from: to - range.length, to, live, ink, currency: context.currency() });
        drawnAt = now;
        drawnLive = live;
        drawnInk = ink;
        stale = false;
      }
      const at = hovered !== null && hovered < drawn.times.length ? hovered : null;
      figures.forEach((figure, index) => {
        const value = at === null ? (data === null ? NaN : row()[index]) : drawn.values[index][at];
        setText(figure, said(value, index));
      });
      setText(when, at === null ? '' : clock(drawn.times[at]));
      setText(note, data === null && drawn.times.length === 0 ? 'Nothing has come in on this channel yet.' : '');
    },
    lose: (time) => {
      ring.end(time);
      stale = true;
    },
    regain: (now) => {
      // What changed meanwhile comes now; what doesn't come holds.
      clearTimeout(holding);
      holding = setTimeout(() => data !== null && remember(now), HOLDS_AFTER_MS);
      void load(now);
    },
    rescale: () => {
      stale = true;
      frozen = false;
      if (range.paused) return;
      if (ring.spacing === range.length / CAPACITY) return;
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
      seen.disconnect();
      sized.disconnect();
      plot.close();
    },
  };
}

/**
 * @param {HTMLElement} place
 * @param {string} title
 * @param {readonly string[]} fields
 * @param {import('../charts/plot.js').Rows} rows
 * @param {(value: number, index: number) => string} said
 */
function fillTable(place, title, fields, { times, values }, said) {
  const head = element('tr', '', ...['Time', ...fields.map(nameOf)].map((name) => {
    const cell = element('th', '', name);
    cell.scope = 'col';
    return cell;
  }));
  const lines = [];
  const step = Math.max(1, Math.ceil(times.length / TABLE_ROWS));
  for (let i = times.length - 1; i >= 0 && lines.length < TABLE_ROWS; i -= step) {
    const time = element('th', '', clock(times[i]));
    time.scope = 'row';
    lines.push(element('tr', '', time, ...values.map((list, index) => element('td', '', said(list[i], index)))));
  }
  place.replaceChildren(element('table', '', element('caption', '', title), element('thead', '', head), element('tbody', '', ...lines)));
}
