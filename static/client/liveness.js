// @ts-check
/**
 * How long a link has been silent, and what that means. By the monotonic clock, for that of the computer may be set.
 */
export class Liveness {
  #quiet;
  #dead;
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
    this.last = now;
  }

  /** @param {number} now */
  isStale(now) {
    return now - this.last > this.#quiet;
  }

  /** @param {number} now */
  isDead(now) {
    return now - this.last > this.#dead;
  }
}
