// @ts-check
/**
 * Age of values: when each pushed channel was last written, and which of its fields, and whether their sources have stopped.
 * Writing the same value again sends nothing to clients, and a received value does not tell which of its fields were written, so
 * the page queries the visible channels (`GET api/channels?channels=...`): silent ones every few seconds, others less often.
 */

import { fieldsOf, nameOf, valueAt } from './fields.js';
import { about, durationSeconds } from './format.js';
import { now } from './time.js';

const ASK_MS = 5_000;
/** Delay that combines the queries of tiles that appear together. */
const SOON_MS = 300;
/** A channel whose value arrived within this time is queried less often. */
const HEARD_MS = 4_000;
/** Such a channel is queried this often if its fields have been written at different times, and otherwise every `WHOLE_ASK_MS`; sooner if a tile sets a shorter limit. */
const FIELDS_ASK_MS = 10_000;
const WHOLE_ASK_MS = 30_000;
/** A source counts as stopped after this many times its usual pace, and not before `SHORTEST_MS`. */
const PACES = 5;
const SHORTEST_MS = 15_000;
/** Times that are this close count as equal, because ages have whole seconds. */
const WRITTEN_MS = 2_000;
/** The age of younger values is not shown. */
const YOUNG_MS = 60_000;
/** Most fields that the corner of a tile names. */
const MOST_NAMES = 2;
/** Most ended fields of a channel that are remembered. */
const MOST_ENDED = 1_000;

/** @typedef {import('./tiles/contract.js').Tile} Tile */
/**
 * `restored`: the value is from before the server's last start.
 * @typedef {{writtenAt: number, pace: number | null, restored: boolean}} Times
 */
/**
 * `fields`: those whose times differ from those of the channel. `data`: the last value that arrived.
 * @typedef {Times & {askedAt: number, fields: Map<string, Times>}} Known
 */
/**
 * `stopped`: whether the sources of all fields of the tile have stopped. `silent`: when they did, by field of the tile, of those that have.
 * @typedef {{text: string, stopped: boolean, silent: Map<string, number>}} Age
 */

/** @returns {Age} */
const fresh = (text = '') => ({ text, stopped: false, silent: new Map() });

export class Freshness {
  #rest;
  #tiles;
  #changed;
  /** `own`: the server itself writes the channel. @type {Map<string, Known | 'own'>} */
  #known = new Map();
  /** The newest value of each channel. @type {Map<string, any>} */
  #values = new Map();
  /** Times of the ends of channels (with the field '') and of fields that left the value of their channel. @type {Map<string, Map<string, number>>} */
  #ended = new Map();
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
   * @param {any} data null at the end of the channel
   * @param {string | null} timestamp when it changed, RFC 3339
   */
  record(channel, data, timestamp) {
    const before = this.#values.get(channel);
    const at = Date.parse(timestamp ?? '') - this.#rest.skew;
    this.#recordEnds(channel, before, data, Math.min(at || now(), now()));
    if (data === null) {
      this.#values.delete(channel);
      this.#known.delete(channel);
      return;
    }
    this.#values.set(channel, data);
    const known = this.#known.get(channel);
    if (known === undefined || known === 'own') return;
    this.#write(known, at);
    // A source that stopped and writes again is known at once, if it writes another value.
    for (const [name, times] of known.fields) {
      if (known.askedAt - times.writtenAt < HEARD_MS && !times.restored) continue;
      if (before !== undefined && JSON.stringify(before[name]) !== JSON.stringify(data[name])) this.#write(times, at);
    }
  }

  /**
   * Records the fields that leave or join the value of a channel, or its end.
   * @param {string} channel
   * @param {any} before
   * @param {any} data null at its end
   * @param {number} at
   */
  #recordEnds(channel, before, data, at) {
    if (data === null) {
      this.#ended.set(channel, new Map([['', at]]));
      return;
    }
    const ended = this.#ended.get(channel) ?? new Map();
    ended.delete('');
    const names = new Set(fieldsOf(data));
    for (const name of ended.keys()) if (names.has(name)) ended.delete(name);
    for (const name of fieldsOf(before)) {
      if (!names.has(name) && ended.size < MOST_ENDED) ended.set(name, at);
    }
    this.#ended.set(channel, ended);
  }

  /**
   * Returns the age of a tile whose channel has ended, or fields of it; null if none has.
   * @param {Tile} tile
   * @returns {Age | null}
   */
  #endOf(tile) {
    const { channel, field, fields } = tile;
    const ended = this.#ended.get(channel ?? '');
    if (!showsValues(tile) || ended === undefined) return null;
    const named = fields ?? (field === undefined ? [] : [field]);
    const all = ended.get('');
    const gone = named.flatMap((name) => /** @type {[string, number][]} */ (all !== undefined || ended.has(name) ? [[name, all ?? ended.get(name)]] : []));
    if (all === undefined && gone.length === 0) return null;
    const age = about((now() - (all ?? Math.max(...gone.map(([, at]) => at)))) / 1000);
    const whole = all !== undefined || gone.length === named.length;
    const names = gone.length > MOST_NAMES ? `${gone.length} fields` : gone.map(([name]) => nameOf(name)).join(', ');
    return { text: whole ? `Ended ${age} ago` : `${names}: ended ${age} ago`, stopped: whole, silent: new Map(gone) };
  }

  /**
   * @param {Times} times
   * @param {number} at NaN for now
   */
  #write(times, at) {
    if (at > times.writtenAt + WRITTEN_MS) times.restored = false;
    times.writtenAt = Math.max(times.writtenAt, Math.min(at || now(), now()));
  }

  /** Queries the visible channels about which something may have changed without a message. */
  async refresh() {
    if (this.#refreshing || document.hidden) return;
    const due = new Set([...this.#tiles()].flatMap((tile) => channelsOf(tile).filter((channel) => this.#isDue(channel, tile))));
    if (due.size === 0) return;
    this.#refreshing = true;
    const answer = await this.#rest.request('api/channels', { query: { channels: [...due].join() } }).catch(() => null);
    this.#refreshing = false;
    for (const line of answer?.data?.channels ?? []) {
      if (line.kind !== 'state' || Number.isNaN(durationSeconds(line.idle))) this.#known.set(line.channel, 'own');
      else {
        const fields = Object.entries(line.fields ?? {}).map(([name, field]) => /** @type {[string, Times]} */ ([name, timesOf(field)]));
        this.#known.set(line.channel, knownOf(this.#known.get(line.channel), { ...timesOf(line), askedAt: now(), fields: new Map(fields) }));
      }
    }
    this.#changed();
  }

  /**
   * @param {string} channel
   * @param {Tile} tile that shows it
   */
  #isDue(channel, tile) {
    const known = this.#known.get(channel);
    if (known === undefined || known === 'own') return known === undefined;
    const every = Math.min(known.fields.size > 0 ? FIELDS_ASK_MS : WHOLE_ASK_MS, limitOf(tile, null));
    return now() - known.writtenAt > HEARD_MS || now() - known.askedAt > every;
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

  /** @param {number} moved difference to the clock of before, ms */
  clockSet(moved) {
    for (const known of this.#known.values()) {
      if (known === 'own') continue;
      known.askedAt += moved;
      for (const times of [known, ...known.fields.values()]) times.writtenAt += moved;
    }
    for (const ended of this.#ended.values()) for (const [name, at] of ended) ended.set(name, at + moved);
  }

  /**
   * Returns the age to show for a tile.
   * @param {Tile} tile
   * @returns {Age}
   */
  ageOf(tile) {
    const ended = this.#endOf(tile);
    if (ended !== null) return ended;
    const sources = this.#sources(tile);
    const shown = sources.flatMap(({ fields, source }) => {
      const known = source === null ? 'own' : this.#known.get(source.channel);
      if (source !== null && known === undefined) this.#refreshSoon(source.channel);
      if (source === null || known === undefined || known === 'own') return [];
      const times = timesAt(known.fields, source.name) ?? known;
      // As of the last response, because unchanged writes are not received in between.
      const silence = known.askedAt - times.writtenAt;
      return [{ fields, writtenAt: times.writtenAt, restored: times.restored, stopped: times.restored || silence > limitOf(tile, times.pace) }];
    });
    if (shown.length === 0) return fresh();
    const stopped = shown.filter(({ stopped }) => stopped);
    const newest = (/** @type {typeof shown} */ some) => some.reduce((one, other) => (other.writtenAt > one.writtenAt ? other : one));
    if (stopped.length === 0) {
      const idle = now() - newest(shown).writtenAt;
      return fresh(idle > YOUNG_MS ? `${about(idle / 1000)} ago` : '');
    }
    const { writtenAt, restored } = newest(stopped);
    const age = about((now() - writtenAt) / 1000);
    const silent = new Map(stopped.flatMap(({ fields, writtenAt: since }) => fields.map((field) => /** @type {[string, number]} */ ([field, since]))));
    if (stopped.length === sources.length) {
      return { text: restored ? `${age} ago, before a restart` : `No data for ${age}`, stopped: true, silent };
    }
    const names = silent.size > MOST_NAMES ? `${silent.size} fields` : [...silent.keys()].map(nameOf).join(', ');
    return { text: restored ? `${names}: ${age} ago, before a restart` : `${names}: no data for ${age}`, stopped: false, silent };
  }

  /**
   * Returns the fields that a tile shows, each with the channel behind it and its name there, null if the server itself writes it.
   * Fields with the times of their channel stand together; of a table of all fields, none is named then.
   * @param {Tile} tile
   * @returns {{fields: string[], source: {channel: string, name: string} | null}[]}
   */
  #sources(tile) {
    const { channel, field } = tile;
    if (!showsValues(tile) || channel === undefined) return [];
    const known = this.#known.get(channel);
    const named = tile.fields ?? (field === undefined ? [] : [field]);
    const alike = channel !== 'metrics' && (known === undefined || known === 'own' || known.fields.size === 0);
    const fields = named.length > 0 || alike ? named : fieldsOf(this.#values.get(channel));
    // Before the first value of a table of all fields, the channel stands for them.
    if (alike || (fields.length === 0 && channel !== 'metrics')) return [{ fields, source: { channel, name: '' } }];
    return fields.map((field) => ({ fields: [field], source: sourceOf(channel, field) }));
  }
}

/** @param {Tile} tile */
const showsValues = ({ type }) => ['number', 'chart', 'gauge', 'bar', 'state', 'status', 'table'].includes(type);

/**
 * Returns the channels whose values a tile shows.
 * @param {Tile} tile
 * @returns {string[]}
 */
function channelsOf(tile) {
  const { channel, field, fields } = tile;
  if (!showsValues(tile) || channel === undefined) return [];
  return (fields ?? [field ?? '']).flatMap((field) => sourceOf(channel, field)?.channel ?? []);
}

/**
 * Returns the channel that a field comes from and its name there: for a field of the snapshot, those of the channel behind it.
 * @param {string} channel
 * @param {string} field
 */
function sourceOf(channel, field) {
  if (channel !== 'metrics') return { channel, name: field };
  const [custom, name, ...rest] = field.split('.');
  return custom === 'custom' && /^[\w:-]+$/.test(name ?? '') ? { channel: `metrics.${name}`, name: rest.join('.') } : null;
}

/**
 * Returns the times of the top-level field that a field is, or is in; undefined if they are those of the channel.
 * @param {Map<string, Times>} fields
 * @param {string} name
 */
function timesAt(fields, name) {
  for (let end = name.length; end > 0; end = name.lastIndexOf('.', end - 1)) {
    const times = fields.get(name.slice(0, end));
    if (times !== undefined) return times;
  }
  return undefined;
}

/**
 * @param {{idle: string, pace: string | null, restored?: boolean}} line of a channel or a field in the response
 * @returns {Times}
 */
function timesOf({ idle, pace, restored = false }) {
  return { writtenAt: now() - durationSeconds(idle) * 1000, pace: pace === null ? null : durationSeconds(pace) * 1000, restored };
}

/**
 * Returns what is known of a channel after a response. Of a restored value, the server knows only when it last changed. The page
 * keeps the times of the last writes of its fields if it received them shortly before.
 * @param {Known | 'own' | undefined} before
 * @param {Known} response
 * @returns {Known}
 */
function knownOf(before, response) {
  if (before === undefined || before === 'own') return response;
  const known = (/** @type {Times} */ old, /** @type {Times} */ { writtenAt, pace, restored }) =>
    ({ writtenAt: restored && before.askedAt + WHOLE_ASK_MS >= writtenAt ? old.writtenAt : writtenAt, pace, restored });
  const names = [...(response.restored ? before : response).fields.keys()];
  const fields = names.map((name) => /** @type {[string, Times]} */ ([name, known(before.fields.get(name) ?? before, response.fields.get(name) ?? response)]));
  return { ...response, ...known(before, response), fields: new Map(fields) };
}

/**
 * Returns how long the source of a tile's values may be silent, in ms.
 * @param {Tile} tile
 * @param {number | null} pace
 */
function limitOf({ options }, pace) {
  const match = /^(\d+)([smhd])$/.exec(options?.noDataAfter ?? '');
  if (match !== null) return Number(match[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[/** @type {'s'} */ (match[2])];
  return pace === null ? Infinity : Math.max(SHORTEST_MS, PACES * pace);
}
