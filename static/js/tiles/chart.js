// @ts-check
/**
 * Lines of up to six fields over the time range: history first, then live values. A chart is redrawn when its newest pixel
 * would differ, however often values arrive; the numbers above it follow each frame.
 *
 * For screen readers the chart can be focused, left and right move the cursor, the value under it is announced once it
 * rests, and `aria-details` refers to a table of at most 25 rows.
 */

import { Plot, axesFor, plotHost } from '../charts/plot.js';
import { Track } from '../charts/track.js';
import { element, setText } from '../dom.js';
import { isMoney, kindOf, nameOf } from '../fields.js';
import { NOTHING, clock } from '../format.js';
import { NO_DATA, empty } from './empty.js';

const MOST_LINES = 6;
const CAPACITY = 2_000;
const TABLE_ROWS = 25;
/** Shortest time between two redraws, whatever the width. */
const FASTEST_MS = 150;
/** The same with reduced motion. */
const CALM_MS = 2_000;

let charts = 0;

/** @type {import('./contract.js').Mount} */
export function mountChart(tile, body, context) {
  const { channel } = tile;
  const fields = (tile.fields ?? (tile.field === undefined ? [] : [tile.field])).slice(0, MOST_LINES);
  if (channel === undefined || fields.length === 0) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const kinds = fields.map((field) => kindOf(field, tile.options?.unit));
  const { range } = context;
  const track = new Track(context, channel, fields, tile.options?.unit, CAPACITY);
  charts += 1;

  const figures = fields.map(() => element('span', 'legend-value', NOTHING));
  const when = element('span', 'legend-time');
  const items = fields.map((field, index) => {
    const key = element('span', 'legend-key');
    key.dataset.line = String(index + 1);
    key.setAttribute('aria-hidden', 'true');
    return element('span', 'legend-item', ...(fields.length > 1 ? [key, element('span', 'legend-name', nameOf(field))] : []), figures[index]);
  });
  const legend = element('p', 'legend', ...items, when);
  const host = plotHost();
  host.tabIndex = 0;
  host.setAttribute('role', 'application');
  host.setAttribute('aria-roledescription', 'chart');
  host.setAttribute('aria-label', `${tile.title}: arrow keys read the values`);
  const table = element('div', 'visually-hidden');
  table.id = `chart-rows-${charts}`;
  host.setAttribute('aria-details', table.id);
  const note = element('p', 'chart-note');
  const problem = element('p', 'tile-problem');
  body.append(problem, legend, element('div', 'chart-frame', host, note), table);

  /** @type {import('../charts/plot.js').Rows} */
  let drawn = track.view(0, false);
  /** @type {number | null} */
  let hovered = null;
  let drawnAt = 0;
  let drawnLive = true;
  let visible = true;
  let printing = false;
  let frozen = false; // paused: drawn from a copy, because the track continues
  /** @type {import('../charts/palette.js').Palette | null} */
  let drawnPalette = null;

  const plot = new Plot(host, fields.map(nameOf), kinds, (index) => {
    if (index === hovered) return;
    hovered = index;
    context.redrawNow();
  });
  const reading = (/** @type {number} */ value, /** @type {number} */ index) => {
    const { text, unit } = kinds[index].drawn(value, { currency: context.currency() });
    return unit === '' ? text : `${text} ${unit}`;
  };
  /** Describes a row of the chart: the average, and the range if there are several values. */
  const describe = (/** @type {number} */ at, /** @type {number} */ index) => {
    const [value, low, high] = [drawn.values, drawn.lows, drawn.highs].map((lists) => lists[index][at]);
    return high > low ? `${reading(value, index)} (${reading(low, index)} to ${reading(high, index)})` : reading(value, index);
  };
  const money = fields.some(isMoney) ? context.followCurrency() : () => {};
  const left = fields.filter((_, index) => axesFor(kinds)[index] < 0).map(nameOf);
  const denied = fields.map((field) => context.denied(channel, [field])).find((text) => text !== '');
  setText(problem, denied ?? (left.length === 0 ? '' : `Not drawn: ${left.join(', ')}. A chart has room for two units.`));

  const seen = new IntersectionObserver((entries) => {
    visible = entries[entries.length - 1].isIntersecting;
    if (visible) context.redraw();
  });
  const sized = new ResizeObserver((entries) => {
    const { width, height } = entries[entries.length - 1].contentRect;
    plot.size(width, height);
    track.changed = true;
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
    context.announcer.announce(`${clock(drawn.times[at])}: ${fields.map((field, i) => `${fields.length > 1 ? `${nameOf(field)} ` : ''}${describe(at, i)}`).join(', ')}`);
  });
  host.addEventListener('focus', () => fillTable(table, tile.title, fields, drawn.times, describe));
  host.addEventListener('blur', () => plot.leave());

  return {
    draw: ({ now, live, palette, calm }) => {
      if (!visible && !printing) return;
      const to = range.end(now);
      // The newest pixel differs when time has advanced by one pixel.
      const pixel = Math.max(calm ? CALM_MS : FASTEST_MS, range.length / Math.max(200, plot.width));
      const due = range.paused ? track.changed : now - drawnAt >= pixel || now < drawnAt;
      if (track.changed || due || live !== drawnLive || palette !== drawnPalette) {
        // The cursor refers to an index of the drawn rows, so both change together.
        if (!range.paused || !frozen) {
          const view = track.view(to, live);
          frozen = range.paused && view.times.length > 0;
          drawn = frozen ? copyOf(view) : view;
        }
        plot.draw(drawn, { from: to - range.length, to, live, palette, currency: context.currency() });
        drawnAt = now;
        drawnLive = live;
        drawnPalette = palette;
        track.changed = false;
      }
      const at = hovered !== null && hovered < drawn.times.length ? hovered : null;
      const newest = track.row();
      figures.forEach((figure, index) => setText(figure, at === null ? reading(newest[index], index) : describe(at, index)));
      setText(when, at === null ? '' : clock(drawn.times[at]));
      setText(note, track.data === null && drawn.times.length === 0 ? NO_DATA : '');
    },
    ...track.handlers,
    sourceStopped: (silent) => {
      fields.forEach((field, index) => (items[index].dataset.silent = String(silent.has(field))));
      track.sourceStopped(silent);
    },
    rangeChanged: (length) => {
      frozen = false;
      track.rangeChanged(length);
    },
    printing: (on) => {
      printing = on;
      track.changed = true;
      const { width, height } = host.getBoundingClientRect();
      plot.size(width, height);
    },
    close: () => {
      track.close();
      money();
      seen.disconnect();
      sized.disconnect();
      plot.close();
    },
  };
}

/**
 * @param {import('../charts/plot.js').Rows} rows
 * @returns {import('../charts/plot.js').Rows}
 */
function copyOf({ times, values, lows, highs }) {
  const copies = (/** @type {Float64Array[]} */ lists) => lists.map((list) => list.slice());
  return { times: times.slice(), values: copies(values), lows: copies(lows), highs: copies(highs) };
}

/**
 * @param {HTMLElement} place
 * @param {string} title
 * @param {readonly string[]} fields
 * @param {Float64Array} times
 * @param {(at: number, index: number) => string} describe describes a row of a field
 */
function fillTable(place, title, fields, times, describe) {
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
    lines.push(element('tr', '', time, ...fields.map((_, index) => element('td', '', describe(i, index)))));
  }
  place.replaceChildren(element('table', '', element('caption', '', title), element('thead', '', head), element('tbody', '', ...lines)));
}
