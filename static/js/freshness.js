// @ts-check
/**
 * How old the values are: when each channel that others write was last written, and whether its source has stopped. A value
 * that is written again unchanged is no news, so channels that say nothing are asked about every few seconds
 * (`GET api/channels?channels=...`); those that do are not.
 */

import { about, durationSeconds } from './format.js';
import { now } from './time.js';

const ASK_MS = 5_000;
/** Tiles that appear together are asked about together. */
const SOON_MS = 300;
/** A channel is not asked about as long as it was heard within this time. */
const HEARD_MS = 4_000;
/** A source counts as stopped after so many times its usual pace, and not before this time. */
const PACES = 5;
const SHORTEST_MS = 15_000;
/** Times that are this close are one: ages are told in whole seconds. */
const WRITTEN_MS = 2_000;
/** Younger values need no word about their age. */
const YOUNG_MS = 60_000;

/** @typedef {import('./tiles/contract.js').Tile} Tile */
/**
 * `own`: the server itself keeps it true.
 * `restored`: the value is from before the server's last start.
 * @typedef {{writtenAt: number, askedAt: number, pace: number | null, restored: boolean} | 'own'} Known
 */
/** @typedef {{text: string, since: number | null}} Age `since`: when the source stopped; null while it has not */

const FRESH = /** @type {Age} */ ({ text: '', since: null });

export class Freshness {
  #rest;
  #tiles;
  #changed;
  /** @type {Map<string, Known>} */
  #known = new Map();
  #asking = false;
  /** Channels that were asked about. @type {Set<string>} */
  #seen = new Set();
  #soon = 0;

  /**
   * @param {import('./rest.js').Rest} rest
   * @param {() => Iterable<Tile>} tiles those that are shown
   * @param {() => void} changed called when something may have become old, or is new again
   */
  constructor(rest, tiles, changed) {
    this.#rest = rest;
    this.#tiles = tiles;
    this.#changed = changed;
    setInterval(() => this.ask(), ASK_MS);
  }

  /**
   * A channel's value came.
   * @param {string} channel
   * @param {string | null} timestamp when it changed, RFC 3339
   */
  hear(channel, timestamp) {
    const known = this.#known.get(channel);
    if (known === undefined || known === 'own') return;
    const at = Date.parse(timestamp ?? '') - this.#rest.skew;
    if (at > known.writtenAt + WRITTEN_MS) known.restored = false;
    known.writtenAt = Math.max(known.writtenAt, Math.min(at || now(), now()));
  }

  /** Asks about the channels that are shown and were not heard for a while. */
  async ask() {
    if (this.#asking || document.hidden) return;
    const silent = [...new Set([...this.#tiles()].flatMap(sources))].filter((channel) => {
      const known = this.#known.get(channel);
      return known !== 'own' && (known === undefined || now() - known.writtenAt > HEARD_MS);
    });
    if (silent.length === 0) return;
    this.#asking = true;
    const answer = await this.#rest.ask('api/channels', { query: { channels: silent.join() } }).catch(() => null);
    this.#asking = false;
    for (const { channel, kind, idle, pace, restored = false } of answer?.data?.channels ?? []) {
      const seconds = durationSeconds(idle);
      if (kind !== 'state' || Number.isNaN(seconds)) this.#known.set(channel, 'own');
      else this.#known.set(channel, { writtenAt: now() - seconds * 1000, askedAt: now(), pace: pace === null ? null : durationSeconds(pace) * 1000, restored });
    }
    this.#changed();
  }

  /** @param {string} channel one that is shown for the first time */
  #askSoon(channel) {
    if (this.#seen.has(channel)) return;
    this.#seen.add(channel);
    this.#soon ||= setTimeout(() => {
      this.#soon = 0;
      void this.ask();
    }, SOON_MS);
  }

  /** Forgets what it knows: the clock was set. */
  forget() {
    this.#known.clear();
    void this.ask();
  }

  /**
   * What is to be said about the age of what a tile shows.
   * @param {Tile} tile
   * @returns {Age}
   */
  of(tile) {
    for (const channel of sources(tile)) {
      const known = this.#known.get(channel);
      if (known === undefined) this.#askSoon(channel);
      if (known === undefined || known === 'own') continue;
      const idle = now() - known.writtenAt;
      const said = limitOf(tile);
      const usual = known.pace === null ? Infinity : Math.max(SHORTEST_MS, PACES * known.pace);
      if (known.restored) return { text: `${about(idle / 1000)} ago, before a restart`, since: known.writtenAt };
      // As of the last answer: what is written again unchanged is not heard in between.
      const stopped = known.askedAt - known.writtenAt > (Number.isNaN(said) ? usual : said);
      if (stopped) return { text: `No data for ${about(idle / 1000)}`, since: known.writtenAt };
      return idle > YOUNG_MS ? { text: `${about(idle / 1000)} ago`, since: null } : FRESH;
    }
    return FRESH;
  }
}

/**
 * The channels that may write what a tile shows. A field of the snapshot is that of the channel behind it.
 * @param {Tile} tile
 * @returns {string[]}
 */
function sources({ type, channel, field, fields }) {
  if (channel === undefined || !['number', 'chart', 'table'].includes(type)) return [];
  if (channel !== 'metrics') return [channel];
  const [custom, name] = (field ?? fields?.[0] ?? '').split('.');
  return custom === 'custom' && /^[\w:-]+$/.test(name ?? '') ? [`metrics.${name}`] : [];
}

/**
 * How long the tile's source may be silent, in ms; NaN where the tile does not say.
 * @param {Tile} tile
 */
function limitOf({ options }) {
  const match = /^(\d+)([smhd])$/.exec(options?.noDataAfter ?? '');
  return match === null ? NaN : Number(match[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[/** @type {'s'} */ (match[2])];
}
