// @ts-check
/**
 * Axes of charts. All charts of a page have gutters of the same width on each side, so that one instant is at one place in
 * charts below each other. The numbers of an axis have equal decimals, and its unit stands above them.
 */

import { locale } from '../format.js';

/** @typedef {import('../format.js').Kind} Kind */

/** Names of the scales: one on the left, another one on the right. */
export const AXES = ['y', 'y2'];
/** Smaller ranges, relative to the value, are noise and are not scaled to the full height. */
const SMALLEST_RANGE = 0.05;
/** A limit up to this many times the highest value is part of the axis. */
const LIMIT_REACH = 3;
/** Least number of characters for which the gutter on the left has room. */
const FEWEST = 4;
/** Width of a digit, relative to the size of the letters. */
const DIGIT = 0.6;
const LABEL_GAP = 10;

/**
 * Returns the axis of each line: lines of one scale share one; -1 if no axis is left.
 * @param {readonly Kind[]} kinds
 */
export function axesFor(kinds) {
  const scales = [...new Set(kinds.map(({ scale }) => scale))];
  return kinds.map(({ scale }) => (scales.indexOf(scale) < AXES.length ? scales.indexOf(scale) : -1));
}

/** Characters that the labels of each chart need, left and right. @type {Map<object, [number, number]>} */
const needs = new Map();

/**
 * Returns the characters for which the gutters have room.
 * @returns {[number, number]}
 */
export function gutters() {
  let [left, right] = [FEWEST, 0];
  for (const [one, other] of needs.values()) {
    left = Math.max(left, one);
    right = Math.max(right, other);
  }
  return [left, right];
}

/**
 * @param {object} chart
 * @param {number} side 0 left, 1 right
 * @param {number} characters
 */
export function needGutter(chart, side, characters) {
  const need = needs.get(chart) ?? [0, 0];
  need[side] = characters;
  needs.set(chart, need);
}

/** @param {object} chart that is closed */
export const releaseGutter = (chart) => needs.delete(chart);

/**
 * Returns the width of a gutter in CSS pixels.
 * @param {number} characters
 * @param {number} size of the letters
 */
export const gutterWidth = (characters, size) => (characters === 0 ? 0 : Math.ceil(characters * size * DIGIT) + LABEL_GAP);

/**
 * Returns the range of an axis.
 * @param {[number, number] | null} extremes lowest and highest value; null for none
 * @param {readonly import('../limits.js').Limit[]} limits
 * @param {number | null} whole upper end of values that are parts of a whole
 * @returns {[number, number]}
 */
export function axisRange(extremes, limits, whole) {
  if (extremes === null || !extremes.every(Number.isFinite)) return [0, whole ?? 1];
  let [low, high] = extremes;
  for (const { at } of limits) {
    if (at > high && (at <= LIMIT_REACH * high || (low === high && high === 0))) high = at;
    if (at < low && (at >= 0 || at >= LIMIT_REACH * low)) low = at;
  }
  const [bottom, top] = yRange(low, high);
  if (whole === null || high > whole || low < 0) return [bottom, top];
  return [0, Math.min(whole, Math.max(top, whole / 1_000))];
}

/**
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
function yRange(low, high) {
  const middle = (low + high) / 2;
  const range = Math.max(high - low, SMALLEST_RANGE * Math.abs(middle)) || 1;
  // The axis includes zero if it is near, which makes amounts comparable.
  const bottom = low >= 0 && low - 0.6 * range <= 0 ? 0 : middle - 0.6 * range;
  return [bottom, Math.max(high + 0.08 * (high - bottom), bottom + range)];
}

const [MINUTE, DAY, MONTH] = [60_000, 86_400_000, 27 * 86_400_000];

/**
 * Returns the format of the labels of a time axis.
 * @param {number} step between two labels, ms
 * @returns {(time: number) => string}
 */
function timeFormat(step) {
  if (step >= MONTH) return locale.month;
  if (step >= DAY) return locale.day;
  const clock = step < MINUTE ? locale.seconds : locale.minutes;
  // Midnight is the beginning of a day.
  return (time) => (step >= MINUTE && new Date(time).getHours() === 0 && new Date(time).getMinutes() === 0 ? locale.day(time) : clock(time));
}

/**
 * Returns the least distance of two labels of a time axis.
 * @param {number} size of the letters
 * @param {number} length of the range, ms
 */
export const timeSpace = (size, length) => (timeFormat(length / 12)(0).length * DIGIT + 1.5) * size;

/**
 * Returns the labels of the time axis, without one at an edge, which would be cut.
 * @param {number} size of the letters
 */
export function timeLabels(size) {
  return (/** @type {any} */ u, /** @type {number[]} */ splits, /** @type {number} */ axis, /** @type {number} */ space, /** @type {number} */ step) => {
    const format = timeFormat(step);
    const { min, max } = u.scales.x;
    const labels = splits.map(format);
    const half = ((Math.max(...labels.map((label) => label.length)) * DIGIT * size) / 2) * ((max - min) / Math.max(1, u.over?.clientWidth || u.width));
    const [left, right] = [gutters()[0] > 0 ? half * 0.5 : half, half];
    return labels.map((label, index) => (splits[index] - min < left || max - splits[index] < right * 0.4 ? '' : label));
  };
}
