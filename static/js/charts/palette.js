// @ts-check
/** Colours of canvases, read from the style sheet for the current colour scheme. */

import { COLORS } from './colors.js';

/**
 * @typedef {object} Palette
 * @property {string} surface of cards
 * @property {string} stale of a line whose values are not confirmed
 * @property {string} grid
 * @property {string} text of axes
 * @property {string} font of axes in CSS syntax, with the size in pixels
 * @property {number} scale of fonts and lines
 * @property {readonly string[]} series one colour per series (colors.js)
 * @property {Record<import('../limits.js').Level, string>} levels colours of limits
 * @property {boolean} forced whether the reader's own colours are used, so that lines differ in their dashes
 */

/** @returns {Palette} */
export function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    surface: color('--surface'),
    stale: color('--spark-stale'),
    grid: color('--grid'),
    text: color('--text-soft'),
    font: `${Math.round(0.6875 * Number.parseFloat(style.fontSize))}px ${color('--font')}`,
    scale: Number.parseFloat(style.fontSize) / 16,
    series: Array.from({ length: COLORS }, (_, index) => color(`--series-${index + 1}`)),
    levels: { warning: color('--limit-warning'), critical: color('--limit-critical') },
    forced: matchMedia('(forced-colors: active)').matches,
  };
}
