// @ts-check
/** The colours that canvases draw with, read from the style sheet: those of the scheme in force. */

/**
 * @typedef {object} Ink
 * @property {string} line of a sparkline
 * @property {string} fill below it
 * @property {string} stale of a line that is no longer confirmed
 * @property {string} grid
 * @property {string} text of axes
 * @property {string} font of axes, as CSS writes it, with its size in pixels
 * @property {number} scale how much larger than usual letters are, and so lines
 * @property {readonly string[]} series one colour per line of a chart
 */

const SERIES = ['--series-1', '--series-2', '--series-3', '--series-4', '--series-5', '--series-6'];

/** @returns {Ink} */
export function readInk() {
  const style = getComputedStyle(document.documentElement);
  const ink = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    line: ink('--spark'),
    fill: ink('--spark-fill'),
    stale: ink('--spark-stale'),
    grid: ink('--grid'),
    text: ink('--text-soft'),
    font: `${Math.round(0.6875 * Number.parseFloat(style.fontSize))}px ${ink('--font')}`,
    scale: Number.parseFloat(style.fontSize) / 16,
    series: SERIES.map(ink),
  };
}
