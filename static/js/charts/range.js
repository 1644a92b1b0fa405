// @ts-check
/**
 * The range of time that all charts show: as long as the reader chose, ending now, or standing still while paused. Kept in
 * the browser, for it is a matter of the reader and not of the board.
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
    const kept = read();
    if (kept !== null && Object.hasOwn(LENGTHS, kept)) this.#name = /** @type {LengthName} */ (kept);
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
   * The end of the range.
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
      // No storage: the choice is for this page only.
    }
    this.#tell();
  }

  /** @param {number | null} at where time stands still; null lets it go on */
  pause(at) {
    this.#pausedAt = at;
    this.#tell();
  }

  /** @param {() => void} watch */
  onChange(watch) {
    this.#watchers.add(watch);
  }

  #tell() {
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
