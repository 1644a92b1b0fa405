// @ts-check
/**
 * How long a link has been silent, and what that means. By the wall clock: the monotonic one stands still while a laptop
 * sleeps, and the link is dead after that.
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
    return this.#age(now) > this.#quiet;
  }

  /** @param {number} now */
  isDead(now) {
    return this.#age(now) > this.#dead;
  }

  /** @param {number} now */
  #age(now) {
    if (now < this.last) this.last = now; // the clock was set back
    return now - this.last;
  }
}
