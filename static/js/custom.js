// @ts-check
/**
 * Panels for the channels that others push: one for each key below the snapshot's `custom`, with one tile for each numeric
 * field. Keys and fields appear and disappear while the page is open.
 */

import { element, setText } from './dom.js';
import { humanName, milliseconds, plain } from './format.js';
import { Panel } from './panel.js';

/** More than a person reads; the rest is counted, not drawn. */
const MOST_PANELS = 48;
const MOST_FIELDS = 24;
const DEEPEST = 3;

/**
 * Paths of all numbers in `data`, in reading order.
 * @param {any} data
 * @param {string[]} [path]
 * @returns {string[][]}
 */
function numericPaths(data, path = []) {
  if (typeof data === 'number' || (data === null && path.length > 0)) return [path];
  if (data === null || typeof data !== 'object' || Array.isArray(data) || path.length >= DEEPEST) return [];
  return Object.keys(data).flatMap((key) => numericPaths(data[key], [...path, key]));
}

/**
 * The unit is known only from the name.
 * @param {string} field
 */
function kindOf(field) {
  return /(_ms|latency|duration|response_time)(_|$)/i.test(field) ? milliseconds : plain('');
}

class CustomPanel extends Panel {
  /** @type {Map<string, import('./tile.js').Tile>} */
  #byField = new Map();

  /** @param {string} name */
  constructor(name) {
    super({ title: humanName(name), source: `metrics.${name}`, tiles: [] });
  }

  /**
   * @override
   * @param {any} data
   * @param {number} now
   */
  take(data, now) {
    const paths = numericPaths(data).slice(0, MOST_FIELDS);
    const fields = new Set(paths.map((path) => path.join('.')));
    for (const [field, tile] of this.#byField) {
      if (fields.has(field)) continue;
      this.remove(tile);
      this.#byField.delete(field);
    }
    paths.forEach((path, index) => {
      const field = path.join('.');
      if (this.#byField.has(field)) return;
      this.#byField.set(field, this.add({ label: humanName(field), path, kind: kindOf(field) }, index));
    });
    super.take(data, now);
  }
}

export class CustomPanels {
  #section;
  #grid = element('div', 'panels');
  #more = element('p', 'panels-more');
  /** @type {Map<string, CustomPanel>} */
  #panels = new Map();
  #hidden = 0;

  /** @param {HTMLElement} section shown while there is at least one custom channel */
  constructor(section) {
    this.#section = section;
    section.append(this.#grid, this.#more);
  }

  /**
   * @param {any} custom the snapshot's `custom`
   * @param {number} now
   */
  take(custom, now) {
    const names = custom !== null && typeof custom === 'object' ? Object.keys(custom).sort() : [];
    const shown = names.slice(0, MOST_PANELS);
    this.#hidden = names.length - shown.length;
    for (const [name, panel] of this.#panels) {
      if (shown.includes(name)) continue;
      panel.element.remove();
      this.#panels.delete(name);
    }
    shown.forEach((name, index) => {
      let panel = this.#panels.get(name);
      if (panel === undefined) {
        panel = new CustomPanel(name);
        this.#panels.set(name, panel);
        this.#grid.insertBefore(panel.element, this.#grid.children[index] ?? null);
      }
      panel.take(custom[name], now);
    });
  }

  /** @param {number} time */
  lose(time) {
    for (const panel of this.#panels.values()) panel.lose(time);
  }

  /** @param {number} now */
  regain(now) {
    for (const panel of this.#panels.values()) panel.regain(now);
  }

  /** @param {import('./tile.js').View} view */
  draw(view) {
    this.#section.hidden = this.#panels.size === 0;
    this.#more.hidden = this.#hidden === 0;
    setText(this.#more, `and ${this.#hidden} more`);
    for (const panel of this.#panels.values()) panel.draw(view);
  }
}
