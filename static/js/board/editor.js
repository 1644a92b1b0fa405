// @ts-check
/**
 * Edit mode: each card gets tools and a resize handle. Everything works by keyboard too: on the button "Move", arrow keys
 * move the tile, and Shift with arrow keys resizes it.
 */

import { element } from '../dom.js';
import { icon } from '../icons.js';
import { COLUMNS, sizeOf } from '../tiles/kinds.js';
import { drag } from './drag.js';
import { TileDialog } from './dialog.js';
import { newTileId } from './model.js';

/** @typedef {import('./card.js').Card} Card */
/** @typedef {import('./model.js').Step} Step */

const HIGHEST = 12;

export class Editor {
  #grid;
  #dialog;
  #announcer;
  /** @type {import('./sync.js').BoardSync | null} */
  #sync = null;
  #on = false;

  /**
   * @param {import('./grid.js').Grid} grid
   * @param {import('../tiles/contract.js').Context} context
   * @param {(channel: string) => string | undefined} kindOfChannel
   */
  constructor(grid, context, kindOfChannel) {
    this.#grid = grid;
    this.#dialog = new TileDialog(context, kindOfChannel);
    this.#announcer = context.announcer;
    grid.onCard = (card) => this.#addTools(card);
  }

  /** @param {import('./sync.js').BoardSync | null} sync of the open dashboard; null if there is none */
  setBoard(sync) {
    this.#sync = sync;
    if (sync === null && this.#on) this.setEditing(false);
    this.onChange();
  }

  /** Call it when the dashboard was changed, here or elsewhere. */
  boardChanged() {
    this.onChange();
  }

  /** Called when undo may have become possible or impossible. */
  onChange = () => {};

  /** Called when edit mode begins or ends. @param {boolean} on */
  onToggle = (on) => void on;

  get on() {
    return this.#on;
  }

  /** Draws the open dialog. @param {import('../tiles/contract.js').FrameState} frame */
  draw(frame) {
    this.#dialog.draw(frame);
  }

  /** @param {boolean} on */
  setEditing(on) {
    this.#on = on;
    this.#grid.element.dataset.editing = String(on);
    for (const card of this.#grid.cards) this.#addTools(card);
    this.onToggle(on);
  }

  /** Opens the dialog for a new tile and adds it. */
  async add() {
    const tile = await this.#dialog.ask(null);
    if (tile === null || this.#sync === null) return;
    const id = newTileId();
    this.#sync.change({ kind: 'add', tile: { ...tile, id } });
    this.#announcer.announce(`${tile.title} added.`);
    this.#focus(id);
  }

  /** @param {string} id of a tile that was just added */
  #focus(id) {
    const card = this.#grid.card(id);
    card?.element.scrollIntoView({ block: 'nearest' });
    card?.element.querySelector('button')?.focus();
  }

  /** @param {Card} card */
  #addTools(card) {
    card.element.querySelector('.tools')?.remove();
    card.element.querySelector('.resize')?.remove();
    if (!this.#on) return;
    const move = tool('Move', 'move', card.tile.id);
    move.classList.add('tool-move');
    move.title = 'Drag to move. Arrow keys move, Shift and arrow keys resize.';
    move.addEventListener('keydown', (event) => this.#key(event, card));
    drag(move, this.#grid.element, card.element, (before) => this.#move(card, before));
    const edit = tool('Edit', 'edit', card.tile.id);
    edit.addEventListener('click', () => this.#edit(card));
    const duplicate = tool('Duplicate', 'duplicate', card.tile.id);
    duplicate.addEventListener('click', () => this.#duplicate(card));
    const remove = tool('Remove', 'remove', card.tile.id);
    remove.classList.add('tool-danger');
    remove.addEventListener('click', () => this.#remove(card));
    const resize = element('span', 'resize');
    resize.setAttribute('aria-hidden', 'true'); // by keyboard the button "Move" resizes
    this.#makeResizable(resize, card);
    card.head.append(element('div', 'tools', move, edit, duplicate, remove));
    card.element.append(resize);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {Card} card
   */
  #key(event, card) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way === undefined || event.altKey || event.ctrlKey || event.metaKey || this.#sync === null) return;
    event.preventDefault();
    const [x, y] = way;
    if (event.shiftKey) {
      const { width, height } = sizeOf(card.tile);
      return this.#resize(card, width + x, height + y);
    }
    const ids = this.#sync.board.tiles.map(({ id }) => id);
    const index = ids.indexOf(card.tile.id);
    const step = x + y;
    const to = index + step;
    if (to < 0 || to >= ids.length) return this.#announcer.announce(step < 0 ? 'This is the first tile.' : 'This is the last tile.');
    this.#move(card, step < 0 ? ids[to] : (ids[to + 1] ?? null));
  }

  /**
   * @param {Card} card
   * @param {string | null} before id of the tile before which it moves; null for the end
   */
  #move(card, before) {
    if (this.#sync === null) return;
    this.#sync.change({ kind: 'move', id: card.tile.id, before });
    const { tiles } = this.#sync.board;
    this.#announcer.announce(`${card.tile.title}: place ${tiles.findIndex(({ id }) => id === card.tile.id) + 1} of ${tiles.length}.`);
  }

  /**
   * @param {Card} card
   * @param {number} width
   * @param {number} height
   */
  #resize(card, width, height) {
    width = Math.min(COLUMNS, Math.max(2, width));
    height = Math.min(HIGHEST, Math.max(1, height));
    const now = sizeOf(card.tile);
    if (width === now.width && height === now.height) return;
    this.#sync?.change({ kind: 'change', id: card.tile.id, changes: { width, height } });
    this.#announcer.announce(`${card.tile.title}: ${width} wide, ${height} high.`);
  }

  /**
   * Resizes with the pointer in whole cells. The size is saved on release.
   * @param {HTMLElement} handle
   * @param {Card} card
   */
  #makeResizable(handle, card) {
    handle.addEventListener('pointerdown', (down) => {
      down.preventDefault();
      handle.setPointerCapture(down.pointerId);
      const box = card.element.getBoundingClientRect();
      const start = sizeOf(card.tile);
      let size = start;
      const move = (/** @type {PointerEvent} */ event) => {
        size = {
          width: Math.min(COLUMNS, Math.max(2, Math.round(((event.clientX - box.left) / box.width) * start.width))),
          height: Math.min(HIGHEST, Math.max(1, Math.round(((event.clientY - box.top) / box.height) * start.height))),
        };
        card.resize(size.width, size.height);
      };
      const end = (/** @type {PointerEvent} */ event) => {
        handle.removeEventListener('pointermove', move);
        handle.removeEventListener('pointerup', end);
        handle.removeEventListener('pointercancel', end);
        card.resize(start.width, start.height);
        if (event.type === 'pointerup') this.#resize(card, size.width, size.height);
      };
      handle.addEventListener('pointermove', move);
      handle.addEventListener('pointerup', end);
      handle.addEventListener('pointercancel', end);
    });
  }

  /** @param {Card} card */
  async #edit(card) {
    const { id } = card.tile;
    const tile = await this.#dialog.ask(card.tile);
    if (tile === null || this.#sync === null) return;
    /** @type {Record<string, any>} */
    const changes = {};
    for (const name of /** @type {const} */ (['type', 'title', 'channel', 'field', 'fields', 'width', 'height', 'options'])) {
      if (JSON.stringify(tile[name]) !== JSON.stringify(card.tile[name])) changes[name] = tile[name] ?? null;
    }
    if (Object.keys(changes).length > 0) this.#sync.change({ kind: 'change', id, changes });
  }

  /** Adds a copy behind the tile. @param {Card} card */
  #duplicate(card) {
    if (this.#sync === null) return;
    const { tiles } = this.#sync.board;
    const next = tiles[tiles.findIndex(({ id }) => id === card.tile.id) + 1];
    const id = newTileId();
    const copy = /** @type {Step} */ ({ kind: 'add', tile: { ...card.tile, id } });
    this.#sync.change(...(next === undefined ? [copy] : [copy, /** @type {Step} */ ({ kind: 'move', id, before: next.id })]));
    this.#announcer.announce(`${card.tile.title} duplicated.`);
    this.#focus(id);
  }

  /** @param {Card} card */
  #remove(card) {
    if (this.#sync === null) return;
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    this.#sync.change({ kind: 'remove', id: card.tile.id });
    this.#announcer.announce(`${card.tile.title} removed. Undo restores it.`);
    const heir = next?.querySelector('.tools button') ?? document.getElementById('edit-add');
    if (heir instanceof HTMLElement) heir.focus();
  }
}

/**
 * @param {string} label
 * @param {Parameters<typeof icon>[0]} sign
 * @param {string} id of the tile
 */
function tool(label, sign, id) {
  const button = element('button', 'tool', icon(sign));
  button.type = 'button';
  // Labelled by its own text and the card's current title.
  button.id = `${label.toLowerCase()}-${id}`;
  button.setAttribute('aria-label', label);
  button.setAttribute('aria-labelledby', `${button.id} card-${id}`);
  button.title = label;
  return button;
}
