// @ts-check
/**
 * Schedules redraws: at most one per animation frame, and for new values at most ten a second, because faster
 * changes are not readable and each redraw costs a layout. A hidden page gets no frames, so it is drawn once when it
 * becomes visible.
 */

import { now } from './time.js';

const VALUES_EVERY_MS = 100;

export class FrameScheduler {
  #draw;
  #requested = false;
  #timer = 0;
  #drawnAt = 0;

  /** @param {(now: number) => void} draw receives the time of the page's clock in ms */
  constructor(draw) {
    this.#draw = draw;
  }

  /** Requests a redraw for new values: soon. */
  request() {
    if (this.#requested || this.#timer !== 0) return;
    const wait = this.#drawnAt + VALUES_EVERY_MS - performance.now();
    if (wait <= 0) this.requestNow();
    else this.#timer = setTimeout(() => this.requestNow(), wait);
  }

  /** Draws at once, for when there may be no next frame. */
  drawNow() {
    this.#draw(now());
  }

  /** Requests a redraw with the next frame, for an action of the reader. */
  requestNow() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#requested) return;
    this.#requested = true;
    requestAnimationFrame(() => {
      this.#requested = false;
      this.#drawnAt = performance.now();
      this.#draw(now());
    });
  }
}
