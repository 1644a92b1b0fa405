// @ts-check
/** Gauge: a number between two limits as an arc, with marks at its limits. */

import { element, setText } from '../dom.js';
import { isMoney, kindOf, valueAt } from '../fields.js';
import { NOTHING } from '../format.js';
import { NO_DATA, empty } from './empty.js';
import { followLatest } from './latest.js';
import { levelOf } from './level.js';

const SVG = 'http://www.w3.org/2000/svg';
/** The arc: three quarters of a circle, open at the bottom. */
const ARC = 'M 26 94 A 48 48 0 1 1 94 94';
const START = 135;
const SWEEP = 270;

/** @type {import('./contract.js').Mount} */
export function mountGauge(tile, body, context) {
  const { channel, field, options = {} } = tile;
  if (channel === undefined || field === undefined) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const kind = kindOf(field, options.unit);
  const track = path('gauge-track');
  const bar = path('gauge-bar');
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 2 120 99');
  svg.setAttribute('class', 'gauge-arc');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(track, bar);
  const value = element('span', 'gauge-value', NOTHING);
  const unit = element('span', 'gauge-unit');
  const ends = element('p', 'gauge-ends');
  const figure = element('div', 'gauge', svg, element('p', 'gauge-figure', value, unit), ends);
  const note = element('p', 'chart-note', NO_DATA);
  body.append(figure, note);
  const latest = followLatest(context, channel);
  const money = isMoney(field) ? context.followCurrency() : () => {};
  let marked = '';
  let highest = 0;

  return {
    draw: () => {
      if (!latest.changed) return;
      latest.changed = false;
      const read = valueAt(latest.data, field);
      const number = kind.number(read);
      const setting = { currency: context.currency() };
      const { text, unit: suffix } = kind.read(read, setting);
      setText(value, text);
      setText(unit, suffix === '' ? '' : ` ${suffix}`);
      note.hidden = latest.data !== null;
      highest = Math.max(highest, number || 0);
      const limits = context.limits.of(channel, field, options);
      const { min, max } = endsOf(options, kind.scale, highest, limits);
      const part = Number.isNaN(number) ? 0 : Math.min(1, Math.max(0, (number - min) / (max - min || 1)));
      // A dash of length zero would be drawn as a dot by round ends.
      bar.setAttribute('stroke-dasharray', `${(part * 100).toFixed(2)} 200`);
      bar.setAttribute('visibility', part > 0 ? 'visible' : 'hidden');
      figure.dataset.level = levelOf(number, '', options, limits);
      const plain = (/** @type {number} */ end) => [kind.drawn(end, setting)].map(({ text, unit }) => `${text.replace(/\.0+$/, '')} ${unit}`.trim())[0];
      setText(ends, `${plain(min)} to ${plain(max)}`);
      const inside = limits.filter(({ at }) => at > min && at < max);
      const places = JSON.stringify([min, max, inside]);
      if (marked === places) return;
      marked = places;
      svg.querySelectorAll('.gauge-mark').forEach((mark) => mark.remove());
      svg.append(...inside.map(({ at, level }) => mark(level, (at - min) / (max - min))));
    },
    rangeChanged: () => (latest.changed = true), // the limits, too, may have changed
    close: () => {
      latest.end();
      money();
    },
  };
}

/**
 * Returns the ends of the scale: those of the tile, those of a percentage, or zero and a round number above all values so far.
 * @param {Record<string, any>} options
 * @param {string} scale of the kind of the values
 * @param {number} highest value so far
 * @param {readonly import('../limits.js').Limit[]} limits
 */
export function endsOf(options, scale, highest, limits) {
  const min = Number.isFinite(options.min) ? options.min : 0;
  const natural = scale === '%' ? 100 : scale === 'ratio' ? 1 : roundAbove(Math.max(highest, ...limits.map(({ at }) => at * 1.1)));
  const max = Number.isFinite(options.max) ? options.max : natural;
  return { min, max: max > min ? max : min + 1 };
}

/**
 * Returns the smallest of 1, 2, 5, 10, 20, … that is not below a number.
 * @param {number} number
 */
function roundAbove(number) {
  if (!(number > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= number * (1 - 1e-9)) ?? number;
}

/** @param {string} name */
function path(name) {
  const node = document.createElementNS(SVG, 'path');
  node.setAttribute('d', ARC);
  node.setAttribute('class', name);
  node.setAttribute('pathLength', '100');
  return node;
}

/**
 * @param {string} level
 * @param {number} part of the arc, 0 to 1
 */
function mark(level, part) {
  const angle = ((START + part * SWEEP) * Math.PI) / 180;
  const line = document.createElementNS(SVG, 'line');
  const at = (/** @type {number} */ radius) => [60 + radius * Math.cos(angle), 60 + radius * Math.sin(angle)];
  const [[x1, y1], [x2, y2]] = [at(54.5), at(59)];
  for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(name, value.toFixed(2));
  line.setAttribute('class', `gauge-mark gauge-mark-${level}`);
  return line;
}
