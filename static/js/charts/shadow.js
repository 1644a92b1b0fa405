// @ts-check
/** The same fields at an earlier time, moved to the present: "yesterday at this time". Loaded when it is first shown. */

import { now } from '../time.js';
import { loadHistory } from './history.js';
import { Ring } from './ring.js';

/** Part of the range that is loaded in advance, so that a live chart loads again only once in that time. */
const AHEAD = 0.25;

export class Shadow {
  #rest;
  #channel;
  #fields;
  #capacity;
  #loaded;
  /** @type {{from: number, to: number, shift: number, rows: import('./rows.js').Rows | null}} */
  #known = { from: 0, to: 0, shift: 0, rows: null };
  #loads = 0;

  /**
   * @param {import('../rest.js').Rest} rest
   * @param {string} channel
   * @param {readonly string[]} fields
   * @param {number} capacity rows kept
   * @param {() => void} loaded
   */
  constructor(rest, channel, fields, capacity, loaded) {
    this.#rest = rest;
    this.#channel = channel;
    this.#fields = fields;
    this.#capacity = capacity;
    this.#loaded = loaded;
  }

  /**
   * Returns the rows of an earlier time with the times of the range; null until they are loaded.
   * @param {number} from ms
   * @param {number} to ms
   * @param {number} shift how much earlier, ms; 0 for none
   */
  rows(from, to, shift) {
    if (shift === 0) return null;
    const known = this.#known;
    const covers = known.shift === shift && from >= known.from && to <= known.to && known.to - known.from < 2 * (to - from);
    if (!covers) void this.#load(from, to, shift);
    return this.#known.shift === shift ? this.#known.rows : null;
  }

  close() {
    this.#loads += 1;
  }

  /**
   * @param {number} from
   * @param {number} to
   * @param {number} shift
   */
  async #load(from, to, shift) {
    const mine = ++this.#loads;
    const before = this.#known.shift === shift ? this.#known.rows : null;
    const end = Math.min(to + AHEAD * (to - from), now() + shift);
    this.#known = { from, to: Math.max(to, end), shift, rows: before };
    const past = await loadHistory(this.#rest, this.#channel, this.#fields, { from: from - shift, to: end - shift });
    if (mine !== this.#loads) return;
    const ring = new Ring(this.#fields.length, this.#capacity, (end - from) / this.#capacity);
    ring.precede({ ...past, times: past.times.map((time) => time + shift) });
    this.#known.rows = ring.view(end);
    this.#loaded();
  }
}
