// @ts-check
/**
 * How long ago a link last showed life, and what that means.
 *
 * A link is stale when it is silent for much longer than it usually is (so a page fed once a second notices after 5 s), and
 * at the latest after the transport's own `quietMs`; it is dead after `deadMs`. The wall clock is used on purpose: the
 * monotonic one stands still while a laptop sleeps, and the link is dead after that.
 */
const SHORTEST_STALE_MS = 5_000;
const USUAL_GAPS = 4;

export class Liveness {
  #pace;
  #last;
  /** @type {number | null} */
  #usualGap = null;

  /**
   * @param {import('./transport/contract.js').Pace} pace
   * @param {number} now
   */
  constructor(pace, now) {
    this.#pace = pace;
    this.#last = now;
  }

  /** When life was last seen. */
  get last() {
    return this.#last;
  }

  /** @param {number} now */
  beat(now) {
    const gap = Math.max(0, now - this.#last);
    this.#usualGap = this.#usualGap === null ? gap : 0.8 * this.#usualGap + 0.2 * gap;
    this.#last = now;
  }

  /** @param {number} now */
  isStale(now) {
    const usual = this.#usualGap === null ? Infinity : USUAL_GAPS * this.#usualGap;
    return this.#age(now) > Math.min(this.#pace.quietMs, Math.max(SHORTEST_STALE_MS, usual));
  }

  /** @param {number} now */
  isDead(now) {
    return this.#age(now) > this.#pace.deadMs;
  }

  /** @param {number} now */
  #age(now) {
    if (now < this.#last) this.#last = now; // the clock was set back
    return now - this.#last;
  }
}
