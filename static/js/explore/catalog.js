// @ts-check
/**
 * The channels of the server with their newest values, for lists of all of them. Bounded: each channel has at most
 * {@link MOST_FIELDS} fields, and only the first {@link MOST_LINES} numbers keep a line. No DOM, no requests.
 */

import { fieldsOf, kindOf, valueAt } from '../fields.js';
import { durationSeconds } from '../format.js';
import { BIN_MS, Bins, SPAN_MS } from './bins.js';

const MOST_FIELDS = 40;
const MOST_LINES = 20_000;
const MOST_CHANNELS = 12_000;
/** Longest text of a value that is kept. */
const LONGEST_TEXT = 200;
/** A source counts as stopped after this many times its usual pace, and not before `SHORTEST_MS`. As in freshness.js. */
const PACES = 5;
const SHORTEST_MS = 15_000;

/** @typedef {'pushed' | 'server'} Source */
/** @typedef {{name: string, value: string | number | boolean | null, bins: Bins | null}} Field */

/**
 * @typedef {object} Channel
 * @property {string} name
 * @property {'state' | 'event'} kind
 * @property {Source} source
 * @property {Field[]} fields of the newest value
 * @property {number} left out fields beyond the bound
 * @property {{event: string, data: any} | null} event the newest event
 * @property {number} writtenAt when it was last written, page's clock; NaN while unknown
 * @property {number | null} paceMs usual time between two writes
 * @property {boolean} restored whether the value is from before a restart
 * @property {number} seenAt when the page first saw it; 0 for those of the first list
 * @property {string} text for the search, in lower case
 */

/** A row of a list: a field of a channel, or the channel itself if it has no fields. @typedef {{key: string, channel: Channel, field: Field | null, first: boolean}} Row */

export class Catalog {
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  #lines = 0;
  /** Grows when channels or fields appear or disappear, so that rows have to be made again. */
  structure = 0;

  /** @param {string} name */
  get(name) {
    return this.#channels.get(name);
  }

  get size() {
    return this.#channels.size;
  }

  /** Number of pushed channels. */
  get pushed() {
    let count = 0;
    for (const { source } of this.#channels.values()) if (source === 'pushed') count += 1;
    return count;
  }

  /**
   * Takes over a list of channels (`GET api/channels`): those that are not in it are gone.
   * @param {{channel: string, kind: 'state' | 'event', source: Source, age: string | null, idle: string | null, pace: string | null, restored?: boolean}[]} list
   * @param {number} now page's clock, ms
   * @param {boolean} [initial] whether it is the first list, whose channels are not new
   */
  setList(list, now, initial = false) {
    const names = new Set(list.map(({ channel }) => channel));
    // One that was pushed after the response was made is not in it.
    for (const [name, { seenAt }] of this.#channels) if (!names.has(name) && now - seenAt > SHORTEST_MS) this.remove(name);
    for (const line of list) {
      const channel = this.#add(line.channel, line.kind, initial ? 0 : now);
      if (channel === null) continue;
      if (initial) channel.seenAt = 0; // its value may have come before the list
      if (channel.source !== line.source) {
        channel.source = line.source;
        this.structure += 1;
      }
      const idle = durationSeconds(line.idle ?? line.age);
      // Times of the list have whole seconds, that of a received value is exact.
      const at = now - idle * 1_000;
      if (!(Math.abs(at - channel.writtenAt) < 1_500)) channel.writtenAt = Number.isNaN(idle) ? channel.writtenAt : at;
      channel.paceMs = line.pace === null ? null : durationSeconds(line.pace) * 1_000;
      channel.restored = line.restored === true;
    }
  }

  /**
   * @param {string} name
   * @param {any} data new value of a state channel
   * @param {number} now page's clock, ms
   * @param {number} [changedAt] when the value changed; NaN if unknown
   */
  setValue(name, data, now, changedAt = NaN) {
    const channel = this.#add(name, 'state', now);
    if (channel === null) return;
    const names = fieldsOf(data);
    channel.left = Math.max(0, names.length - MOST_FIELDS);
    const kept = names.slice(0, MOST_FIELDS);
    if (kept.length !== channel.fields.length || kept.some((field, index) => field !== channel.fields[index].name)) this.#setFields(channel, kept);
    for (const field of channel.fields) {
      const value = valueAt(data, field.name);
      field.value = typeof value === 'string' ? value.slice(0, LONGEST_TEXT) : value;
      const number = kindOf(field.name).number(value);
      if (Number.isNaN(number)) continue;
      if (field.bins === null && this.#lines < MOST_LINES) {
        field.bins = new Bins();
        this.#lines += 1;
        // The first value has been this one since its change.
        if (changedAt < now) field.bins.add(Math.max(changedAt, now - SPAN_MS + BIN_MS), number);
      }
      field.bins?.add(now, number);
    }
    channel.writtenAt = Math.max(channel.writtenAt || 0, Math.min(changedAt || now, now));
  }

  /**
   * @param {string} name
   * @param {string} event
   * @param {any} data
   * @param {number} time ms
   */
  setEvent(name, event, data, time) {
    const channel = this.#add(name, 'event', time);
    if (channel === null) return;
    channel.event = { event, data };
    channel.writtenAt = Math.max(channel.writtenAt || 0, time);
  }

  /** @param {string} name of a channel that has ended */
  remove(name) {
    const channel = this.#channels.get(name);
    if (channel === undefined) return;
    this.#setFields(channel, []);
    this.#channels.delete(name);
    this.structure += 1;
  }

  /**
   * Returns the rows of all channels that match, pushed ones first, sorted by name.
   * @param {object} filter
   * @param {string} filter.search words that all have to occur in the names of channel or field
   * @param {'all' | 'pushed' | 'server' | 'events'} filter.show
   * @returns {Row[]}
   */
  rows({ search, show }) {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [...this.#channels.values()].filter((channel) => {
      if (show === 'events' ? channel.kind !== 'event' : show !== 'all' && channel.source !== show) return false;
      return words.every((word) => channel.text.includes(word));
    });
    const rank = (/** @type {Channel} */ { source, kind, name }) => (source === 'pushed' ? 0 : 2) + (kind === 'event' ? 1 : 0) + (name === 'metrics' ? 4 : 0) + (name.startsWith('metrics.') ? 0 : 0.5);
    chosen.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
    return chosen.flatMap((channel) => rowsOf(channel, words));
  }

  /**
   * @param {string} name
   * @param {'state' | 'event'} kind
   * @param {number} seenAt
   */
  #add(name, kind, seenAt) {
    const known = this.#channels.get(name);
    if (known !== undefined) return known;
    if (this.#channels.size >= MOST_CHANNELS) return null;
    // Only pushes create channels; the list tells which ones the server has of its own.
    /** @type {Channel} */
    const channel = {
      name, kind, source: 'pushed', fields: [], left: 0, event: null, writtenAt: NaN, paceMs: null, restored: false, seenAt, text: name.toLowerCase(),
    };
    this.#channels.set(name, channel);
    this.structure += 1;
    return channel;
  }

  /**
   * @param {Channel} channel
   * @param {readonly string[]} names
   */
  #setFields(channel, names) {
    const before = new Map(channel.fields.map((field) => [field.name, field]));
    channel.fields = names.map((name) => before.get(name) ?? { name, value: null, bins: null });
    for (const { name, bins } of before.values()) if (bins !== null && !names.includes(name)) this.#lines -= 1;
    channel.text = [channel.name, ...names].join('\n').toLowerCase();
    this.structure += 1;
  }
}

/**
 * @param {Channel} channel
 * @param {readonly string[]} words
 * @returns {Row[]}
 */
function rowsOf(channel, words) {
  const { name, fields } = channel;
  if (fields.length === 0) return [{ key: name, channel, field: null, first: true }];
  // A search for a field shows that field alone, unless the name of the channel matches.
  const matches = (/** @type {string} */ text) => words.every((word) => text.toLowerCase().includes(word));
  const own = matches(name) ? fields : fields.filter((field) => matches(`${name}\n${field.name}`));
  return own.map((field, index) => ({ key: `${name}\n${field.name}`, channel, field, first: index === 0 }));
}

/**
 * Returns whether the source of a channel has stopped.
 * @param {Channel} channel
 * @param {number} now
 */
export function isSilent({ paceMs, writtenAt, kind, restored }, now) {
  if (kind !== 'state') return false;
  return restored || (paceMs !== null && now - writtenAt > Math.max(SHORTEST_MS, PACES * paceMs));
}
