// @ts-check
/**
 * The values a tile has seen since the page was opened, in two flat rings. NaN marks a gap: no line is drawn across it.
 */

const CAPACITY = 600;
/** Values that come faster replace each other: no screen shows more, and the ring still spans five minutes. */
const SPACING_MS = 500;
/** After a longer pause the old value held until now: a value that does not change is not sent again. */
const HOLD_AFTER_MS = 2_500;

export class Series {
  #times = new Float64Array(CAPACITY);
  #values = new Float64Array(CAPACITY);
  #start = 0;
  length = 0;

  /**
   * @param {number} time wall clock, ms
   * @param {number} value a finite number, or NaN for a gap
   */
  push(time, value) {
    if (this.length === 0) {
      if (!Number.isNaN(value)) this.#append(time, value);
      return;
    }
    const last = this.value(this.length - 1);
    const pause = time - this.time(this.length - 1);
    if (Number.isNaN(value)) {
      if (!Number.isNaN(last)) this.#append(time, NaN);
    } else if (Number.isNaN(last)) {
      this.#append(time, value);
    } else if (pause < SPACING_MS) {
      this.#values[this.#index(this.length - 1)] = value;
    } else {
      if (pause > HOLD_AFTER_MS && value !== last) this.#append(time - 1, last);
      this.#append(time, value);
    }
  }

  /**
   * The newest value held until `time`; nothing is known after it.
   * @param {number} time
   */
  end(time) {
    if (this.length === 0) return;
    const last = this.value(this.length - 1);
    if (Number.isNaN(last)) return;
    if (time > this.time(this.length - 1)) this.#append(time, last);
    this.#append(time, NaN);
  }

  /** @param {number} i from the oldest, 0, to the newest, length - 1 */
  time(i) {
    return this.#times[this.#index(i)];
  }

  /** @param {number} i */
  value(i) {
    return this.#values[this.#index(i)];
  }

  /** @param {number} i */
  #index(i) {
    return (this.#start + i) % CAPACITY;
  }

  /**
   * @param {number} time
   * @param {number} value
   */
  #append(time, value) {
    if (this.length === CAPACITY) this.#start = (this.#start + 1) % CAPACITY;
    else this.length += 1;
    const index = this.#index(this.length - 1);
    this.#times[index] = time;
    this.#values[index] = value;
  }
}
