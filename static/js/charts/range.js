// @ts-check
/**
 * Time range of all charts: the last minutes, hours or days until now (live), or two fixed times, as after a zoom or while
 * paused. The last live length is stored in the browser, because it is the reader's choice and not part of the dashboard; the
 * range as a whole is in the address (range-address.js).
 */

import { LONGEST, SHORTEST, lengthText, parseLength } from './length.js';

/** Lengths of the buttons in the header, and further ones of the menu. */
export const LENGTHS = ['1m', '5m', '15m', '1h', '24h'];
export const LONG_LENGTHS = ['6h', '2d', '7d', '30d', '90d', '365d'];
/** Earlier times to compare with, and their names. */
export const COMPARISONS = /** @type {const} */ ({ '1d': 'yesterday', '7d': 'last week' });

const KEY = 'tricast.range';
const DEFAULT = '5m';
/** A range that ends within this part of its length before now is live. */
const NOW = 0.01;
const NOW_MS = 1_000;
/** Factor of a zoom by key or button. */
const ZOOM = 2;

/** How a change is recorded in the browser's history. @typedef {'new' | 'same' | 'restored'} Entry */
/** @typedef {{length: number, to: number | null, compare: string | null}} State `to`: null while live; ms */

export class Range {
  /** @type {State} */
  #state = { length: parseLength(DEFAULT), to: null, compare: null };
  /** Length of the last live range, to which "Resume" returns. */
  #liveLength = this.#state.length;
  /** @type {Set<(entry: Entry) => void>} */
  #watchers = new Set();

  constructor() {
    const stored = parseLength(read() ?? '');
    if (!Number.isNaN(stored)) this.#state.length = this.#liveLength = stored;
  }

  /** The length as a text, such as `5m`. */
  get name() {
    return lengthText(this.#state.length);
  }

  /** In ms. */
  get length() {
    return this.#state.length;
  }

  /** Whether the range has a fixed end: paused, zoomed in, or chosen. */
  get paused() {
    return this.#state.to !== null;
  }

  /** Name of the earlier time that charts compare with; null for none. */
  get comparedTo() {
    return COMPARISONS[/** @type {keyof typeof COMPARISONS} */ (this.#state.compare)] ?? null;
  }

  /** How much earlier that is, in ms; 0 for none. */
  get shift() {
    return this.comparedTo === null ? 0 : parseLength(this.#state.compare ?? '');
  }

  get state() {
    return { ...this.#state };
  }

  /**
   * Returns the end of the range.
   * @param {number} now
   */
  end(now) {
    return this.#state.to ?? now;
  }

  /**
   * Shows the time until now.
   * @param {string} name of the length
   */
  choose(name) {
    const length = parseLength(name);
    if (Number.isNaN(length) || (length === this.#state.length && !this.paused)) return;
    this.#liveLength = length;
    try {
      localStorage.setItem(KEY, name);
    } catch {
      // Without storage the choice is for this page only.
    }
    this.#set({ length, to: null }, 'new');
  }

  /**
   * Shows the time between two instants; live if it ends now or later.
   * @param {number} from ms
   * @param {number} to ms
   * @param {number} now
   * @param {Entry} [entry]
   */
  show(from, to, now, entry = 'new') {
    const length = Math.min(LONGEST, Math.max(SHORTEST, to - from));
    if (to < now - Math.max(NOW_MS, NOW * length)) return this.#set({ length, to: Math.round(to) }, entry);
    // A live range has whole seconds.
    this.#set({ length: Math.max(SHORTEST, Math.round(Math.min(LONGEST, Math.min(to, now) - from) / 1_000) * 1_000), to: null }, entry);
  }

  /**
   * @param {number} by part of the length: negative for earlier
   * @param {number} now
   */
  move(by, now) {
    const to = Math.min(now, this.end(now) + by * this.length);
    this.show(to - this.length, to, now);
  }

  /**
   * Zooms by a factor of two around an instant.
   * @param {1 | -1} way 1 shows less time, -1 more
   * @param {number} now
   * @param {number} [around] ms; by default the middle, of a live range its end
   */
  zoom(way, now, around = this.end(now) - (this.paused ? this.length / 2 : 0)) {
    const part = (this.end(now) - around) / this.length;
    const length = way > 0 ? this.length / ZOOM : this.length * ZOOM;
    const to = Math.min(now, around + part * length);
    this.show(to - length, to, now);
  }

  /** @param {number | null} at end of the range while paused; null resumes: the time until now, with the last live length */
  pause(at) {
    if (at !== null) this.#set({ to: at }, 'same');
    else this.#set({ length: this.#liveLength, to: null }, 'new');
  }

  /** @param {string | null} name a name of {@link COMPARISONS}; null for none */
  compare(name) {
    this.#set({ compare: name }, 'same');
  }

  /**
   * Sets a range that the address names.
   * @param {State | null} state null for the default
   */
  restore(state) {
    this.#set(state ?? { length: this.#liveLength, to: null, compare: null }, 'restored');
    if (state !== null && state.to === null) this.#liveLength = state.length;
  }

  /** @param {(entry: Entry) => void} watch */
  onChange(watch) {
    this.#watchers.add(watch);
  }

  /**
   * @param {Partial<State>} changes
   * @param {Entry} entry
   */
  #set(changes, entry) {
    const before = JSON.stringify(this.#state);
    this.#state = { ...this.#state, ...changes };
    if (JSON.stringify(this.#state) !== before) this.#watchers.forEach((watch) => watch(entry));
  }
}

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
