// @ts-check
/** Layers of a chart beside its lines: bands of limits and marks below them, ranges and earlier times behind them. Drawn on uPlot's canvas. */

import { fillBand } from './sparkline.js';

/** @typedef {import('./palette.js').Palette} Palette */
/** @typedef {import('../limits.js').Limit} Limit */

/** Opacities: of the range of a line, of the band beyond a limit, of a span, of an earlier time, of the area below a line at its top and its bottom. */
const [RANGE, BAND, SPAN, EARLIER, AREA_TOP, AREA_BOTTOM] = [0.22, 0.07, 0.1, 0.6, 0.24, 0.02];

/**
 * Runs `work` with the drawing restricted to the plot.
 * @param {any} u
 * @param {(context: CanvasRenderingContext2D) => void} work
 */
function inPlot({ ctx, bbox }, work) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  work(ctx);
  ctx.restore();
}

/**
 * Draws the range of a line in the time of each of its points.
 * @param {any} u
 * @param {import('./rows.js').Rows} rows
 * @param {number} line
 * @param {string} scale
 * @param {string} color
 */
export function drawRange(u, { times, lows, highs }, line, scale, color) {
  inPlot(u, (context) => {
    context.globalAlpha = RANGE;
    context.fillStyle = color;
    fillBand(context, { times, lows: lows[line], highs: highs[line] }, 0, (time) => u.valToPos(time, 'x', true), (value) => u.valToPos(value, scale, true));
  });
}

/**
 * Draws a line of an earlier time, dashed.
 * @param {any} u
 * @param {import('./rows.js').Rows} rows
 * @param {number} line
 * @param {string} scale
 * @param {string} color
 * @param {number} width CSS pixels
 */
export function drawEarlier(u, { times, values }, line, scale, color, width) {
  const ratio = u.pxRatio ?? devicePixelRatio;
  inPlot(u, (context) => {
    context.globalAlpha = EARLIER;
    context.strokeStyle = color;
    context.lineWidth = width * ratio;
    context.setLineDash([4 * ratio, 3 * ratio]);
    context.lineJoin = 'round';
    context.beginPath();
    let drawing = false;
    values[line].forEach((value, i) => {
      if (Number.isNaN(value)) return void (drawing = false);
      const [x, y] = [u.valToPos(times[i], 'x', true), u.valToPos(value, scale, true)];
      if (drawing) context.lineTo(x, y);
      else context.moveTo(x, y);
      drawing = true;
    });
    context.stroke();
  });
}

/**
 * Draws the lines of limits, and a band beyond each.
 * @param {any} u
 * @param {readonly Limit[]} limits
 * @param {string} scale
 * @param {Palette} palette
 * @param {boolean} live
 */
export function drawLimits(u, limits, scale, palette, live) {
  const { min, max } = u.scales[scale];
  const ratio = u.pxRatio ?? devicePixelRatio;
  inPlot(u, (context) => {
    for (const { at, below, level } of limits) {
      const color = live ? palette.levels[level] : palette.stale;
      const edge = u.valToPos(Math.min(max, Math.max(min, at)), scale, true);
      const far = below ? u.bbox.top + u.bbox.height : u.bbox.top;
      context.fillStyle = color;
      context.globalAlpha = BAND;
      context.fillRect(u.bbox.left, Math.min(edge, far), u.bbox.width, Math.abs(far - edge));
      if (at < min || at > max) continue;
      context.globalAlpha = 0.9;
      context.strokeStyle = color;
      const width = Math.max(1, Math.round(palette.scale * ratio));
      const y = Math.round(edge) + (width % 2) / 2; // sharp
      context.lineWidth = width;
      context.setLineDash([6 * ratio, 4 * ratio]);
      context.beginPath();
      context.moveTo(u.bbox.left, y);
      context.lineTo(u.bbox.left + u.bbox.width, y);
      context.stroke();
    }
  });
}

/**
 * Draws marks: an instant as a dotted line with a triangle at the time axis, a span as a band with a bar there.
 * @param {any} u
 * @param {readonly import('../marks.js').Mark[]} marks
 * @param {Palette} palette
 */
export function drawMarks(u, marks, palette) {
  const ratio = u.pxRatio ?? devicePixelRatio;
  const { min, max } = u.scales.x;
  const size = 4 * palette.scale * ratio;
  inPlot(u, (context) => {
    const bottom = u.bbox.top + u.bbox.height;
    for (const { from, to, level } of marks) {
      const color = level === 'warning' || level === 'critical' ? palette.levels[level] : palette.text;
      const x = Math.round(u.valToPos(Math.max(min, from), 'x', true));
      context.fillStyle = color;
      context.strokeStyle = color;
      if (to === null) {
        context.globalAlpha = 0.8;
        context.lineWidth = Math.max(1, Math.round(palette.scale * ratio));
        context.setLineDash([2 * ratio, 3 * ratio]);
        context.beginPath();
        context.moveTo(x, u.bbox.top);
        context.lineTo(x, bottom);
        context.stroke();
        context.globalAlpha = 1;
        context.beginPath();
        context.moveTo(x - size, bottom);
        context.lineTo(x + size, bottom);
        context.lineTo(x, bottom - 1.5 * size);
        context.fill();
        continue;
      }
      const width = Math.max(ratio, u.valToPos(Math.min(max, to), 'x', true) - x);
      context.globalAlpha = SPAN;
      context.fillRect(x, u.bbox.top, width, u.bbox.height);
      context.globalAlpha = 1;
      context.fillRect(x, bottom - 0.75 * size, width, 0.75 * size);
    }
  });
}

/**
 * Returns the paint of a line that turns amber or red beyond its limits.
 * @param {any} u
 * @param {string} scale
 * @param {string} color
 * @param {readonly Limit[]} limits the severest last
 * @param {Palette} palette
 * @returns {string | CanvasGradient}
 */
export function paintByLimits(u, scale, color, limits, palette) {
  const { top, height } = u.bbox;
  if (limits.length === 0 || !(height > 0)) return color;
  const place = (/** @type {number} */ value) => Math.min(1, Math.max(0, (u.valToPos(value, scale, true) - top) / height));
  // From top to bottom, sections between the limits.
  const edges = [0, ...limits.map(({ at }) => place(at)), 1].sort((a, b) => a - b);
  const colorAt = (/** @type {number} */ y) =>
    limits.reduce((found, { at, below, level }) => ((below ? y > place(at) : y < place(at)) ? palette.levels[level] : found), color);
  const gradient = u.ctx.createLinearGradient(0, top, 0, top + height);
  for (let i = 1; i < edges.length; i += 1) {
    if (edges[i] === edges[i - 1]) continue;
    const section = colorAt((edges[i] + edges[i - 1]) / 2);
    gradient.addColorStop(edges[i - 1], section);
    gradient.addColorStop(edges[i], section);
  }
  return gradient;
}

/**
 * Returns the paint of the area below a line: it fades towards the axis.
 * @param {any} u
 * @param {string} color `#rrggbb`
 */
export function areaPaint(u, color) {
  const { top, height } = u.bbox;
  if (!(height > 0) || !/^#[\da-f]{6}$/i.test(color)) return 'transparent';
  const gradient = u.ctx.createLinearGradient(0, top, 0, top + height);
  const withOpacity = (/** @type {number} */ opacity) => color + Math.round(opacity * 255).toString(16).padStart(2, '0');
  gradient.addColorStop(0, withOpacity(AREA_TOP));
  gradient.addColorStop(1, withOpacity(AREA_BOTTOM));
  return gradient;
}
