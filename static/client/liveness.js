// @ts-check
/**
 * How long a link has been silent, and what that means. By the wall clock: the monotonic one stands still while a laptop
 * sleeps, and the link is dead after that.
 */
const SHORTEST_STALE_MS = 5_000;
const USUAL_GAPS = 4;

export class Liveness {
  #quiet;
  #dead;
  #usual = Infinity;
  #due = Infinity;
  opened;
  last;

  /**
   * @param {{quiet: number, dead: number}} pace silence in ms that makes values old, and that ends the link
   * @param {number} now
   */
  constructor({ quiet, dead }, now) {
    this.#quiet = quiet;
    this.#dead = dead;
    this.opened = this.last = now;
  }

  /** @param {number} now */
  beat(now) {
    const gap = now - this.last;
    this.#usual = this.#usual === Infinity ? gap : 0.8 * this.#usual + 0.2 * gap;
    this.last = now;
    this.#due = Infinity;
  }

  /** Silent for much longer than it usually is. @param {number} now */
  isStale(now) {
    return this.#age(now) > Math.min(this.#quiet, Math.max(SHORTEST_STALE_MS, USUAL_GAPS * this.#usual));
  }

  /** @param {number} now */
  isDead(now) {
    return this.#age(now) > this.#dead || now > this.#due;
  }

  /** Life has to be seen before then. @param {number} due */
  expect(due) {
    this.#due = due;
  }

  /** @param {number} now */
  #age(now) {
    if (now < this.last) this.last = now; // the clock was set back
    return now - this.last;
  }
}
