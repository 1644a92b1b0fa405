// @ts-check
/**
 * Tracks the silence of a link, by the monotonic clock, because the computer's clock may be set.
 */
export class Liveness {
  #quiet;
  #dead;
  opened;
  last;

  /**
   * @param {{quiet: number, dead: number}} pace silence in ms after which values are stale, and after which the link is dead
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
