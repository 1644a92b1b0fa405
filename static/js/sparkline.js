// @ts-check
/** A small line of a series on a canvas, the newest value at the right edge. */

const WINDOW_MS = 5 * 60_000;
const SHORTEST_WINDOW_MS = 30_000;
/** A range smaller than this part of the value is noise and is not blown up to the full height. */
const SMALLEST_RANGE = 0.04;
const PAD = 3;

/** @typedef {{line: string, fill: string, stale: string}} Ink */

/**
 * The colours in force, from the style sheet.
 * @returns {Ink}
 */
export function readInk() {
  const style = getComputedStyle(document.documentElement);
  const ink = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return { line: ink('--spark'), fill: ink('--spark-fill'), stale: ink('--spark-stale') };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import('./series.js').Series} series
 * @param {{now: number, openedAt: number, live: boolean, ink: Ink}} view
 */
export function drawSparkline(canvas, series, { now, openedAt, live, ink }) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const context = canvas.getContext('2d');
  if (context === null || width === 0 || height === 0) return;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);

  const from = now - Math.min(WINDOW_MS, Math.max(SHORTEST_WINDOW_MS, now - openedAt));
  let low = Infinity;
  let high = -Infinity;
  let first = 0;
  for (let i = 0; i < series.length; i += 1) {
    if (i + 1 < series.length && series.time(i + 1) < from) first = i + 1; // left of the edge, but for the last such
    else if (!Number.isNaN(series.value(i))) {
      low = Math.min(low, series.value(i));
      high = Math.max(high, series.value(i));
    }
  }
  if (low > high) return;
  const middle = (low + high) / 2;
  const range = Math.max(high - low, SMALLEST_RANGE * Math.abs(middle)) || 1;
  const base = low < 0 ? middle - range / 2 : Math.max(0, low === 0 ? 0 : middle - range / 2);
  const x = (/** @type {number} */ time) => ((time - from) / (now - from)) * (width - PAD);
  const y = (/** @type {number} */ value) => height - PAD - ((value - base) / range) * (height - 2 * PAD);

  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  context.strokeStyle = live ? ink.line : ink.stale;
  context.fillStyle = live ? ink.fill : 'transparent';
  for (let i = first; i < series.length; ) {
    if (Number.isNaN(series.value(i))) {
      i += 1;
      continue;
    }
    const start = i;
    context.beginPath();
    while (i < series.length && !Number.isNaN(series.value(i))) {
      context.lineTo(x(series.time(i)), y(series.value(i)));
      i += 1;
    }
    const newest = i === series.length;
    const right = newest && live ? x(now) : x(series.time(i - 1));
    const bottom = y(series.value(i - 1));
    context.lineTo(Math.max(right, x(series.time(start)) + 1), bottom);
    context.stroke();
    context.lineTo(right, height);
    context.lineTo(x(series.time(start)), height);
    context.fill();
    if (newest && live) {
      context.beginPath();
      context.arc(right, bottom, 2, 0, 2 * Math.PI);
      context.fillStyle = ink.line;
      context.fill();
      context.fillStyle = ink.fill;
    }
  }
}
