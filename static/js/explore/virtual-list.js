// @ts-check
/**
 * A long list of rows of one height of which only the visible ones exist as elements. It scrolls with the page. A row keeps
 * its element while it is visible, and the one with the focus keeps it also outside.
 */

/** Rows above and below the screen that exist too, so that a scroll shows no empty space. */
const MARGIN = 8;

/**
 * @template T
 * @typedef {object} RowView
 * @property {HTMLElement} element
 * @property {(row: T, index: number) => void} update called when the row is placed
 */

/** @template {{key: string}} T */
export class VirtualList {
  #host;
  #create;
  /** @type {readonly T[]} */
  #rows = [];
  /** @type {Map<string, RowView<T>>} */
  #views = new Map();
  #height = 40;

  /**
   * @param {HTMLElement} host
   * @param {() => RowView<T>} create
   * @param {() => void} moved called when other rows may be visible
   */
  constructor(host, create, moved) {
    this.#host = host;
    this.#create = create;
    addEventListener('scroll', moved, { passive: true });
    addEventListener('resize', () => {
      this.#measure();
      moved();
    });
    this.#measure();
  }

  /** The rows on the screen with their views, from top to bottom. @returns {IterableIterator<[string, RowView<T>]>} */
  get visible() {
    return this.#views.entries();
  }

  /** Measures the height of a row: it follows the font size and the width of the screen. */
  #measure() {
    const height = Number.parseFloat(getComputedStyle(this.#host).getPropertyValue('--row-px'));
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.#height = Math.round((height || 2.5) * rem);
  }

  /** @param {readonly T[]} rows */
  set(rows) {
    this.#rows = rows;
    this.#host.parentElement?.setAttribute('aria-rowcount', String(rows.length + 1));
  }

  /** Creates the elements of the visible rows and removes the others. Returns the visible rows. */
  place() {
    const height = this.#height;
    this.#host.style.height = `${this.#rows.length * height}px`;
    const { top } = this.#host.getBoundingClientRect();
    const first = Math.max(0, Math.floor(-top / height) - MARGIN);
    const last = Math.min(this.#rows.length, Math.ceil((innerHeight - top) / height) + MARGIN);
    const shown = this.#rows.slice(first, Math.max(first, last));
    const keys = new Set(shown.map(({ key }) => key));
    for (const [key, { element }] of this.#views) {
      if (keys.has(key) || element.contains(document.activeElement)) continue;
      element.remove();
      this.#views.delete(key);
    }
    const top0 = Math.max(0, Math.floor(-top / height));
    /** @type {Element | null} */
    let before = this.#host.firstElementChild;
    shown.forEach((row, offset) => {
      const index = first + offset;
      let view = this.#views.get(row.key);
      if (view === undefined) {
        view = this.#create();
        this.#views.set(row.key, view);
      }
      const { element } = view;
      if (element === before) before = before.nextElementSibling;
      else this.#host.insertBefore(element, before);
      element.style.transform = `translateY(${index * height}px)`;
      element.style.height = `${height}px`;
      element.setAttribute('aria-rowindex', String(index + 2));
      // Where a group of rows begins above the screen, the first one shows what it belongs to.
      element.dataset.top = String(index === top0);
      view.update(row, index);
    });
    return shown;
  }

  /** Returns the view of a row, if it exists. @param {string} key */
  view(key) {
    return this.#views.get(key);
  }
}
