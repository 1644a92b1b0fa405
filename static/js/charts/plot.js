// @ts-check
/**
 * uPlot behind a small interface: lines over time whose right edge is the end of the range. All charts share the cursor, so
 * hovering one shows the same instant in each. uPlot sets its styles through the CSSOM, which the page's policy allows.
 */

import { element } from '../dom.js';
import { AXES, axesFor, axisRange, gutterWidth, gutters, needGutter, releaseGutter, timeLabels, timeSpace } from './axes.js';
import { areaPaint, drawEarlier, drawLimits, drawMarks, drawRange, paintByLimits } from './layers.js';
import { extremes } from './rows.js';

export { axesFor } from './axes.js';

/** @type {any} library in `vendor/uplot`, a classic script that is loaded before the modules */
const uPlot = /** @type {any} */ (globalThis).uPlot;

const SYNC = 'board';
/** Dashes of lines where the reader's own colours are used, which are few. */
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3], [12, 4], [4, 2]];

/** @typedef {import('./palette.js').Palette} Palette */
/** @typedef {import('./rows.js').Rows} Rows */
/** @typedef {import('../limits.js').Limit} Limit */
/** @typedef {{name: string, kind: import('../format.js').Kind, color: number}} Line `color`: index in the palette */

/**
 * @typedef {object} View
 * @property {number} from ms
 * @property {number} to ms
 * @property {boolean} live false greys all lines
 * @property {Palette} palette
 * @property {string} currency
 * @property {readonly Limit[][]} limits of each line
 * @property {readonly import('../marks.js').Mark[]} marks
 * @property {Rows | null} earlier rows of an earlier time, moved to the range
 */

export class Plot {
  #host;
  #lines;
  #onHover;
  /** The axis of each line. */
  #axes;
  /** @type {Rows | null} */
  #rows = null;
  /** @type {View | null} */
  #view = null;
  /** @type {any} */
  #plot = null;
  #width = 0;
  #height = 0;
  /** The line that is shown alone; null for all. @type {number | null} */
  #alone = null;
  /** Gutters of the last drawing. */
  #drawnGutters = '';

  /**
   * @param {HTMLElement} host is filled by the chart
   * @param {readonly Line[]} lines
   * @param {(index: number | null) => void} onHover receives the index of the drawn row under the cursor
   */
  constructor(host, lines, onHover) {
    this.#host = host;
    this.#lines = lines;
    this.#onHover = onHover;
    this.#axes = axesFor(lines.map(({ kind }) => kind));
  }

  /** Width in CSS pixels; 0 before it is known. */
  get width() {
    return this.#width;
  }

  /** Whether another chart needs wider gutters than this one was drawn with. */
  get isOutdated() {
    return this.#plot !== null && gutters().join() !== this.#drawnGutters;
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
   * @param {View} view
   */
  draw(rows, view) {
    const [width, height] = [this.#width, this.#height];
    if (width < 40 || height < 40) return;
    const { palette } = view;
    const isNew = this.#plot === null || this.#view?.palette !== palette;
    this.#rows = rows;
    this.#view = view;
    const data = [rows.times, ...rows.values];
    const drawnWith = gutters().join();
    if (isNew) {
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(palette, width, height), data, this.#host);
    } else if (this.#plot.width !== width || this.#plot.height !== height || this.isOutdated) {
      this.#plot.setSize({ width, height });
    }
    this.#plot.batch(() => {
      this.#plot.setData(data, false);
      this.#plot.setScale('x', { min: view.from, max: view.to });
    });
    this.#drawnGutters = drawnWith;
  }

  /** @param {number | null} line to show alone; null for all. The next drawing shows it. */
  showAlone(line) {
    this.#alone = line;
    this.#lines.forEach((_, index) => this.#plot?.setSeries(index + 1, { show: this.#isShown(index) }));
  }

  /** @param {number} line */
  #isShown(line) {
    return this.#axes[line] >= 0 && (this.#alone === null || this.#alone === line);
  }

  /**
   * Returns the instant at a place on the screen; NaN if the place is not in the plot.
   * @param {number} x CSS pixels, of the window
   * @param {boolean} [nearest] whether a place beside the plot stands for its edge
   */
  timeAt(x, nearest = false) {
    const plot = this.#plot;
    if (plot === null) return NaN;
    const { left, width } = plot.over.getBoundingClientRect();
    if (!nearest && (x < left || x > left + width)) return NaN;
    return plot.posToVal(Math.min(width, Math.max(0, x - left)), 'x');
  }

  /** The area of the plot within the host, in CSS pixels; null before it is drawn. */
  get area() {
    const over = this.#plot?.over;
    return over === undefined ? null : { left: over.offsetLeft, top: over.offsetTop, width: over.clientWidth, height: over.clientHeight };
  }

  /**
   * Returns the place of an instant on the screen, and of a value of the first axis.
   * @param {number} time ms
   */
  placeOf(time) {
    const { left, top } = this.#plot.over.getBoundingClientRect();
    return { x: left + this.#plot.valToPos(time, 'x'), y: top + this.#plot.over.clientHeight / 3 };
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
    releaseGutter(this);
    this.#plot?.destroy();
    this.#plot = null;
  }

  /**
   * @param {Palette} palette
   * @param {number} width
   * @param {number} height
   */
  #options(palette, width, height) {
    const size = Number.parseInt(palette.font, 10);
    const axis = { stroke: () => palette.text, font: palette.font, ticks: { show: false } };
    const used = AXES.filter((_, index) => this.#axes.includes(index));
    const length = (/** @type {any} */ u) => u.scales.x.max - u.scales.x.min;
    return {
      width,
      height,
      ms: 1,
      pxAlign: 1,
      legend: { show: false },
      // Room for the unit above an axis; on the right for half a label, or for the labels of other charts.
      padding: [Math.ceil(1.7 * size), () => (used.length > 1 ? 0 : Math.max(size, gutterWidth(gutters()[1], size))), 0, 0],
      cursor: {
        sync: { key: SYNC, scales: ['x', null] },
        drag: { x: false, y: false, setScale: false },
        bind: { dblclick: () => null },
        points: { size: 7 * palette.scale, width: 2, stroke: (/** @type {any} */ u, /** @type {number} */ series) => this.#color(series - 1), fill: palette.surface },
        y: false,
        hover: { prox: 2 * size }, // beyond this distance the cursor selects no value
      },
      hooks: {
        setCursor: [(/** @type {{cursor: {idxs: (number | null)[]}}} */ u) => this.#onHover(u.cursor.idxs.find((index, line) => line > 0 && index !== null) ?? null)],
        drawAxes: [(/** @type {any} */ u) => this.#drawBelow(u, size)],
        drawSeries: [(/** @type {any} */ u, /** @type {number} */ series) => this.#drawBehind(u, series - 1)],
      },
      scales: {
        x: { time: true, auto: false },
        ...Object.fromEntries(used.map((scale, index) => [scale, { range: () => this.#rangeOf(index) }])),
      },
      axes: [
        { ...axis, grid: { show: false }, space: (/** @type {any} */ u) => timeSpace(size, length(u)), size: 2 * size, gap: 4, values: timeLabels(size) },
        ...used.map((scale, index) => ({ ...axis, ...this.#upright(scale, index, size, palette) })),
      ],
      series: [
        {},
        ...this.#lines.map(({ name }, line) => {
          const scale = AXES[this.#axes[line]] ?? AXES[0];
          return {
            label: name,
            scale,
            show: this.#isShown(line),
            width: 1.75 * palette.scale,
            dash: palette.forced ? DASHES[line % DASHES.length] : [],
            stroke: (/** @type {any} */ u) => (this.#lines.length === 1 && this.#isLive ? paintByLimits(u, scale, this.#color(line), this.#view?.limits[line] ?? [], palette) : this.#color(line)),
            // An area shows an amount, so it is filled only if the axis begins at zero.
            fill: this.#lines.length > 1 ? undefined : (/** @type {any} */ u) => (this.#isLive && u.scales[scale].min === 0 ? areaPaint(u, this.#color(line)) : 'transparent'),
            points: { show: false },
            gaps,
          };
        }),
      ],
    };
  }

  get #isLive() {
    return this.#view?.live !== false;
  }

  /** @param {number} line */
  #color(line) {
    const palette = /** @type {Palette} */ (this.#view?.palette);
    return this.#isLive ? palette.series[this.#lines[line]?.color ?? 0] : palette.stale;
  }

  /**
   * @param {string} scale
   * @param {number} index
   * @param {number} size of the letters
   * @param {Palette} palette
   */
  #upright(scale, index, size, palette) {
    const { kind } = this.#lines[this.#axes.indexOf(index)];
    return {
      scale,
      side: index === 0 ? 3 : 1,
      grid: { show: index === 0, stroke: palette.grid, width: 1 },
      space: 2.2 * size,
      gap: 6,
      ...(kind.increments === null ? {} : { incrs: kind.increments }),
      size: (/** @type {any} */ u, /** @type {string[] | null} */ labels) => {
        needGutter(this, index, (labels ?? []).reduce((most, text) => Math.max(most, text.length), 2));
        return gutterWidth(gutters()[index], size);
      },
      values: (/** @type {any} */ u, /** @type {number[]} */ splits) => kind.axis(splits, { currency: this.#view?.currency ?? '' }).labels,
    };
  }

  /**
   * @param {number} axis
   * @returns {[number, number]}
   */
  #rangeOf(axis) {
    const { from = 0, to = 0, limits = [], earlier = null } = this.#view ?? {};
    const counts = (/** @type {number} */ line) => this.#axes[line] === axis && this.#isShown(line);
    const found = [extremes(this.#rows, from, to, counts), extremes(earlier, from, to, counts)].filter((one) => one !== null);
    const all = /** @type {[number, number] | null} */ (found.length === 0 ? null : [Math.min(...found.map(([low]) => low)), Math.max(...found.map(([, high]) => high))]);
    const wholes = this.#lines.filter((_, line) => this.#axes[line] === axis).map(({ kind }) => kind.whole);
    return axisRange(all, limits.flatMap((some, line) => (counts(line) ? some : [])), wholes.includes(null) ? null : wholes[0]);
  }

  /**
   * Draws what is below the lines: marks, the units of the axes, and the limits.
   * @param {any} u
   * @param {number} size of the letters
   */
  #drawBelow(u, size) {
    const view = this.#view;
    if (view === null) return;
    const { ctx, bbox } = u;
    const ratio = u.pxRatio ?? devicePixelRatio;
    drawMarks(u, view.marks, view.palette);
    AXES.forEach((scale, index) => {
      if (!this.#axes.includes(index) || u.scales[scale]?.min === undefined) return;
      const { kind } = this.#lines[this.#axes.indexOf(index)];
      const { unit } = kind.axis(u.axes[index + 1]._splits ?? [u.scales[scale].max], { currency: view.currency });
      ctx.save();
      ctx.font = view.palette.font.replace(/^\d+/, String(size * ratio));
      ctx.fillStyle = view.palette.text;
      ctx.textBaseline = 'bottom';
      // Above the labels, and into the plot if it is long.
      const isLong = unit.length > gutters()[index];
      const edge = index === 0 ? bbox.left - 6 * ratio : bbox.left + bbox.width + 6 * ratio;
      const end = index === 0 ? bbox.left - gutterWidth(gutters()[0], size) * ratio + 2 : bbox.left + bbox.width + gutterWidth(gutters()[1], size) * ratio;
      ctx.textAlign = (index === 0) === isLong ? 'left' : 'right';
      if (index === 1 && !isLong) ctx.textAlign = 'left';
      ctx.fillText(unit, isLong ? end : edge, bbox.top - 0.6 * size * ratio);
      ctx.restore();
      const limits = view.limits.flatMap((some, line) => (this.#axes[line] === index && this.#isShown(line) ? some : []));
      drawLimits(u, limits, scale, view.palette, view.live);
    });
  }

  /**
   * Draws what belongs to a line: its range in the time of each point, and its earlier values.
   * @param {any} u
   * @param {number} line
   */
  #drawBehind(u, line) {
    const view = this.#view;
    const scale = AXES[this.#axes[line]];
    if (view === null || this.#rows === null || line < 0 || scale === undefined || !this.#isShown(line)) return;
    drawRange(u, this.#rows, line, scale, this.#color(line));
    if (view.earlier !== null) drawEarlier(u, view.earlier, line, scale, this.#color(line), 1.25 * view.palette.scale);
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

/** Returns the host element of a plot. */
export const plotHost = () => element('div', 'chart-plot');
