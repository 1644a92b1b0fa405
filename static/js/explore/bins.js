// @ts-check
/**
 * The last five minutes of one number in bins of five seconds: its last, lowest and highest value in each. A list of
 * thousands of sparklines has to be small, so that a bin is drawn as one point. Some 730 bytes per number.
 */

export const BIN_MS = 5_000;
export const BINS = 60;
export const SPAN_MS = BINS * BIN_MS;

export class Bins {
  #last = new Float32Array(BINS).fill(NaN);
  #low = new Float32Array(BINS).fill(NaN);
  #high = new Float32Array(BINS).fill(NaN);
  /** Number of the newest bin since 1970; bin `n` is stored at `n % BINS`. */
  #newest = -Infinity;
  /** Value before all bins. */
  #before = NaN;

  /**
   * Records a value. One that is older than all bins is dropped.
   * @param {number} time ms; may be earlier than that of other values, as with history
   * @param {number} value
   */
  add(time, value) {
    const bin = Math.floor(time / BIN_MS);
    if (Number.isNaN(value) || bin <= this.#newest - BINS) return;
    const isNewest = bin >= this.#newest;
    this.#advance(bin);
    const at = bin % BINS;
    // A value of history comes after the live values of its bin.
    if (isNewest || Number.isNaN(this.#last[at])) this.#last[at] = value;
    this.#low[at] = Number.isNaN(this.#low[at]) ? value : Math.min(this.#low[at], value);
    this.#high[at] = Number.isNaN(this.#high[at]) ? value : Math.max(this.#high[at], value);
  }

  /**
   * Returns the bins as rows, oldest first. A value holds until the next one, because an unchanged value is not sent again.
   * @param {number} now ms
   * @returns {{times: Float64Array, values: Float64Array[], lows: Float64Array[], highs: Float64Array[]}}
   */
  view(now) {
    const last = Math.floor(now / BIN_MS);
    const lists = [0, 1, 2, 3].map(() => new Float64Array(BINS));
    const [times, values, lows, highs] = lists;
    const first = last - BINS + 1;
    let held = this.#heldBefore(first);
    let rows = 0;
    for (let bin = first; bin <= last; bin += 1) {
      const at = ((bin % BINS) + BINS) % BINS;
      const isKnown = bin <= this.#newest && bin > this.#newest - BINS && !Number.isNaN(this.#last[at]);
      if (isKnown) held = this.#last[at];
      if (Number.isNaN(held)) continue;
      times[rows] = bin * BIN_MS;
      values[rows] = held;
      lows[rows] = isKnown ? this.#low[at] : held;
      highs[rows] = isKnown ? this.#high[at] : held;
      rows += 1;
    }
    const cut = (/** @type {Float64Array} */ list) => list.subarray(0, rows);
    return { times: cut(times), values: [cut(values)], lows: [cut(lows)], highs: [cut(highs)] };
  }

  /**
   * Returns the value that held when a bin began, which is not older than the oldest one; NaN for none.
   * @param {number} bin
   */
  #heldBefore(bin) {
    for (let before = Math.min(bin - 1, this.#newest); before > this.#newest - BINS; before -= 1) {
      const value = this.#last[before % BINS];
      if (!Number.isNaN(value)) return value;
    }
    return this.#before;
  }

  /** @param {number} bin */
  #advance(bin) {
    const from = Math.max(this.#newest + 1, bin - BINS + 1);
    if (bin > this.#newest && this.#newest !== -Infinity) {
      this.#before = this.#heldBefore(bin - BINS + 1);
      for (let skipped = from; skipped <= bin; skipped += 1) {
        for (const list of [this.#last, this.#low, this.#high]) list[skipped % BINS] = NaN;
      }
    }
    this.#newest = Math.max(this.#newest, bin);
  }
}
