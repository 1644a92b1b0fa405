// @ts-check
/** Sparkline on a canvas, with the newest value at the right edge. */

/** Smaller ranges, relative to the value, are noise and are not scaled to the full height. */
const SMALLEST_RANGE = 0.04;
/** Opacities of the band behind a line and of the area below it. */
const [BAND, FILL] = [0.25, 0.12];
const PAD = 4; // room for the dot at the end; less above and below in a low one

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{times: Float64Array, values: Float64Array[], lows: Float64Array[], highs: Float64Array[]}} data the first field is
 *   drawn: its average, and behind it its range
 * @param {{from: number, to: number, live: boolean, palette: import('./palette.js').Palette, color?: string}} view `color`: of the line
 */
export function drawSparkline(canvas, { times, values: [values], lows: [lows], highs: [highs] }, { from, to, live, palette, color = palette.series?.[0] }) {
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

  const paint = live ? color : palette.stale;
  let first = 0;
  while (first + 1 < times.length && times[first + 1] < from) first += 1; // skip rows before the edge, except the last one
  let low = Infinity;
  let high = -Infinity;
  for (let i = first; i < times.length; i += 1) {
    if (Number.isNaN(values[i])) continue;
    low = Math.min(low, lows[i]);
    high = Math.max(high, highs[i]);
  }
  if (low > high) return;
  const middle = (low + high) / 2;
  const range = Math.max(high - low, SMALLEST_RANGE * Math.abs(middle)) || 1;
  const base = low < 0 ? middle - range / 2 : Math.max(0, low === 0 ? 0 : middle - range / 2);
  const x = (/** @type {number} */ time) => ((time - from) / (to - from)) * (width - PAD);
  const edge = Math.min(PAD, height / 4);
  const y = (/** @type {number} */ value) => height - edge - ((value - base) / range) * (height - 2 * edge);

  context.fillStyle = paint;
  context.globalAlpha = BAND;
  fillBand(context, { times, lows, highs }, first, x, y);
  context.globalAlpha = 1;

  context.lineWidth = 1.5 * palette.scale;
  context.lineJoin = 'round';
  context.strokeStyle = paint;
  for (let i = first; i < times.length; i += 1) {
    if (Number.isNaN(values[i])) continue;
    const start = i;
    context.beginPath();
    while (i < times.length && !Number.isNaN(values[i])) {
      context.lineTo(x(times[i]), y(values[i]));
      i += 1;
    }
    const right = Math.max(x(times[i - 1]), x(times[start]) + 1);
    context.lineTo(right, y(values[i - 1]));
    context.stroke();
    // An area shows an amount, so it is filled only down to zero.
    if (live && base === 0) {
      context.lineTo(right, height);
      context.lineTo(x(times[start]), height);
      context.fillStyle = paint;
      context.globalAlpha = FILL;
      context.fill();
      context.globalAlpha = 1;
    }
    if (i === times.length && live) {
      context.beginPath();
      context.arc(right, y(values[i - 1]), 2.25 * palette.scale, 0, 2 * Math.PI);
      context.fillStyle = paint;
      context.fill();
    }
  }
}

/**
 * Fills the range of a line in the time of each of its points, where there is more than one value.
 * @param {CanvasRenderingContext2D} context
 * @param {{times: Float64Array, lows: Float64Array, highs: Float64Array}} rows
 * @param {number} first row
 * @param {(time: number) => number} x
 * @param {(value: number) => number} y
 */
export function fillBand(context, { times, lows, highs }, first, x, y) {
  for (let i = first; i < times.length; i += 1) {
    const start = i;
    let wide = false;
    while (i < times.length && !Number.isNaN(highs[i])) {
      wide ||= highs[i] > lows[i];
      i += 1;
    }
    if (!wide) continue;
    context.beginPath();
    for (let n = start; n < i; n += 1) context.lineTo(x(times[n]), y(highs[n]));
    for (let n = i - 1; n >= start; n -= 1) context.lineTo(x(times[n]), y(lows[n]));
    context.fill();
  }
}
