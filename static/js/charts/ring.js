// @ts-check
/**
 * Ring buffer of the values of some fields over time: flat arrays, allocated once and read without copying. A row holds the
 * average, the lowest and the highest of the values in its short time, so that no peak is lost. NaN in all fields marks a
 * gap, across which no line is drawn.
 *
 * The arrays are twice as long as the capacity. New rows are written at the end; when it is reached, the newest half is
 * moved to the front. So a view is always a `subarray`, and the amortized cost of a row is constant.
 */

/** After a longer pause the old value held until now, because an unchanged value is not sent again. */
const HOLD_AFTER_MS = 2_500;

/**
 * Rows in the order of time; one list per field.
 * @typedef {object} Rows
 * @property {number[] | Float64Array} times ms
 * @property {(number[] | Float64Array)[]} values averages; NaN for none
 * @property {(number[] | Float64Array)[]} lows
 * @property {(number[] | Float64Array)[]} highs
 */

export class Ring {
  #fields;
  #capacity;
  #times;
  /** @type {Float64Array[]} */
  #values;
  /** @type {Float64Array[]} */
  #lows;
  /** @type {Float64Array[]} */
  #highs;
  #start = 0;
  #end = 0;
  /** Number of values in the newest row. */
  #count = 0;
  /** Time of the newest value, which may be later than its row. */
  #heardAt = NaN;
  /** The newest values themselves. @type {number[]} */
  #last = [];
  /** Rows closer than this are merged, because no screen shows more. In ms. */
  spacing;

  /**
   * @param {number} fields how many values a row has
   * @param {number} capacity rows kept
   * @param {number} spacing ms
   */
  constructor(fields, capacity, spacing) {
    this.#fields = fields;
    this.#capacity = capacity;
    this.spacing = spacing;
    // One more than twice the capacity, for the view's last row (`until`).
    const list = () => new Float64Array(2 * capacity + 1);
    this.#times = list();
    this.#values = Array.from({ length: fields }, list);
    this.#lows = Array.from({ length: fields }, list);
    this.#highs = Array.from({ length: fields }, list);
  }

  get length() {
    return this.#end - this.#start;
  }

  /** Time of the oldest row; NaN if there is none. */
  get oldest() {
    return this.length === 0 ? NaN : this.#times[this.#start];
  }

  /** Time of the newest row; NaN if there is none. */
  get newest() {
    return this.length === 0 ? NaN : this.#times[this.#end - 1];
  }

  /**
   * @param {number} time ms; not before the newest row's
   * @param {readonly number[]} row NaN where a field has no value
   */
  push(time, row) {
    if (this.length === 0) {
      if (row.some((value) => !Number.isNaN(value))) this.#begin(time, row);
      return;
    }
    const last = this.#end - 1;
    time = Math.max(time, this.#times[last], this.#heardAt || 0);
    if (this.#isGap(last)) {
      // A gap needs one row, however long it is.
      if (!row.every(Number.isNaN)) this.#begin(time, row);
    } else if (time - this.#times[last] < this.spacing && this.length > 1 && !this.#isGap(last - 1)) {
      // Keeps the time of the first value, or a fast channel would never get a second row.
      this.#merge(last, row);
      this.#heardAt = time;
      this.#last = [...row];
    } else {
      if (time - this.#heardAt > HOLD_AFTER_MS && !row.every((value, field) => Object.is(value, this.#values[field][last]))) {
        this.#append(time - 1, this.#last);
      }
      this.#begin(time, row);
    }
  }

  /**
   * Ends the line at `time`: the newest values held until then, and nothing is known after it.
   * @param {number} time ms
   */
  end(time) {
    if (this.length === 0 || this.#isGap(this.#end - 1)) return;
    const from = this.newest;
    if (time > from) this.#append(time, this.#last);
    this.#append(Math.max(time, from), this.#last.map(() => NaN));
  }

  /**
   * Ends the line of one field at `time`: its value held until then, and nothing is known of it after that.
   * @param {number} field
   * @param {number} time ms
   */
  endField(field, time) {
    if (this.length === 0) return;
    let at = this.#end;
    while (at > this.#start && this.#times[at - 1] > time) at -= 1;
    const held = at === this.#end ? this.#last[field] : at > this.#start ? this.#values[field][at - 1] : NaN;
    if (!Number.isNaN(held) && this.#times[at - 1] < time) at = this.#split(at, field, time);
    for (; at < this.#end; at += 1) {
      for (const lists of [this.#values, this.#lows, this.#highs]) lists[field][at] = NaN;
    }
    this.#last[field] = NaN;
    if (this.#last.every(Number.isNaN) && !this.#isGap(this.#end - 1)) this.#append(this.newest, this.#last);
  }

  /**
   * Inserts history before the oldest row. If it does not fit, rows that are closer than `spacing` are merged.
   * @param {Rows & {last?: number[]}} past `last`: the newest values, if the last row is an average
   */
  precede(past) {
    const first = this.oldest;
    const kept = this.length;
    const count = this.#count;
    const room = this.#capacity - kept;
    const own = this.#lists().map((list) => list.slice(this.#start, this.#end));
    let use = past.times.length;
    while (use > 0 && past.times[use - 1] >= first) use -= 1;
    this.#start = 0;
    this.#end = 0;
    const at = (/** @type {(number[] | Float64Array)[]} */ lists, /** @type {number} */ i) => lists.map((list) => list[i]);
    const merge = use > room;
    for (let i = 0; i < use; i += 1) {
      const last = this.#end - 1;
      const row = at(past.values, i);
      const gap = row.every(Number.isNaN);
      if (merge && last >= this.#start && !gap && !this.#isGap(last) && past.times[i] - this.#times[last] < this.spacing) {
        this.#merge(last, row, at(past.lows, i), at(past.highs, i));
      } else {
        this.#append(past.times[i], row, at(past.lows, i), at(past.highs, i));
      }
    }
    // History that overlaps is left out, and with it the row up to which the value before it held.
    if (use > 0 && use < past.times.length && first - past.times[use - 1] > HOLD_AFTER_MS) this.#append(first - 1, at(past.values, use - 1));
    const from = Math.max(this.#start, this.#end - room);
    for (const list of this.#lists()) list.copyWithin(0, from, this.#end);
    this.#end -= from;
    this.#start = 0;
    if (kept === 0) {
      this.#last = past.last ?? (use > 0 ? at(past.values, use - 1) : []);
      this.#heardAt = this.newest;
      return;
    }
    const lists = this.#lists();
    for (let i = 0; i < kept; i += 1) {
      lists.forEach((list, n) => (list[this.#end] = own[n][i]));
      this.#end += 1;
    }
    this.#count = count;
  }

  /**
   * Removes the rows before `time`.
   * @param {number} time ms
   */
  forgetBefore(time) {
    while (this.#start < this.#end && this.#times[this.#start] < time) this.#start += 1;
  }

  /**
   * Removes the time before `time`; the value that held then holds from `time` on.
   * @param {number} time ms
   */
  beginAt(time) {
    while (this.length > 1 && this.#times[this.#start + 1] <= time) this.#start += 1;
    if (this.length > 0 && this.#times[this.#start] < time) this.#times[this.#start] = time;
  }

  /** Removes all rows. */
  clear() {
    this.#start = 0;
    this.#end = 0;
    this.#last = [];
    this.#heardAt = NaN;
  }

  /**
   * Returns the rows, oldest first, without copying: valid until the next change.
   * @param {number | null} until time until which the newest values hold, ms; null if nothing is known after them
   * @returns {{times: Float64Array, values: Float64Array[], lows: Float64Array[], highs: Float64Array[]}}
   */
  view(until) {
    let end = this.#end;
    if (until !== null && this.length > 0 && until > this.newest && !this.#isGap(end - 1)) {
      this.#times[end] = until;
      for (const lists of [this.#values, this.#lows, this.#highs]) lists.forEach((list, field) => (list[end] = this.#last[field]));
      end += 1;
    }
    const cut = (/** @type {Float64Array} */ list) => list.subarray(this.#start, end);
    return { times: cut(this.#times), values: this.#values.map(cut), lows: this.#lows.map(cut), highs: this.#highs.map(cut) };
  }

  #lists() {
    return [this.#times, ...this.#values, ...this.#lows, ...this.#highs];
  }

  /** @param {number} index */
  #isGap(index) {
    return this.#values.every((values) => Number.isNaN(values[index]));
  }

  /**
   * Inserts a row at `time`, between the rows before and from `at`, in which `field` still has its earlier value. The lines of
   * the other fields do not change.
   * @param {number} at index of a row, or the end
   * @param {number} field
   * @param {number} time ms
   * @returns {number} index of the row after the new one
   */
  #split(at, field, time) {
    const after = this.#end - at;
    this.#append(time, this.#last);
    if (after === 0) return this.#end;
    const place = this.#end - 1 - after;
    const [before, next] = [place - 1, place + 1];
    for (const list of this.#lists()) list.copyWithin(next, place, this.#end - 1);
    const part = (time - this.#times[before]) / (this.#times[next] - this.#times[before]);
    this.#times[place] = time;
    for (const lists of [this.#values, this.#lows, this.#highs]) {
      lists.forEach((list) => (list[place] = list[before] + part * (list[next] - list[before])));
      lists[field][place] = lists[field][before];
    }
    return next;
  }

  /**
   * Appends a row of new values.
   * @param {number} time
   * @param {readonly number[]} row
   */
  #begin(time, row) {
    this.#append(time, row);
    this.#heardAt = time;
    this.#last = [...row];
  }

  /**
   * @param {number} index
   * @param {readonly number[]} row
   * @param {readonly number[]} [lows]
   * @param {readonly number[]} [highs]
   */
  #merge(index, row, lows = row, highs = row) {
    this.#count += 1;
    for (let field = 0; field < this.#fields; field += 1) {
      if (Number.isNaN(row[field])) continue;
      const [values, low, high] = [this.#values[field], this.#lows[field], this.#highs[field]];
      if (Number.isNaN(values[index])) {
        [values[index], low[index], high[index]] = [row[field], lows[field], highs[field]];
        continue;
      }
      values[index] += (row[field] - values[index]) / this.#count;
      low[index] = Math.min(low[index], lows[field]);
      high[index] = Math.max(high[index], highs[field]);
    }
  }

  /**
   * @param {number} time
   * @param {readonly number[]} row
   * @param {readonly number[]} [lows]
   * @param {readonly number[]} [highs]
   */
  #append(time, row, lows = row, highs = row) {
    if (this.#end === 2 * this.#capacity) {
      const from = this.#end - this.#capacity + 1;
      for (const list of this.#lists()) list.copyWithin(0, from, this.#end);
      this.#start = 0;
      this.#end = this.#capacity - 1;
    }
    this.#times[this.#end] = time;
    for (let field = 0; field < this.#fields; field += 1) {
      this.#values[field][this.#end] = row[field];
      this.#lows[field][this.#end] = lows[field];
      this.#highs[field][this.#end] = highs[field];
    }
    this.#count = 1;
    this.#end += 1;
    if (this.length > this.#capacity) this.#start += 1;
  }
}
