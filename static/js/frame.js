// @ts-check
/**
 * At most one redraw per animation frame, however often it is asked for, and for news at most ten a second: nobody reads
 * figures that change faster, and each costs a layout. A hidden page gets no frames, so nothing is drawn until it is seen
 * again, and then once.
 */

import { now } from './time.js';

const NEWS_EVERY_MS = 100;

export class Frame {
  #draw;
  #asked = false;
  #timer = 0;
  #drawnAt = 0;

  /** @param {(now: number) => void} draw gets the page's clock in ms */
  constructor(draw) {
    this.#draw = draw;
  }

  /** For news: soon. */
  request() {
    if (this.#asked || this.#timer !== 0) return;
    const wait = this.#drawnAt + NEWS_EVERY_MS - performance.now();
    if (wait <= 0) this.hurry();
    else this.#timer = setTimeout(() => this.hurry(), wait);
  }

  /** At once: there may be no next frame. */
  now() {
    this.#draw(now());
  }

  /** For what the reader does: with the next frame. */
  hurry() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#drawnAt = performance.now();
      this.#draw(now());
    });
  }
}
