// @ts-check
/** Cards of a dashboard in order. A card exists as long as its tile: a moved one keeps its values and its focus. */

import { sizeOf } from '../tiles/kinds.js';
import { Card } from './card.js';
import { fillGrid } from './fill.js';

export class Grid {
  #place;
  #context;
  #kindOfChannel;
  /** @type {Map<string, Card>} */
  #cards = new Map();
  /**
   * Called for each new card, so that an editor can add its tools.
   * @type {(card: Card) => void}
   */
  onCard = () => {};

  /**
   * @param {HTMLElement} place
   * @param {import('../tiles/contract.js').Context} context
   * @param {(channel: string) => string | undefined} kindOfChannel
   */
  constructor(place, context, kindOfChannel) {
    this.#place = place;
    this.#context = context;
    this.#kindOfChannel = kindOfChannel;
    // The number of columns follows the width.
    new ResizeObserver(() => this.#fill()).observe(place);
    // A tile without data is hidden outside edit mode.
    new MutationObserver(() => this.#fill()).observe(place, { attributeFilter: ['data-editing', 'data-empty'], subtree: true });
  }

  /** Lets tiles grow into the holes of the grid. */
  #fill() {
    const isEditing = this.#place.dataset.editing === 'true';
    const shown = [...this.#cards.values()].filter(({ element }) => isEditing || element.dataset.empty !== 'true');
    const cards = shown.sort((one, other) => (one.element.compareDocumentPosition(other.element) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
    fillGrid(this.#place, cards.map(({ element, tile }) => ({ element, type: tile.type, size: sizeOf(tile) })));
  }

  /** @param {import('./model.js').Board} board */
  show({ tiles }) {
    const wanted = new Set(tiles.map(({ id }) => id));
    for (const [id, card] of this.#cards) {
      if (wanted.has(id)) continue;
      card.close();
      this.#cards.delete(id);
    }
    const focus = document.activeElement;
    tiles.forEach((tile, index) => {
      let card = this.#cards.get(tile.id);
      if (card === undefined) {
        card = new Card(tile, this.#context, this.#kindOfChannel);
        this.#cards.set(tile.id, card);
        this.onCard(card);
      } else {
        card.update(tile);
      }
      const there = this.#place.children[index] ?? null;
      if (there !== card.element) this.#place.insertBefore(card.element, there);
    });
    this.#fill();
    // Moving an element in the document removes its focus.
    if (focus instanceof HTMLElement && focus !== document.activeElement && this.#place.contains(focus)) focus.focus();
  }

  /** Removes all cards. */
  clear() {
    for (const card of this.#cards.values()) card.close();
    this.#cards.clear();
  }

  /** @param {string} id */
  card(id) {
    return this.#cards.get(id);
  }

  get cards() {
    return this.#cards.values();
  }

  get element() {
    return this.#place;
  }
}
