// @ts-check
/** All panels: the ones every server has (catalog.js) and the custom ones. Values come in at any rate; `draw` is once a frame. */

import { PANELS, SNAPSHOT } from './catalog.js';
import { CustomPanels } from './custom.js';
import { element } from './dom.js';
import { Panel } from './panel.js';

export class Board {
  #panels = PANELS.map((spec) => ({ channel: spec.channel, panel: new Panel(spec) }));
  #custom;
  /** Of all amounts, as `metrics.revenue` says it; unknown until then. */
  currency = '';

  /**
   * @param {HTMLElement} standard gets the panels of the catalogue
   * @param {HTMLElement} custom gets the custom ones
   */
  constructor(standard, custom) {
    const grid = element('div', 'panels');
    grid.append(...this.#panels.map(({ panel }) => panel.element));
    standard.append(grid);
    this.#custom = new CustomPanels(custom);
  }

  /**
   * @param {string} channel
   * @param {import('./transport/contract.js').Json} data
   * @param {number} now
   */
  take(channel, data, now) {
    if (typeof data.currency === 'string' && channel === 'metrics.revenue') this.currency = data.currency;
    for (const entry of this.#panels) if (entry.channel === channel) entry.panel.take(data, now);
    if (channel === SNAPSHOT) this.#custom.take(data.custom, now);
  }

  /**
   * The link is gone or silent: lines break where it last showed life.
   * @param {number} time
   */
  lose(time) {
    for (const { panel } of this.#panels) panel.lose(time);
    this.#custom.lose(time);
  }

  /**
   * The link works again: what did not change meanwhile is not sent again, and holds from here on.
   * @param {number} now
   */
  regain(now) {
    for (const { panel } of this.#panels) panel.regain(now);
    this.#custom.regain(now);
  }

  /** @param {import('./tile.js').View} view */
  draw(view) {
    for (const { panel } of this.#panels) panel.draw(view);
    this.#custom.draw(view);
  }
}
