// @ts-check
/**
 * uPlot behind a small interface: lines over time whose right edge is the end of the range. All charts share the cursor, so
 * hovering one shows the same instant in each. uPlot sets its styles through the CSSOM, which the page's policy allows.
 */

import { element } from '../dom.js';
import { percent, ratio } from '../format.js';
import { BAND, fillBand } from './sparkline.js';

/** @type {any} library in `vendor/uplot`, a classic script that is loaded before the modules */
const uPlot = /** @type {any} */ (globalThis).uPlot;

const SYNC = 'board';
/** Dashes distinguish lines by more than their colour. */
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3], [12, 4], [4, 2]];
/** Smaller ranges, relative to the value, are noise and are not scaled to the full height. */
const SMALLEST_RANGE = 0.05;

/** @typedef {import('./palette.js').Palette} Palette */

/**
 * `lows` and `highs`: range of each line in the time of each row.
 * @typedef {{times: Float64Array, values: Float64Array[], lows: Float64Array[], highs: Float64Array[]}} Rows
 */

/** Axes: one scale on the left, another one on the right. */
const AXES = ['y', 'y2'];

/**
 * Returns the axis of each line: lines of one scale share one; -1 if no axis is left.
 * @param {readonly import('../format.js').Kind[]} kinds
 */
export function axesFor(kinds) {
  const scales = [...new Set(kinds.map(({ scale }) => scale))];
  return kinds.map(({ scale }) => (scales.indexOf(scale) < AXES.length ? scales.indexOf(scale) : -1));
}

export class Plot {
  #host;
  #kinds;
  #names;
  #onHover;
  /** The axis of each line. */
  #axes;
  /** @type {Rows | null} */
  #rows = null;
  /** Drawn time range, ms. */
  #span = [0, 0];
  /** @type {any} */
  #plot = null;
  /** @type {Palette | null} */
  #palette = null;
  #live = true;
  #width = 0;
  #height = 0;

  /**
   * @param {HTMLElement} host is filled by the chart
   * @param {readonly string[]} names of the lines
   * @param {readonly import('../format.js').Kind[]} kinds formats of their values
   * @param {(index: number | null) => void} onHover receives the index of the drawn row under the cursor
   */
  constructor(host, names, kinds, onHover) {
    this.#host = host;
    this.#names = names;
    this.#kinds = kinds;
    this.#onHover = onHover;
    this.#axes = axesFor(kinds);
  }

  /** Width in CSS pixels; 0 before it is known. */
  get width() {
    return this.#width;
  }

  /**
   * Sets the observed size. Measuring it at each drawing would force a layout each time.
   * @param {number} width CSS pixels
   * @param {number} height CSS pixels
   */
  size(width, height) {
    this.#width = Math.floor(width);
    this.#height = Math.floor(height);
  }

  /**
   * @param {Rows} rows
   * @param {{from: number, to: number, live: boolean, palette: Palette, currency: string}} view
   */
  draw(rows, { from, to, live, palette, currency }) {
    const [width, height] = [this.#width, this.#height];
    if (width < 40 || height < 40) return;
    this.#rows = rows;
    this.#span = [from, to];
    const data = [rows.times, ...rows.values];
    if (this.#plot === null || this.#palette !== palette) {
      this.#plot?.destroy();
      this.#palette = palette;
      this.#live = live;
      this.#plot = new uPlot(this.#options(palette, width, height, () => currency), data, this.#host);
    } else if (this.#plot.width !== width || this.#plot.height !== height) {
      this.#plot.setSize({ width, height });
    }
    this.#live = live;
    this.#plot.batch(() => {
      this.#plot.setData(data, false);
      this.#plot.setScale('x', { min: from, max: to });
    });
  }

  /**
   * Moves the cursor by rows, or to the newest row if it is hidden.
   * @param {number} by
   */
  step(by) {
    const plot = this.#plot;
    if (plot === null) return;
    const [times] = plot.data;
    const [first, last] = plot.series[0].idxs ?? [0, times.length - 1];
    const from = plot.cursor.idx ?? (by > 0 ? first : last + 1);
    const index = Math.min(last, Math.max(first, from + by));
    if (index < 0) return;
    plot.setCursor({ left: plot.valToPos(times[index], 'x'), top: plot.over.clientHeight / 2 }, true, true);
  }

  /** Hides the cursor. */
  leave() {
    this.#plot?.setCursor({ left: -10, top: -10 }, true, true);
  }

  close() {
    this.#plot?.destroy();
    this.#plot = null;
  }

  /**
   * @param {Palette} palette
   * @param {number} width
   * @param {number} height
   * @param {() => string} currency
   */
  #options(palette, width, height, currency) {
    const axis = { stroke: () => palette.text, font: palette.font, grid: { stroke: palette.grid, width: 1 }, ticks: { show: false } };
    const size = Number.parseInt(palette.font, 10);
    const used = AXES.filter((_, index) => this.#axes.includes(index));
    const upright = used.map((scale, index) => {
      const kind = this.#kinds[this.#axes.indexOf(index)];
      const label = (/** @type {number} */ value) => {
        const { text, unit } = kind.drawn(value, { currency: currency() });
        return unit === '' || unit.length > 4 ? text.replace(/\.00$/, '') : `${text.replace(/\.0+$/, '')} ${unit}`;
      };
      return {
        ...axis,
        scale,
        side: index === 0 ? 3 : 1,
        grid: index === 0 ? axis.grid : { show: false },
        space: 3 * size,
        gap: 6,
        size: (/** @type {any} */ u, /** @type {string[] | null} */ labels) => {
          const longest = (labels ?? []).reduce((most, text) => Math.max(most, text.length), 2);
          return Math.ceil(longest * size * 0.58) + 12;
        },
        values: (/** @type {any} */ u, /** @type {number[]} */ splits) => splits.map(label),
      };
    });
    const scales = used.map((scale, index) => {
      const kinds = this.#kinds.filter((_, line) => this.#axes[line] === index);
      const parts = kinds.every((kind) => kind === percent || kind === ratio);
      const range = parts ? partRange(kinds[0] === ratio ? 1 : 100) : yRange;
      return [scale, { range: () => range(...this.#extremes(index)) }];
    });
    return {
      width,
      height,
      ms: 1,
      pxAlign: 1,
      legend: { show: false },
      padding: [size, 2.25 * size, 0, 0], // half a label at the right
      cursor: {
        sync: { key: SYNC, scales: ['x', null] },
        drag: { x: false, y: false, setScale: false },
        points: { size: 7 * palette.scale, width: 2 },
        y: false,
        hover: { prox: 2 * size }, // beyond this distance the cursor selects no value
      },
      hooks: {
        setCursor: [(/** @type {{cursor: {idxs: (number | null)[]}}} */ u) => this.#onHover(u.cursor.idxs.find((index, line) => line > 0 && index !== null) ?? null)],
        drawSeries: [(/** @type {any} */ u, /** @type {number} */ series) => this.#drawBand(u, series - 1, palette)],
      },
      scales: { x: { time: true, auto: false }, ...Object.fromEntries(scales) },
      axes: [{ ...axis, space: 5.5 * size, size: 2.1 * size, gap: 4, values: timeLabels(size) }, ...upright],
      series: [
        {},
        ...this.#names.map((name, index) => ({
          label: name,
          scale: AXES[this.#axes[index]] ?? AXES[0],
          show: this.#axes[index] >= 0,
          width: 1.75 * palette.scale,
          dash: DASHES[index % DASHES.length],
          stroke: () => (this.#live ? palette.series[index % palette.series.length] : palette.stale),
          // An area shows an amount, so it is filled only if the axis begins at zero.
          fill: this.#names.length > 1 ? undefined : (/** @type {any} */ u) => (this.#live && u.scales[AXES[0]].min === 0 ? palette.fill : 'transparent'),
          points: { show: false },
          gaps,
        })),
      ],
    };
  }

  /**
   * Returns the lowest and highest visible value of an axis; null for none.
   * @param {number} axis
   * @returns {[number | null, number | null]}
   */
  #extremes(axis) {
    const { times, lows, highs } = this.#rows ?? { times: [], lows: [], highs: [] };
    const [from, to] = this.#span;
    let low = Infinity;
    let high = -Infinity;
    for (let i = 0; i < times.length; i += 1) {
      // The last row before the left edge and the first after the right edge belong to visible lines.
      if (times[i + 1] < from || times[i - 1] > to) continue;
      for (let line = 0; line < lows.length; line += 1) {
        if (this.#axes[line] !== axis) continue;
        if (lows[line][i] < low) low = lows[line][i];
        if (highs[line][i] > high) high = highs[line][i];
      }
    }
    return low > high ? [null, null] : [low, high];
  }

  /**
   * Draws the range of a line in the time of each of its points.
   * @param {any} u
   * @param {number} line
   * @param {Palette} palette
   */
  #drawBand(u, line, palette) {
    const rows = this.#rows;
    const scale = AXES[this.#axes[line]];
    if (rows === null || line < 0 || scale === undefined) return;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.globalAlpha = BAND;
    ctx.fillStyle = this.#live ? palette.series[line % palette.series.length] : palette.stale;
    const x = (/** @type {number} */ time) => u.valToPos(time, 'x', true);
    const y = (/** @type {number} */ value) => u.valToPos(value, scale, true);
    fillBand(ctx, { times: rows.times, lows: rows.lows[line], highs: rows.highs[line] }, 0, x, y);
    ctx.restore();
  }
}

/**
 * Returns the gaps of a line in pixels: from the row before a NaN to the one after it.
 * @param {any} u
 * @param {number} series
 * @param {number} first
 * @param {number} last
 * @returns {[number, number][]}
 */
function gaps(u, series, first, last) {
  const times = u.data[0];
  const values = u.data[series];
  /** @type {[number, number][]} */
  const found = [];
  for (let i = first; i <= last; i += 1) {
    if (!Number.isNaN(values[i])) continue;
    const start = i;
    while (i < last && Number.isNaN(values[i + 1])) i += 1;
    const from = Math.round(u.valToPos(times[Math.max(first, start - 1)], 'x', true));
    const to = Math.round(u.valToPos(times[Math.min(last, i + 1)], 'x', true));
    if (to > from) found.push([from, to]);
  }
  return found;
}

/**
 * @param {number | null} low
 * @param {number | null} high
 * @returns {[number, number]}
 */
function yRange(low, high) {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const middle = (low + high) / 2;
  const range = Math.max(high - low, SMALLEST_RANGE * Math.abs(middle)) || 1;
  // The axis includes zero if it is near, which makes amounts comparable.
  const bottom = low >= 0 && low - 0.6 * range <= 0 ? 0 : middle - 0.6 * range;
  return [bottom, Math.max(high + 0.08 * (high - bottom), bottom + range)];
}

/**
 * Returns the range of percentages: from zero to at most the whole, unless the values exceed it.
 * @param {number} whole
 */
function partRange(whole) {
  return (/** @type {number | null} */ low, /** @type {number | null} */ high) => {
    const [bottom, top] = yRange(low, high);
    return (high ?? 0) > whole || (low ?? 0) < 0 ? [bottom, top] : [0, Math.min(whole, Math.max(top, whole / 1000))];
  };
}

const MINUTES = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const SECONDS = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/**
 * Returns the labels of the time axis, without one at the left edge, which would overlap the value axis.
 * @param {number} size of the letters
 */
function timeLabels(size) {
  return (/** @type {any} */ u, /** @type {number[]} */ splits, /** @type {number} */ axis, /** @type {number} */ space, /** @type {number} */ step) => {
    const format = step < 60_000 ? SECONDS : MINUTES;
    const { min, max } = u.scales.x;
    const edge = min + ((max - min) * size * (step < 60_000 ? 2.4 : 1.5)) / u.width;
    return splits.map((time) => (time < edge ? '' : format.format(time)));
  };
}

/** Returns the host element of a plot. */
export const plotHost = () => element('div', 'chart-plot');
