// @ts-check
/**
 * The values of some fields over time: flat arrays, made once, that are read as one piece without copying. NaN in all
 * fields marks a gap, across which no line is drawn.
 *
 * The arrays are twice as long as what is kept. New rows are written at the end; when it is reached, the newest half is
 * moved to the front. So a view is always a `subarray`, and a row costs the same on average however many there are.
 */

/** After a longer pause the old value held until now: a value that does not change is not sent again. */
const HOLD_AFTER_MS = 2_500;

export class Ring {
  #capacity;
  #times;
  /** @type {Float64Array[]} */
  #values;
  #start = 0;
  #end = 0;
  /** Rows closer than this replace each other; no screen shows more. In ms. */
  spacing;

  /**
   * @param {number} fields how many values a row has
   * @param {number} capacity rows kept
   * @param {number} spacing ms
   */
  constructor(fields, capacity, spacing) {
    this.#capacity = capacity;
    this.spacing = spacing;
    // One more than twice: the view's last row, `until`, is written behind the newest.
    this.#times = new Float64Array(2 * capacity + 1);
    this.#values = Array.from({ length: fields }, () => new Float64Array(2 * capacity + 1));
  }

  get length() {
    return this.#end - this.#start;
  }

  /** Time of the oldest row, NaN when there is none. */
  get oldest() {
    return this.length === 0 ? NaN : this.#times[this.#start];
  }

  /** Time of the newest row, NaN when there is none. */
  get newest() {
    return this.length === 0 ? NaN : this.#times[this.#end - 1];
  }

  /**
   * @param {number} time ms; not before the newest row's
   * @param {readonly number[]} row NaN where a field has no value
   */
  push(time, row) {
    if (this.length === 0) {
      if (row.some((value) => !Number.isNaN(value))) this.#append(time, row);
      return;
    }
    const last = this.#end - 1;
    time = Math.max(time, this.#times[last]);
    const pause = time - this.#times[last];
    if (this.#isGap(last)) {
      this.#append(time, row);
    } else if (pause < this.spacing && this.length > 1 && !this.#isGap(last - 1)) {
      // The place in time stays that of the first, or a fast channel would never get a second row.
      row.forEach((value, field) => (this.#values[field][last] = value));
    } else {
      if (pause > HOLD_AFTER_MS && !row.every((value, field) => Object.is(value, this.#values[field][last]))) {
        this.#append(time - 1, this.#values.map((values) => values[last]));
      }
      this.#append(time, row);
    }
  }

  /**
   * The newest values held until `time`; nothing is known after it.
   * @param {number} time ms
   */
  end(time) {
    if (this.length === 0 || this.#isGap(this.#end - 1)) return;
    const held = this.#values.map((values) => values[this.#end - 1]);
    const from = this.newest;
    if (time > from) this.#append(time, held);
    this.#append(Math.max(time, from), held.map(() => NaN));
  }

  /**
   * Puts what was known before the oldest row in front of it, or replaces all when nothing is there yet.
   * @param {readonly number[]} times ms, growing
   * @param {readonly (readonly number[])[]} values one list per field
   */
  precede(times, values) {
    const first = this.oldest;
    const kept = this.length;
    const own = [this.#times.slice(this.#start, this.#end), ...this.#values.map((list) => list.slice(this.#start, this.#end))];
    let use = times.length;
    while (use > 0 && times[use - 1] >= first) use -= 1;
    const skip = Math.max(0, use + kept - this.#capacity);
    this.#start = 0;
    this.#end = 0;
    for (let i = Math.min(skip, use); i < use; i += 1) {
      this.#append(times[i], values.map((list) => list[i]));
    }
    for (let i = 0; i < kept; i += 1) this.#append(own[0][i], own.slice(1).map((list) => list[i]));
  }

  /**
   * Forgets the rows before `time`.
   * @param {number} time ms
   */
  forgetBefore(time) {
    while (this.#start < this.#end && this.#times[this.#start] < time) this.#start += 1;
  }

  /** Forgets everything. */
  clear() {
    this.#start = 0;
    this.#end = 0;
  }

  /**
   * What there is, oldest first, without a copy: valid until the next change.
   * @param {number | null} until the newest values hold until then, in ms; null when nothing is known after them
   * @returns {{times: Float64Array, values: Float64Array[]}}
   */
  view(until) {
    let end = this.#end;
    if (until !== null && this.length > 0 && until > this.newest && !this.#isGap(end - 1)) {
      this.#times[end] = until;
      for (const values of this.#values) values[end] = values[end - 1];
      end += 1;
    }
    return { times: this.#times.subarray(this.#start, end), values: this.#values.map((values) => values.subarray(this.#start, end)) };
  }

  /** @param {number} index */
  #isGap(index) {
    return this.#values.every((values) => Number.isNaN(values[index]));
  }

  /**
   * @param {number} time
   * @param {readonly number[]} row
   */
  #append(time, row) {
    if (this.#end === 2 * this.#capacity) {
      const from = this.#end - this.#capacity + 1;
      for (const list of [this.#times, ...this.#values]) list.copyWithin(0, from, this.#end);
      this.#start = 0;
      this.#end = this.#capacity - 1;
    }
    this.#times[this.#end] = time;
    row.forEach((value, field) => (this.#values[field][this.#end] = value));
    this.#end += 1;
    if (this.length > this.#capacity) this.#start += 1;
  }
}
