// @ts-check
/**
 * Fields of one channel over the time range. A live range has history first, then live values. A range with a fixed end first
 * shows the part of the live values that is in it, and then the history of that time. One tile draws its `view`.
 */

import { kindOf, valueAt } from '../fields.js';
import { now } from '../time.js';
import { FIRST_VALUE_MS, loadHistory } from './history.js';
import { Ring } from './ring.js';
import { copyOf } from './rows.js';

/** A range that ends this shortly before now was paused: the live values are those of the range. */
const PAUSED_MS = 1_000;
/** After a reconnect, a value that has not arrived within this time has not changed. */
const HOLDS_AFTER_MS = 1_500;

export class Track {
  #context;
  #channel;
  #fields;
  #kinds;
  #capacity;
  #ring;
  #end;
  #loads = 0;
  #fixes = 0;
  #beginning = 0;
  #holding = 0;
  /** Time of the last change of the value, by the server's clock. */
  #changedAt = NaN;
  /** Time at which the source of each field stopped; null if it has not. @type {(number | null)[]} */
  #silent;
  /** Length of the live range whose values the ring has, ms. */
  #length;
  /** Rows of a range with a fixed end; null while the range is live. @type {import('./rows.js').Rows | null} */
  #fixed = null;
  /** The range of these rows. */
  #window = '';
  /** Whether history was loaded, as far as there is any. */
  #loaded = false;
  /** Newest value of the channel; null before the first. @type {any} */
  data = null;
  /** Whether something other than time requires a redraw; the drawing code resets it. */
  changed = true;

  /**
   * @param {import('../tiles/contract.js').Context} context
   * @param {string} channel
   * @param {readonly string[]} fields
   * @param {unknown} unit of the tile, if it has one
   * @param {number} capacity rows kept
   */
  constructor(context, channel, fields, unit, capacity) {
    this.#context = context;
    this.#channel = channel;
    this.#fields = fields;
    this.#kinds = fields.map((field) => kindOf(field, unit));
    this.#capacity = capacity;
    const { range } = context;
    this.#length = range.length;
    this.#ring = new Ring(fields.length, capacity, range.length / capacity);
    this.#silent = fields.map(() => null);
    this.#end = context.subscriptions.subscribe(channel, { onUpdate: (update) => this.#receive(update) });
    this.#beginning = setTimeout(() => this.#load(), FIRST_VALUE_MS);
    if (range.paused) this.#fix();
  }

  /** Whether it is not known yet whether there are values. */
  get isLoading() {
    return !this.#loaded && this.data === null;
  }

  /** Whether the sources of all fields have stopped. */
  get isSilent() {
    return this.#silent.every((since) => since !== null);
  }

  /** Returns the newest values; NaN for none. */
  row() {
    return this.#fields.map((field, index) => this.#kinds[index].number(valueAt(this.data, field)));
  }

  /**
   * @param {number} to end of the drawn range, ms
   * @param {boolean} live whether the newest values hold until then
   */
  view(to, live) {
    return this.#fixed ?? this.#ring.view(live && !this.isSilent ? to : null);
  }

  /** @param {number} time at which the connection was lost */
  disconnected(time) {
    this.#ring.end(time);
    this.changed = true;
  }

  /** @param {number} time at which the connection was restored: changes since the loss arrive now, other values hold */
  reconnected(time) {
    clearTimeout(this.#holding);
    this.#holding = setTimeout(() => this.data !== null && this.#remember(time), HOLDS_AFTER_MS);
    void this.#load(time);
  }

  /** @param {Map<string, number>} silent when the sources of fields stopped; the others have not */
  sourceStopped(silent) {
    const before = this.#silent;
    // Ages have whole seconds, so the time of a stop is kept.
    this.#silent = this.#fields.map((field, index) => (silent.has(field) ? (before[index] ?? silent.get(field) ?? null) : null));
    const changed = (/** @type {number} */ index) => (before[index] === null) !== (this.#silent[index] === null);
    if (!this.#fields.some((_, index) => changed(index))) return;
    this.#endSilent();
    // The line of a field that is written again continues.
    if (this.data !== null && !this.isSilent) this.#remember(now());
    this.changed = true;
  }

  #endSilent() {
    this.#silent.forEach((since, index) => since !== null && this.#ring.endField(index, since));
  }

  /** @param {boolean} clock whether the times of before are those of another clock */
  rangeChanged(clock) {
    const { range } = this.#context;
    this.changed = true;
    if (clock) {
      this.#window = '';
      this.restart();
    }
    if (range.paused) return this.#fix();
    this.#fixed = null;
    if (range.length !== this.#length && !clock) this.restart();
  }

  /** Shows a range with a fixed end: at once what is known of it, and then its history. */
  #fix() {
    const { range } = this.#context;
    const time = now();
    const to = range.end(time);
    const window = `${range.length} ${to}`;
    if (this.#fixed !== null && window === this.#window) return;
    this.#window = window;
    this.#fixed = copyOf(this.view(time, true));
    const isPause = range.length === this.#length && time - to < PAUSED_MS;
    if (!isPause || !this.#loaded) void this.#loadFixed({ from: to - range.length, to });
  }

  /** @param {import('./history.js').Span} span */
  async #loadFixed(span) {
    const mine = ++this.#fixes;
    const past = await loadHistory(this.#context.rest, this.#channel, this.#fields, span);
    if (mine !== this.#fixes || this.#fixed === null) return;
    this.#loaded = true;
    this.changed = true;
    const ring = new Ring(this.#fields.length, this.#capacity, (span.to - span.from) / this.#capacity);
    const changed = this.#changedAt - this.#context.rest.skew;
    // A value that has not changed since has no points in this time.
    if (past.times.length === 0 && changed < span.to && this.data !== null) ring.push(Math.max(changed, span.from), this.row());
    ring.precede(past);
    this.#silent.forEach((since, index) => since !== null && since < span.to && ring.endField(index, since));
    if (ring.length > 0) this.#fixed = copyOf(ring.view(Math.min(span.to, now())));
    else if (this.#fixed.times.every((time) => time < span.from || time > span.to)) this.#fixed = copyOf(ring.view(null));
    this.#context.redraw();
  }

  /** Handlers of the tile's view that only concern the track. */
  get handlers() {
    return {
      disconnected: (/** @type {number} */ time) => this.disconnected(time),
      reconnected: (/** @type {number} */ time) => this.reconnected(time),
      sourceStopped: (/** @type {Map<string, number>} */ silent) => this.sourceStopped(silent),
      rangeChanged: (/** @type {boolean} */ clock) => this.rangeChanged(clock),
    };
  }

  /** Loads everything again, because the time range or the clock has changed. */
  restart() {
    const { range } = this.#context;
    // While the range is fixed, the ring keeps the length to which it returns.
    if (!range.paused) this.#length = range.length;
    this.#ring.spacing = this.#length / this.#capacity;
    this.#ring.clear();
    // The times may be those of another clock. Each drawing sets them first.
    this.#silent = this.#fields.map(() => null);
    if (this.data !== null) this.#begin();
    void this.#load();
  }

  close() {
    this.#loads += 1;
    this.#fixes += 1;
    clearTimeout(this.#beginning);
    clearTimeout(this.#holding);
    this.#end();
  }

  /** @param {import('../subscriptions.js').Update} update */
  #receive({ event, data, timestamp }) {
    if (event !== null) return;
    const first = this.data === null;
    this.data = data;
    this.#changedAt = Date.parse(timestamp ?? '');
    clearTimeout(this.#holding);
    if (first) void this.#load(this.#begin());
    else this.#remember(now());
    this.#context.redraw();
  }

  /** @param {number} time */
  #remember(time) {
    // A value of the channel does not tell which of its fields were written.
    this.#ring.push(time, this.row().map((value, index) => (this.#silent[index] === null ? value : NaN)));
  }

  /** Starts the line at the last change of the first value. Returns that time. */
  #begin() {
    const time = now();
    const changed = this.#changedAt - this.#context.rest.skew;
    const start = Number.isNaN(changed) ? time : Math.min(time, Math.max(changed, time - this.#length));
    this.#ring.push(start, this.row());
    this.#endSilent();
    return start;
  }

  /** @param {number} [since] rows before this are replaced by history, if there is any */
  async #load(since = 0) {
    clearTimeout(this.#beginning);
    const mine = ++this.#loads;
    const to = now();
    const past = await loadHistory(this.#context.rest, this.#channel, this.#fields, { from: to - this.#length, to }, since || this.#ring.oldest);
    if (mine !== this.#loads) return;
    this.#loaded = true;
    if (past.times.length > 0) this.#ring.forgetBefore(since);
    // A value did not hold while the server was unavailable.
    if (!Number.isNaN(past.outageEnd)) this.#ring.beginAt(past.outageEnd);
    this.#ring.precede(past);
    this.#endSilent();
    this.changed = true;
    this.#context.redraw();
  }
}
