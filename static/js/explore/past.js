// @ts-check
/**
 * Fills the lines of visible channels with history, and those of events with their newest one, two requests at a time. Channels
 * that have left the screen are skipped.
 */

import { SPAN_MS } from './bins.js';

const AT_ONCE = 2;
/** Most fields of one request. */
const MOST_FIELDS = 12;
/** A channel is requested once it has been visible for this long, so that a fast scroll requests nothing. */
const SETTLED_MS = 250;

export class Past {
  #rest;
  #catalog;
  #changed;
  /** Channels that were requested. @type {Set<string>} */
  #done = new Set();
  /** @type {ReadonlySet<string>} */
  #visible = new Set();
  #running = 0;
  #timer = 0;

  /**
   * @param {import('../rest.js').Rest} rest
   * @param {import('./catalog.js').Catalog} catalog
   * @param {() => void} changed
   */
  constructor(rest, catalog, changed) {
    this.#rest = rest;
    this.#catalog = catalog;
    this.#changed = changed;
  }

  /** @param {ReadonlySet<string>} channels that are on the screen */
  show(channels) {
    this.#visible = channels;
    if (this.#timer === 0) {
      this.#timer = setTimeout(() => {
        this.#timer = 0;
        this.#next();
      }, SETTLED_MS);
    }
  }

  close() {
    clearTimeout(this.#timer);
    this.#visible = new Set();
  }

  #next() {
    for (const name of this.#visible) {
      if (this.#running >= AT_ONCE) return;
      const channel = this.#catalog.get(name);
      if (channel?.kind === 'event' && channel.event === null && !this.#done.has(name)) {
        this.#done.add(name);
        void this.#loadEvent(name);
        continue;
      }
      const numbers = channel?.fields.filter(({ name, bins }) => name !== '' && bins !== null) ?? [];
      if (this.#done.has(name) || numbers.length === 0) continue;
      this.#done.add(name);
      void this.#load(name, numbers.slice(0, MOST_FIELDS));
    }
  }

  /** @param {string} channel */
  async #loadEvent(channel) {
    this.#running += 1;
    const answer = await this.#rest.request(`api/metrics/${encodeURIComponent(channel)}`).catch(() => null);
    this.#running -= 1;
    const newest = answer?.data?.events?.at(-1);
    // One that arrived in the meantime is newer.
    if (newest !== undefined && this.#catalog.get(channel)?.event === null) this.#catalog.setEvent(channel, newest.event, newest.data, Date.parse(newest.timestamp) - this.#rest.skew);
    this.#changed();
    this.#next();
  }

  /**
   * @param {string} channel
   * @param {import('./catalog.js').Field[]} fields
   */
  async #load(channel, fields) {
    this.#running += 1;
    const query = { channel, from: `-${SPAN_MS / 1_000}s`, interval: 'raw', field: fields.map(({ name }) => name) };
    const answer = await this.#rest.request('api/history', { query }).catch(() => null); // no history, or no permission
    this.#running -= 1;
    for (const { name, bins } of fields) {
      const buckets = answer?.data?.fields?.[name] ?? (fields.length === 1 ? answer?.data?.buckets : []) ?? [];
      // Newest first, because the first value of a bin counts as its last one.
      for (const { period, last } of [...buckets].reverse()) bins?.add(Date.parse(period) - this.#rest.skew, last);
    }
    this.#changed();
    this.#next();
  }
}
