// @ts-check
/** One tile on the page: a titled card around the view of its kind. An exception in one view does not affect other tiles. */

import { element, setText } from '../dom.js';
import { mountFor } from '../tiles/index.js';
import { sizeOf } from '../tiles/kinds.js';
import { followPresence } from './presence.js';

/** @typedef {import('../tiles/contract.js').Tile} Tile */

export class Card {
  #context;
  #kindOfChannel;
  #title = element('h2', 'card-title');
  #corner = element('p', 'card-corner');
  #head = element('header', 'card-head', this.#title, this.#corner);
  #body = element('div', 'card-body');
  /** @type {import('../tiles/contract.js').TileView | null} */
  #view = null;
  #content = '';
  /** Ends the question whether there is something to show. */
  #ask = () => {};
  element = element('section', 'card', this.#head, this.#body);

  /**
   * @param {Tile} tile
   * @param {import('../tiles/contract.js').Context} context
   * @param {(channel: string) => string | undefined} kindOfChannel
   */
  constructor(tile, context, kindOfChannel) {
    this.#context = context;
    this.#kindOfChannel = kindOfChannel;
    this.tile = tile;
    this.#title.id = `card-${tile.id}`;
    // A group and not a landmark, because there are many, and titles may repeat.
    this.element.setAttribute('role', 'group');
    this.element.setAttribute('aria-labelledby', this.#title.id);
    this.element.dataset.tile = tile.id;
    this.update(tile);
  }

  /** Element to which an editor adds its tools. */
  get head() {
    return this.#head;
  }

  /** @param {Tile} tile */
  update(tile) {
    this.tile = tile;
    const { width, height } = sizeOf(tile);
    this.resize(width, height);
    this.element.dataset.type = tile.type;
    setText(this.#title, tile.title);
    const { type, title, channel, field, fields, options } = tile;
    const content = JSON.stringify([type, title, channel, field, fields, options]);
    if (content === this.#content) return;
    this.#content = content;
    this.#view?.close();
    this.#ask();
    this.element.dataset.empty = 'false';
    this.#ask = followPresence(tile, this.#context, (isPresent) => (this.element.dataset.empty = String(!isPresent)));
    this.#body.replaceChildren();
    this.#body.className = `card-body tile-${type}`;
    this.#view = this.#guard(() => mountFor(tile, this.#kindOfChannel, this.#context.denied)(tile, this.#body, this.#context)) ?? null;
    this.#context.redraw();
  }

  /**
   * Sets the size, also as a preview while resizing.
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    this.element.style.setProperty('--w', String(width));
    this.element.style.setProperty('--h', String(height));
    this.element.dataset.low = String(height === 1);
  }

  /**
   * @param {import('../tiles/contract.js').FrameState} view
   * @param {string} age of the values; empty while they are confirmed
   */
  draw(view, age) {
    const { text, stopped, silent } = age === '' ? this.#context.age(this.tile) : { text: age, stopped: false, silent: new Map() };
    setText(this.#corner, text);
    this.element.dataset.silent = stopped ? 'true' : silent.size > 0 ? 'partly' : 'false';
    if (age === '') this.#view?.sourceStopped?.(silent);
    this.#guard(() => this.#view?.draw(view));
  }

  /** @param {number} time */
  disconnected(time) {
    this.#view?.disconnected?.(time);
  }

  /** @param {number} now */
  reconnected(now) {
    this.#view?.reconnected?.(now);
  }

  /** @param {boolean} clock */
  rangeChanged(clock) {
    this.#view?.rangeChanged?.(clock);
  }

  /** @param {boolean} on */
  printing(on) {
    this.#view?.printing?.(on);
  }

  close() {
    this.#view?.close();
    this.#view = null;
    this.#ask();
    this.element.remove();
  }

  /**
   * @template T
   * @param {() => T} work
   * @returns {T | undefined}
   */
  #guard(work) {
    try {
      return work();
    } catch (error) {
      console.error(error);
      this.#view?.close();
      this.#view = null;
      this.#body.replaceChildren(element('p', 'tile-empty', 'Failed to show this tile.'));
      return undefined;
    }
  }
}
