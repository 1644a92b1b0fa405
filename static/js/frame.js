// @ts-check
/**
 * At most one redraw per animation frame, however often it is asked for. A hidden page gets no frames, so nothing is drawn
 * until it is seen again, and then once.
 */
export class Frame {
  #draw;
  #asked = false;

  /** @param {(now: number) => void} draw gets the wall clock in ms */
  constructor(draw) {
    this.#draw = draw;
  }

  request() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw(Date.now());
    });
  }
}
