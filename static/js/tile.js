// @ts-check
/** One value with its unit and the line of what it has been: a `<div>` of term and description inside a `<dl>`. */

import { element, setText } from './dom.js';
import { Series } from './series.js';
import { drawSparkline } from './sparkline.js';

/**
 * What a redraw needs to know.
 * @typedef {object} View
 * @property {number} now
 * @property {number} openedAt when the page was opened
 * @property {boolean} live false greys everything
 * @property {boolean} lines whether the sparklines move on in this frame
 * @property {string} age how old the values are when not live, e.g. `12 s ago`
 * @property {string} currency
 * @property {import('./sparkline.js').Ink} ink
 */

/**
 * The value at `path`, undefined when any step is missing.
 * @param {any} data
 * @param {readonly string[]} path
 */
function at(data, path) {
  let value = data;
  for (const step of path) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, step)) return undefined;
    value = value[step];
  }
  return value;
}

export class Tile {
  #spec;
  #series = new Series();
  #value = element('span', 'tile-value');
  #unit = element('span', 'tile-unit');
  #note = element('span', 'tile-note');
  #canvas = element('canvas', 'tile-line');
  /** @type {any} */
  #data = null;

  /** @param {import('./catalog.js').TileSpec} spec */
  constructor(spec) {
    this.#spec = spec;
    this.#canvas.setAttribute('aria-hidden', 'true');
    const figure = element('span', 'tile-figure', this.#note, this.#value, this.#unit);
    this.element = element('div', 'tile', element('dt', '', spec.label), element('dd', '', this.#canvas, figure));
  }

  /**
   * Remembers the newest data of the channel; nothing is drawn.
   * @param {any} data
   * @param {number} now
   */
  take(data, now) {
    this.#data = data;
    this.#series.push(now, this.#spec.kind.number(at(data, this.#spec.path)));
  }

  /**
   * The value held until `time`; nothing is known from then on.
   * @param {number} time
   */
  lose(time) {
    this.#series.end(time);
  }

  /**
   * What was known holds again.
   * @param {number} now
   */
  regain(now) {
    if (this.#data !== null) this.take(this.#data, now);
  }

  /** @param {View} view */
  draw(view) {
    const { text, unit } = this.#spec.kind.read(at(this.#data, this.#spec.path), view);
    setText(this.#value, text);
    setText(this.#unit, unit);
    if (this.#spec.note !== undefined) {
      const note = at(this.#data, this.#spec.note);
      setText(this.#note, typeof note === 'string' && note !== 'n/a' ? note : '');
    }
    if (view.lines) drawSparkline(this.#canvas, this.#series, view);
  }
}
