// @ts-check
/** Fields of one channel over the time range: history first, then live values. One tile draws its `view`. */

import { kindOf, valueAt } from '../fields.js';
import { now } from '../time.js';
import { FIRST_VALUE_MS, loadHistory } from './history.js';
import { Ring } from './ring.js';

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
  #beginning = 0;
  #holding = 0;
  /** Time of the last change of the value, by the server's clock. */
  #changedAt = NaN;
  /** Time at which the source of each field stopped; null if it has not. @type {(number | null)[]} */
  #silent;
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
    this.#ring = new Ring(fields.length, capacity, range.length / capacity);
    this.#silent = fields.map(() => null);
    this.#end = context.subscriptions.subscribe(channel, { onUpdate: (update) => this.#receive(update) });
    this.#beginning = setTimeout(() => this.#load(), FIRST_VALUE_MS);
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
    return this.#ring.view(live && !this.isSilent ? to : null);
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

  /** @param {boolean} length whether the length of the time range has changed, too */
  rangeChanged(length) {
    this.changed = true;
    if (length) this.restart();
  }

  /** Handlers of the tile's view that only concern the track. */
  get handlers() {
    return {
      disconnected: (/** @type {number} */ time) => this.disconnected(time),
      reconnected: (/** @type {number} */ time) => this.reconnected(time),
      sourceStopped: (/** @type {Map<string, number>} */ silent) => this.sourceStopped(silent),
      rangeChanged: (/** @type {boolean} */ length) => this.rangeChanged(length),
    };
  }

  /** Loads everything again, because the time range or the clock has changed. */
  restart() {
    const { range } = this.#context;
    this.#ring.spacing = range.length / this.#capacity;
    this.#ring.clear();
    // The times may be those of another clock. Each drawing sets them first.
    this.#silent = this.#fields.map(() => null);
    if (this.data !== null) this.#begin();
    void this.#load();
  }

  close() {
    this.#loads += 1;
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
    const { range, rest } = this.#context;
    const time = now();
    const changed = this.#changedAt - rest.skew;
    const start = Number.isNaN(changed) ? time : Math.min(time, Math.max(changed, time - range.length));
    this.#ring.push(start, this.row());
    this.#endSilent();
    return start;
  }

  /** @param {number} [since] rows before this are replaced by history, if there is any */
  async #load(since = 0) {
    clearTimeout(this.#beginning);
    const mine = ++this.#loads;
    const past = await loadHistory(this.#context.rest, this.#channel, this.#fields, this.#context.range.length, since || this.#ring.oldest);
    if (mine !== this.#loads) return;
    if (past.times.length > 0) this.#ring.forgetBefore(since);
    // A value did not hold while the server was unavailable.
    if (!Number.isNaN(past.outageEnd)) this.#ring.beginAt(past.outageEnd);
    this.#ring.precede(past);
    this.#endSilent();
    this.changed = true;
    this.#context.redraw();
  }
}
