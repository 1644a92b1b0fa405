// @ts-check
/**
 * Lines of up to six fields over the time range. A chart is redrawn when its newest pixel would differ, however often values
 * arrive; the numbers of its legend follow each frame. Dragging selects a time range, a double click returns.
 *
 * For screen readers the chart can be focused, left and right move the cursor, the value under it is announced once it
 * rests, and `aria-details` refers to a table of at most 25 rows. Plus and minus zoom, Backspace returns.
 */

import { colorsOf } from '../charts/colors.js';
import { dragToZoom } from '../charts/drag-zoom.js';
import { Legend } from '../charts/legend.js';
import { Plot, axesFor, plotHost } from '../charts/plot.js';
import { goBack } from '../charts/range-address.js';
import { rowAt, statsOf } from '../charts/rows.js';
import { Shadow } from '../charts/shadow.js';
import { fillTable } from '../charts/table.js';
import { hideTooltip, showTooltip } from '../charts/tooltip.js';
import { Track } from '../charts/track.js';
import { element, setData, setText } from '../dom.js';
import { isMoney, kindOf, nameOf } from '../fields.js';
import { joined, timeIn } from '../format.js';
import { beyond } from '../limits.js';
import { now as pageNow } from '../time.js';
import { EmptyNote, empty } from './empty.js';

const MOST_LINES = 6;
const CAPACITY = 2_000;
/** Distance at which a mark belongs to the cursor, CSS pixels, and most marks that are named there. */
const [NEAR_MARK_PX, MOST_MARKS] = [8, 4];
/** Shortest time between two redraws, whatever the width. */
const FASTEST_MS = 150;
/** The same with reduced motion. */
const CALM_MS = 2_000;

let charts = 0;

/** @type {import('./contract.js').Mount} */
export function mountChart(tile, body, context) {
  const { channel } = tile;
  const fields = (tile.fields ?? (tile.field === undefined ? [] : [tile.field])).slice(0, MOST_LINES);
  if (channel === undefined || fields.length === 0) return empty(body, 'This tile has no channel yet.', 'Choose Edit to select one.');
  const kinds = fields.map((field) => kindOf(field, tile.options?.unit));
  const names = fields.map(nameOf);
  const colors = colorsOf(channel, fields);
  const { range } = context;
  const track = new Track(context, channel, fields, tile.options?.unit, CAPACITY);
  const shadow = new Shadow(context.rest, channel, fields, CAPACITY, () => {
    track.changed = true;
    context.redraw();
  });
  const marks = context.marks?.follow(tile.options?.marks, () => {
    track.changed = true;
    context.redraw();
  });
  charts += 1;

  const legend = new Legend(names, colors, (line) => {
    plot.showAlone(line);
    track.changed = true;
    context.redrawNow();
  });
  const host = plotHost();
  host.tabIndex = 0;
  host.setAttribute('role', 'application');
  host.setAttribute('aria-roledescription', 'chart');
  host.setAttribute('aria-label', `${tile.title}: arrow keys read the values, plus and minus zoom`);
  const table = element('div', 'visually-hidden');
  table.id = `chart-rows-${charts}`;
  host.setAttribute('aria-details', table.id);
  const note = new EmptyNote(channel);
  const problem = element('p', 'tile-problem');
  const frame = element('div', 'chart-frame', host, note.element);
  body.append(problem, ...(fields.length === 1 ? [legend.element, frame] : [frame, legend.element]), table);

  let drawn = track.view(0, false);
  /** @type {import('../charts/rows.js').Rows | null} */
  let earlier = null;
  /** @type {import('../marks.js').Mark[]} */
  let marked = [];
  let span = { from: 0, to: 0 };
  /** @type {number | null} */
  let hovered = null;
  /** Where the tooltip is shown: at the pointer, or at the cursor that keys move. @type {{x: number, y: number} | 'cursor' | null} */
  let pointed = null;
  let drawnAt = 0;
  let drawnLive = true;
  let visible = true;
  let printing = false;
  /** @type {import('../limits.js').Limit[][]} */
  let limits = [];
  /** @type {import('../charts/palette.js').Palette | null} */
  let drawnPalette = null;

  const plot = new Plot(host, names.map((name, line) => ({ name, kind: kinds[line], color: colors[line] })), (index) => {
    if (index === hovered) return;
    hovered = index;
    context.redrawNow();
  });
  const isSelecting = dragToZoom(host, plot, (from, to) => range.show(from, to, pageNow()));
  const reading = (/** @type {number} */ value, /** @type {number} */ line) => joined(kinds[line].drawn(value, { currency: context.currency() }));
  /** The range of a row if it stands for several values; empty otherwise. */
  const rangeAt = (/** @type {number} */ at, /** @type {number} */ line) => {
    const [low, high] = [drawn.lows[line][at], drawn.highs[line][at]];
    return high > low ? `${reading(low, line)} to ${reading(high, line)}` : '';
  };
  /** Describes a row of the chart: the average, and the range if there are several values. */
  const describe = (/** @type {number} */ at, /** @type {number} */ line) => {
    const text = rangeAt(at, line);
    return reading(drawn.values[line][at], line) + (text === '' ? '' : ` (${text})`);
  };
  const clock = (/** @type {number} */ time) => timeIn(time, range.length, pageNow());
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

  host.addEventListener('pointermove', ({ clientX, clientY }) => {
    pointed = { x: clientX, y: clientY };
    context.redrawNow();
  });
  host.addEventListener('pointerleave', () => {
    pointed = null;
    hideTooltip(host);
  });
  host.addEventListener('dblclick', () => goBack(range, pageNow()));
  host.addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === 'Escape') plot.leave();
    const zoom = /** @type {const} */ ({ '+': 1, '=': 1, '-': -1 })[event.key];
    if (zoom !== undefined) range.zoom(zoom, pageNow(), hovered === null ? undefined : drawn.times[hovered]);
    if (event.key === 'Backspace') goBack(range, pageNow());
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -CAPACITY, End: CAPACITY }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    pointed = 'cursor';
    plot.step(by);
    if (hovered === null || hovered >= drawn.times.length) return;
    const at = hovered;
    const texts = names.map((name, line) => `${names.length > 1 ? `${name} ` : ''}${describe(at, line)}`);
    context.announcer.announce(`${clock(drawn.times[at])}: ${[...texts, ...marksAt(drawn.times[at]).map(({ title, detail }) => `${title} ${detail}`.trim())].join(', ')}`);
  });
  host.addEventListener('focus', () => fillTable(table, tile.title, names, drawn.times, clock, describe));
  host.addEventListener('blur', () => {
    pointed = null;
    plot.leave();
    hideTooltip(host);
  });

  /** Returns the marks at an instant: spans that contain it, and instants within some pixels. */
  const marksAt = (/** @type {number} */ time) => {
    const near = (NEAR_MARK_PX * range.length) / Math.max(1, plot.width);
    return marked.filter(({ from, to }) => (to === null ? Math.abs(from - time) <= near : from - near <= time && time <= to + near)).slice(-MOST_MARKS);
  };
  /**
   * @param {number} at row under the cursor, or the last one before the pointer
   * @param {number} [time] ms
   */
  const showTip = (at, time = drawn.times[at]) => {
    const palette = /** @type {import('../charts/palette.js').Palette} */ (drawnPalette);
    const lines = names.map((name, line) => ({ color: palette.series[colors[line]], name, value: drawn.values[line][at], line, isEarlier: false }));
    const before = earlier === null ? -1 : rowAt(earlier.times, time);
    if (earlier !== null && before >= 0) {
      for (const { color, name, line } of [...lines]) {
        lines.push({ color, name: names.length > 1 ? `${name} ${range.comparedTo}` : `${range.comparedTo}`.replace(/^./, (letter) => letter.toUpperCase()), value: earlier.values[line][before], line, isEarlier: true });
      }
    }
    const shown = lines.filter(({ value }) => !Number.isNaN(value)).sort((one, other) => (left.length > 0 || axesFor(kinds).includes(1) ? 0 : other.value - one.value));
    const beside = marksAt(time).map(({ title, detail, level }) => ({
      color: level === 'warning' || level === 'critical' ? palette.levels[level] : palette.text, name: title, text: '', note: detail,
    }));
    if (shown.length + beside.length === 0) return hideTooltip(host);
    const place = pointed === 'cursor' || pointed === null ? plot.placeOf(time) : pointed;
    const texts = shown.map(({ color, name, value, line, isEarlier }) => ({ color, name, isEarlier, text: reading(value, line), note: isEarlier ? '' : rangeAt(at, line) }));
    showTooltip(host, place, clock(time), [...texts, ...beside]);
  };

  return {
    draw: ({ now, live, palette, calm }) => {
      if (!visible && !printing) return;
      const to = range.end(now);
      const from = to - range.length;
      // The newest pixel differs when time has advanced by one pixel.
      const pixel = Math.max(calm ? CALM_MS : FASTEST_MS, range.length / Math.max(200, plot.width));
      const due = !range.paused && (now - drawnAt >= pixel || now < drawnAt);
      const changed = track.changed;
      if (changed || due || live !== drawnLive || palette !== drawnPalette || plot.isOutdated) {
        // The cursor refers to an index of the drawn rows, so both change together.
        drawn = track.view(to, live);
        span = { from, to };
        earlier = shadow.rows(from, to, range.shift);
        limits = fields.map((field) => context.limits?.of(channel, field, tile.options) ?? []);
        marked = marks?.within(from, to) ?? [];
        plot.draw(drawn, { from, to, live, palette, currency: context.currency(), limits, earlier, marks: marked });
        drawnAt = now;
        drawnLive = live;
        drawnPalette = palette;
        track.changed = false;
      }
      const at = hovered !== null && hovered < drawn.times.length ? hovered : null;
      const newest = track.row();
      const values = names.map((_, line) => (at === null ? newest[line] : drawn.values[line][at]));
      legend.show(values.map((value, line) => (at === null ? reading(value, line) : describe(at, line))), at === null ? '' : clock(drawn.times[at]), values.map((value, line) => beyond(value, limits[line] ?? [])?.level ?? null));
      legend.showStats(now, changed && range.paused, (line) => {
        const { min, avg, max } = statsOf(drawn, line, span.from, span.to);
        return Number.isNaN(avg) ? null : { min: reading(min, line), avg: reading(avg, line), max: reading(max, line) };
      });
      // A value holds until the next one, so that there is one also far from all rows.
      const time = at === null && pointed !== null && pointed !== 'cursor' ? plot.timeAt(pointed.x) : NaN;
      const held = Number.isNaN(time) ? -1 : rowAt(drawn.times, time);
      if (isSelecting() || pointed === null) hideTooltip(host);
      else if (at !== null) showTip(at);
      else if (held >= 0 && held < drawn.times.length - 1) showTip(held, time);
      else hideTooltip(host);
      setData(body, 'loading', String(track.isLoading));
      note.show(track.isLoading ? 'loading' : drawn.times.length > 0 ? 'values' : track.data === null ? 'nothing' : 'range');
    },
    ...track.handlers,
    sourceStopped: (silent) => {
      legend.markSilent((line) => silent.has(fields[line]));
      track.sourceStopped(silent);
    },
    printing: (on) => {
      printing = on;
      track.changed = true;
      const { width, height } = host.getBoundingClientRect();
      plot.size(width, height);
    },
    close: () => {
      track.close();
      shadow.close();
      marks?.close();
      money();
      hideTooltip(host);
      seen.disconnect();
      sized.disconnect();
      plot.close();
    },
  };
}
