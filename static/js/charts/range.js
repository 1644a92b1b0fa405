// @ts-check
/**
 * Time range of all charts: of the chosen length, ending now or at the moment of the pause. Stored in the browser, because
 * it is the reader's choice and not part of the dashboard.
 */

/** Lengths to choose from, in ms. */
export const LENGTHS = { '1m': 60_000, '5m': 300_000, '15m': 900_000, '1h': 3_600_000, '24h': 86_400_000 };

/** @typedef {keyof typeof LENGTHS} LengthName */

const KEY = 'tricast.range';

export class Range {
  /** @type {LengthName} */
  #name = '5m';
  /** @type {number | null} the end while paused */
  #pausedAt = null;
  /** @type {Set<() => void>} */
  #watchers = new Set();

  constructor() {
    const stored = read();
    if (stored !== null && Object.hasOwn(LENGTHS, stored)) this.#name = /** @type {LengthName} */ (stored);
  }

  get name() {
    return this.#name;
  }

  /** In ms. */
  get length() {
    return LENGTHS[this.#name];
  }

  get paused() {
    return this.#pausedAt !== null;
  }

  /**
   * Returns the end of the range.
   * @param {number} now
   */
  end(now) {
    return this.#pausedAt ?? now;
  }

  /** @param {string} name */
  choose(name) {
    if (!Object.hasOwn(LENGTHS, name) || name === this.#name) return;
    this.#name = /** @type {LengthName} */ (name);
    try {
      localStorage.setItem(KEY, name);
    } catch {
      // Without storage the choice is for this page only.
    }
    this.#notify();
  }

  /** @param {number | null} at end of the range while paused; null resumes */
  pause(at) {
    this.#pausedAt = at;
    this.#notify();
  }

  /** @param {() => void} watch */
  onChange(watch) {
    this.#watchers.add(watch);
  }

  #notify() {
    this.#watchers.forEach((watch) => watch());
  }
}

function read() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
