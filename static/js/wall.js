// @ts-check
/**
 * Wall display (`?view=wall`): no controls, the screen stays awake, and the rows fill the screen, because there is no
 * scrolling. If tiles would be cut, everything shrinks; if text would become too small, the dashboard is shown in parts, one
 * after the other.
 */

import { byId, setText } from './dom.js';

/** Height that a kind of tile needs, in rem; a number that is one cell high shows its value alone. */
const NEEDS = { number: 5.25, chart: 8.5, gauge: 8, bar: 6, state: 5.25, status: 6, table: 7.5, channels: 7.5, nodes: 7.5, alerts: 7, text: 3.5, markdown: 5 };
const SMALL_NUMBER = 3.25;
/** Smallest font size, relative to the normal one for this screen. */
const SMALLEST = 0.72;
/** Time for which each part of a dashboard is shown. */
const PART_MS = 20_000;

/** @param {HTMLElement} board */
export function startWall(board) {
  const wall = new URLSearchParams(location.search).get('view') === 'wall';
  document.documentElement.dataset.view = wall ? 'wall' : 'desk';
  if (!wall) return;
  keepAwake();
  new Wall(board);
}

class Wall {
  #board;
  #part = 0;
  #parts = 1;
  #timer = 0;

  /** @param {HTMLElement} board */
  constructor(board) {
    this.#board = board;
    let width = 0;
    let height = 0;
    const resized = () => {
      if (innerWidth === width && innerHeight === height) return;
      [width, height] = [innerWidth, innerHeight];
      this.#fit();
    };
    const changed = new MutationObserver((records) => {
      if (records.some(({ type, target }) => type === 'attributes' || target === board)) this.#fit();
    });
    changed.observe(board, { childList: true, subtree: true, attributeFilter: ['data-empty'] });
    addEventListener('resize', resized);
    addEventListener('keydown', ({ key, target }) => {
      if (target instanceof Element && target.closest('input, select, textarea, dialog, [role=application]') !== null) return;
      if (key === 'ArrowRight' || key === 'PageDown') this.#turn(1);
      if (key === 'ArrowLeft' || key === 'PageUp') this.#turn(-1);
    });
  }

  get #cards() {
    return /** @type {HTMLElement[]} */ ([...this.#board.children]).filter((card) => card.dataset.empty !== 'true');
  }

  #fit() {
    const root = document.documentElement;
    root.style.removeProperty('font-size');
    this.#board.style.removeProperty('--row');
    for (const card of this.#cards) {
      card.hidden = false;
      card.removeAttribute('data-part');
    }
    const size = Number.parseFloat(getComputedStyle(root).fontSize);
    const gap = Number.parseFloat(getComputedStyle(this.#board).rowGap) / size;
    const least = Math.max(1.5, ...this.#cards.map((card) => leastRow(card, gap)));
    const rows = this.#rows();
    // Everything around the grid scales with the font size.
    const around = (this.#board.getBoundingClientRect().top + scrollY + Number.parseFloat(getComputedStyle(byId('main')).paddingBottom)) / size;
    const needed = around + rows * (least + gap) - gap;
    const scale = innerHeight / (needed * size);
    this.#parts = 1;
    let shown = rows;
    if (scale < 1) root.style.fontSize = `${size * Math.max(scale, SMALLEST)}px`;
    if (scale < SMALLEST) {
      shown = Math.max(1, Math.floor((innerHeight / (size * SMALLEST) - around + gap) / (least + gap)));
      this.#divide(shown);
    }
    this.#part = Math.min(this.#part, this.#parts - 1);
    this.#show();
    dispatchEvent(new Event('resize')); // canvases follow the font size
  }

  /** Returns the number of rows of the grid. */
  #rows() {
    return this.#cards.length === 0 ? 1 : getComputedStyle(this.#board).gridTemplateRows.split(' ').length;
  }

  /**
   * Divides the dashboard into parts of at most `most` rows.
   * @param {number} most
   */
  #divide(most) {
    const tops = this.#cards.map((card) => card.offsetTop);
    const unit = this.#board.offsetHeight / this.#rows();
    let part = 0;
    let top = tops[0];
    this.#cards.forEach((card, index) => {
      const bottom = tops[index] + card.offsetHeight;
      if (bottom - top > most * unit + 1 && tops[index] > top) {
        part += 1;
        top = tops[index];
      }
      card.dataset.part = String(part);
    });
    this.#parts = part + 1;
  }

  /** @param {number} by */
  #turn(by) {
    if (this.#parts < 2) return;
    this.#part = (this.#part + by + this.#parts) % this.#parts;
    this.#show();
  }

  #show() {
    clearTimeout(this.#timer);
    const place = byId('wall-part');
    place.hidden = this.#parts < 2;
    setText(place, `${this.#part + 1} of ${this.#parts}`);
    for (const card of this.#cards) card.hidden = this.#parts > 1 && card.dataset.part !== String(this.#part);
    this.#stretch();
    if (this.#parts > 1) this.#timer = setTimeout(() => this.#turn(1), PART_MS);
  }

  /** Makes the rows fill the screen. */
  #stretch() {
    const { style } = this.#board;
    style.removeProperty('--row');
    const gap = Number.parseFloat(getComputedStyle(this.#board).rowGap) || 0;
    const below = Number.parseFloat(getComputedStyle(byId('main')).paddingBottom) || 0;
    const rows = this.#rows();
    const height = (innerHeight - (this.#board.getBoundingClientRect().top + scrollY) - below + gap) / rows - gap;
    if (height > 0) style.setProperty('--row', `${height.toFixed(2)}px`);
  }
}

/**
 * Returns the least row height in which a card fits, in rem.
 * @param {HTMLElement} card
 * @param {number} gap rem
 */
function leastRow(card, gap) {
  const height = Number(card.style.getPropertyValue('--h')) || 1;
  const kind = /** @type {keyof typeof NEEDS} */ (card.dataset.type ?? 'text');
  const needs = kind === 'number' && height === 1 ? SMALL_NUMBER : (NEEDS[kind] ?? 5);
  return (needs - (height - 1) * gap) / height;
}

/** Keeps the screen on, in browsers that support it. */
function keepAwake() {
  const hold = () => {
    if (!document.hidden) navigator.wakeLock?.request('screen').catch(() => {});
  };
  document.addEventListener('visibilitychange', hold);
  hold();
}
