// @ts-check
/** One tile on the page: a titled frame around the face of its kind. A face that breaks says so and takes nobody along. */

import { element, setText } from '../dom.js';
import { mountFor, sizeOf } from '../tiles/index.js';

/** @typedef {import('../tiles/contract.js').Tile} Tile */

export class Card {
  #context;
  #kindOfChannel;
  #title = element('h2', 'card-title');
  #corner = element('p', 'card-corner');
  #head = element('header', 'card-head', this.#title, this.#corner);
  #body = element('div', 'card-body');
  /** @type {import('../tiles/contract.js').Face | null} */
  #face = null;
  #content = '';
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
    // A group and not a landmark: there are many, and some have the same title.
    this.element.setAttribute('role', 'group');
    this.element.setAttribute('aria-labelledby', this.#title.id);
    this.element.dataset.tile = tile.id;
    this.update(tile);
  }

  /** Where an editor puts its tools. */
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
    this.#face?.close();
    this.#body.replaceChildren();
    this.#body.className = `card-body tile-${type}`;
    this.#face = this.#guard(() => mountFor(tile, this.#kindOfChannel, this.#context.denied)(tile, this.#body, this.#context)) ?? null;
    this.#context.redraw();
  }

  /**
   * Takes a size, also while it is only tried out.
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    this.element.style.setProperty('--w', String(width));
    this.element.style.setProperty('--h', String(height));
    this.element.dataset.low = String(height === 1);
  }

  /**
   * @param {import('../tiles/contract.js').View} view
   * @param {string} age how old the values are; empty while they are confirmed
   */
  draw(view, age) {
    const { text, since } = age === '' ? this.#context.age(this.tile) : { text: age, since: null };
    setText(this.#corner, text);
    this.element.dataset.silent = String(since !== null);
    if (age === '') this.#face?.silence?.(since);
    this.#guard(() => this.#face?.draw(view));
  }

  /** @param {number} time */
  lose(time) {
    this.#face?.lose?.(time);
  }

  /** @param {number} now */
  regain(now) {
    this.#face?.regain?.(now);
  }

  /** @param {boolean} length */
  rescale(length) {
    this.#face?.rescale?.(length);
  }

  /** @param {boolean} on */
  print(on) {
    this.#face?.print?.(on);
  }

  close() {
    this.#face?.close();
    this.#face = null;
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
      this.#face?.close();
      this.#face = null;
      this.#body.replaceChildren(element('p', 'tile-empty', 'This tile could not be shown.'));
      return undefined;
    }
  }
}
