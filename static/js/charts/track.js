// @ts-check
/**
 * The fields of one channel over the range of time: history first, then what comes. Made for one tile, which draws `view`.
 */

import { kindOf, valueAt } from '../fields.js';
import { now } from '../time.js';
import { FIRST_VALUE_MS, loadHistory } from './history.js';
import { Ring } from './ring.js';

/** A value that did not come by then after a reconnect has not changed. */
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
  /** When the value last changed, on the server's clock. */
  #changedAt = NaN;
  /** When the source was last heard, while it counts as stopped. @type {number | null} */
  #silentSince = null;
  /** The channel's newest value, null before the first. @type {any} */
  data = null;
  /** Something other than time asks for a new drawing; whoever draws sets it back. */
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
    this.#end = context.live.subscribe(channel, { take: (news) => this.#take(news) });
    this.#beginning = setTimeout(() => this.#load(), FIRST_VALUE_MS);
  }

  /** The newest values, NaN for none. */
  row() {
    return this.#fields.map((field, index) => this.#kinds[index].number(valueAt(this.data, field)));
  }

  /**
   * @param {number} to the end of what is drawn, ms
   * @param {boolean} live whether the newest values hold until then
   */
  view(to, live) {
    return this.#ring.view(live && this.#silentSince === null ? to : null);
  }

  /** @param {number} time the connection was lost then */
  lose(time) {
    this.#ring.end(time);
    this.changed = true;
  }

  /** @param {number} time the connection is back since then: what changed meanwhile comes now; what doesn't come holds */
  regain(time) {
    clearTimeout(this.#holding);
    this.#holding = setTimeout(() => this.data !== null && this.#remember(time), HOLDS_AFTER_MS);
    void this.#load(time);
  }

  /** @param {number | null} since when the source of the channel stopped; null while it has not */
  silence(since) {
    if ((since === null) === (this.#silentSince === null)) return;
    const stopped = since !== null;
    this.#silentSince = since;
    if (stopped) this.#ring.end(since);
    else if (this.data !== null) this.#remember(now());
    this.changed = true;
  }

  /** The range of time or the clock is another one: everything is asked for again. */
  restart() {
    const { range } = this.#context;
    this.#ring.spacing = range.length / this.#capacity;
    this.#ring.clear();
    if (this.data !== null) this.#begin();
    void this.#load();
  }

  close() {
    this.#loads += 1;
    clearTimeout(this.#beginning);
    clearTimeout(this.#holding);
    this.#end();
  }

  /** @param {import('../live.js').News} news */
  #take({ event, data, timestamp }) {
    if (event !== null) return;
    const first = this.data === null;
    this.data = data;
    this.#changedAt = Date.parse(timestamp ?? '');
    clearTimeout(this.#holding);
    if (first) {
      this.#begin();
      void this.#load(this.#ring.newest);
    } else this.#remember(now());
    this.#context.redraw();
  }

  /** @param {number} time */
  #remember(time) {
    this.#ring.push(time, this.row());
  }

  /** The first value of a line has held since it last changed. */
  #begin() {
    const { range, rest } = this.#context;
    const time = now();
    const changed = this.#changedAt - rest.skew;
    this.#remember(Number.isNaN(changed) ? time : Math.min(time, Math.max(changed, time - range.length)));
  }

  /** @param {number} [since] what is known from before then is replaced, if the server knows it better */
  async #load(since = 0) {
    clearTimeout(this.#beginning);
    const mine = ++this.#loads;
    const past = await loadHistory(this.#context.rest, this.#channel, this.#fields, this.#context.range.length, since || this.#ring.oldest);
    if (mine !== this.#loads) return;
    if (past.times.length > 0) this.#ring.forgetBefore(since);
    // A value from before the server went away was not there while it was.
    if (!Number.isNaN(past.away)) this.#ring.beginAt(past.away);
    this.#ring.precede(past);
    if (this.#silentSince !== null) this.#ring.end(this.#silentSince);
    this.changed = true;
    this.#context.redraw();
  }
}
