// @ts-check
/**
 * Age of values: when each pushed channel was last written, and whether its source has stopped. Writing the same value again
 * sends nothing to clients, so the page queries silent channels every few seconds (`GET api/channels?channels=...`).
 */

import { about, durationSeconds } from './format.js';
import { now } from './time.js';

const ASK_MS = 5_000;
/** Delay that combines the queries of tiles that appear together. */
const SOON_MS = 300;
/** A channel is not queried if it was received within this time. */
const HEARD_MS = 4_000;
/** A source counts as stopped after this many times its usual pace, and not before `SHORTEST_MS`. */
const PACES = 5;
const SHORTEST_MS = 15_000;
/** Times that are this close count as equal, because ages have whole seconds. */
const WRITTEN_MS = 2_000;
/** The age of younger values is not shown. */
const YOUNG_MS = 60_000;

/** @typedef {import('./tiles/contract.js').Tile} Tile */
/**
 * `own`: the server itself writes the channel.
 * `restored`: the value is from before the server's last start.
 * @typedef {{writtenAt: number, askedAt: number, pace: number | null, restored: boolean} | 'own'} Known
 */
/** @typedef {{text: string, since: number | null}} Age `since`: when the source stopped; null if it has not */

const FRESH = /** @type {Age} */ ({ text: '', since: null });

export class Freshness {
  #rest;
  #tiles;
  #changed;
  /** @type {Map<string, Known>} */
  #known = new Map();
  #refreshing = false;
  /** Channels that were queried. @type {Set<string>} */
  #seen = new Set();
  #soon = 0;

  /**
   * @param {import('./rest.js').Rest} rest
   * @param {() => Iterable<Tile>} tiles visible tiles
   * @param {() => void} changed called after each query
   */
  constructor(rest, tiles, changed) {
    this.#rest = rest;
    this.#tiles = tiles;
    this.#changed = changed;
    setInterval(() => this.refresh(), ASK_MS);
  }

  /**
   * Records that a value was received.
   * @param {string} channel
   * @param {string | null} timestamp when it changed, RFC 3339
   */
  record(channel, timestamp) {
    const known = this.#known.get(channel);
    if (known === undefined || known === 'own') return;
    const at = Date.parse(timestamp ?? '') - this.#rest.skew;
    if (at > known.writtenAt + WRITTEN_MS) known.restored = false;
    known.writtenAt = Math.max(known.writtenAt, Math.min(at || now(), now()));
  }

  /** Queries the visible channels that were not received for a while. */
  async refresh() {
    if (this.#refreshing || document.hidden) return;
    const silent = [...new Set([...this.#tiles()].flatMap(sources))].filter((channel) => {
      const known = this.#known.get(channel);
      return known !== 'own' && (known === undefined || now() - known.writtenAt > HEARD_MS);
    });
    if (silent.length === 0) return;
    this.#refreshing = true;
    const answer = await this.#rest.request('api/channels', { query: { channels: silent.join() } }).catch(() => null);
    this.#refreshing = false;
    for (const { channel, kind, idle, pace, restored = false } of answer?.data?.channels ?? []) {
      const seconds = durationSeconds(idle);
      if (kind !== 'state' || Number.isNaN(seconds)) this.#known.set(channel, 'own');
      else this.#known.set(channel, { writtenAt: now() - seconds * 1000, askedAt: now(), pace: pace === null ? null : durationSeconds(pace) * 1000, restored });
    }
    this.#changed();
  }

  /** @param {string} channel shown for the first time */
  #refreshSoon(channel) {
    if (this.#seen.has(channel)) return;
    this.#seen.add(channel);
    this.#soon ||= setTimeout(() => {
      this.#soon = 0;
      void this.refresh();
    }, SOON_MS);
  }

  /** Discards all times, because the clock was set. */
  reset() {
    this.#known.clear();
    void this.refresh();
  }

  /**
   * Returns the age to show for a tile.
   * @param {Tile} tile
   * @returns {Age}
   */
  ageOf(tile) {
    for (const channel of sources(tile)) {
      const known = this.#known.get(channel);
      if (known === undefined) this.#refreshSoon(channel);
      if (known === undefined || known === 'own') continue;
      const idle = now() - known.writtenAt;
      const limit = limitOf(tile);
      const usual = known.pace === null ? Infinity : Math.max(SHORTEST_MS, PACES * known.pace);
      if (known.restored) return { text: `${about(idle / 1000)} ago, before a restart`, since: known.writtenAt };
      // As of the last response, because unchanged writes are not received in between.
      const stopped = known.askedAt - known.writtenAt > (Number.isNaN(limit) ? usual : limit);
      if (stopped) return { text: `No data for ${about(idle / 1000)}`, since: known.writtenAt };
      return idle > YOUNG_MS ? { text: `${about(idle / 1000)} ago`, since: null } : FRESH;
    }
    return FRESH;
  }
}

/**
 * Returns the channels whose values a tile shows. For a field of the snapshot, that of the channel behind it.
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
 * Returns how long the tile's source may be silent, in ms; NaN if the tile does not set it.
 * @param {Tile} tile
 */
function limitOf({ options }) {
  const match = /^(\d+)([smhd])$/.exec(options?.noDataAfter ?? '');
  return match === null ? NaN : Number(match[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[/** @type {'s'} */ (match[2])];
}
