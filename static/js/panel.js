// @ts-check
/** A titled group of tiles fed by one channel. */

import { element, setText } from './dom.js';
import { Tile } from './tile.js';

let panels = 0;

export class Panel {
  #source;
  #corner = element('p', 'panel-source');
  #list = element('dl', 'tiles');
  /** @type {Tile[]} */
  #tiles = [];

  /** @param {{title: string, source: string, large?: boolean, tiles: readonly import('./catalog.js').TileSpec[]}} spec */
  constructor(spec) {
    panels += 1;
    this.#source = spec.source;
    const title = element('h3', 'panel-title', spec.title);
    title.id = `panel-${panels}`;
    this.element = element('section', spec.large ? 'panel panel-large' : 'panel');
    this.element.setAttribute('aria-labelledby', title.id);
    this.element.append(element('header', 'panel-head', title, this.#corner), this.#list);
    for (const tile of spec.tiles) this.add(tile);
  }

  /**
   * Adds a tile before the one at `index`, or at the end.
   * @param {import('./catalog.js').TileSpec} spec
   * @param {number} [index]
   */
  add(spec, index = this.#tiles.length) {
    const tile = new Tile(spec);
    this.#list.insertBefore(tile.element, this.#tiles[index]?.element ?? null);
    this.#tiles.splice(index, 0, tile);
    return tile;
  }

  /** @param {Tile} tile */
  remove(tile) {
    tile.element.remove();
    this.#tiles.splice(this.#tiles.indexOf(tile), 1);
  }

  /**
   * @param {any} data
   * @param {number} now
   */
  take(data, now) {
    for (const tile of this.#tiles) tile.take(data, now);
  }

  /** @param {number} time */
  lose(time) {
    for (const tile of this.#tiles) tile.lose(time);
  }

  /** @param {number} now */
  regain(now) {
    for (const tile of this.#tiles) tile.regain(now);
  }

  /** @param {import('./tile.js').View} view */
  draw(view) {
    setText(this.#corner, view.live || view.age === '' ? this.#source : view.age);
    for (const tile of this.#tiles) tile.draw(view);
  }
}
