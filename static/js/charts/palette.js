// @ts-check
/** Colours of canvases, read from the style sheet for the current colour scheme. */

/**
 * @typedef {object} Palette
 * @property {string} line of a sparkline
 * @property {string} fill below it
 * @property {string} stale of a line whose values are not confirmed
 * @property {string} grid
 * @property {string} text of axes
 * @property {string} font of axes in CSS syntax, with the size in pixels
 * @property {number} scale of fonts and lines
 * @property {readonly string[]} series one colour per line of a chart
 */

const SERIES = ['--series-1', '--series-2', '--series-3', '--series-4', '--series-5', '--series-6'];

/** @returns {Palette} */
export function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    line: color('--spark'),
    fill: color('--spark-fill'),
    stale: color('--spark-stale'),
    grid: color('--grid'),
    text: color('--text-soft'),
    font: `${Math.round(0.6875 * Number.parseFloat(style.fontSize))}px ${color('--font')}`,
    scale: Number.parseFloat(style.fontSize) / 16,
    series: SERIES.map(color),
  };
}
