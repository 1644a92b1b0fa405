// @ts-check
/**
 * Keeps one link to the server alive, over the transport the reader chose or the best one that works.
 *
 *                 opened                     silent
 *     connecting ────────▶ live ◀─────────▶ stale ──▶ (dead: ended here)
 *         ▲                  │ ended          │
 *         └──── offline ◀────┴────────────────┘
 *                after a full-jitter wait, from the last cursor
 *
 * A change of transport makes before it breaks: the old link delivers until the new one is open, and `Position` drops what
 * both bring. With `auto`, a transport that fails although the server answers is passed over for the next one, and a
 * better one is tried again every minute behind the running link.
 */

import { address } from './address.js';
import { backoff } from './backoff.js';
import { Liveness } from './liveness.js';
import { Position } from './position.js';
import { TRANSPORTS, transportNamed } from './transport/index.js';
import { OPEN_TIMEOUT_MS } from './transport/contract.js';

/** @typedef {import('./transport/contract.js').TransportName} TransportName */
/** @typedef {import('./transport/contract.js').Down} Down */
/** @typedef {import('./transport/contract.js').Json} Json */

/**
 * @typedef {object} Status
 * @property {'connecting' | 'live' | 'stale' | 'offline'} state
 * @property {TransportName | null} transport the one in use or being tried
 * @property {number | null} latencyMs last measured round trip, where the transport has one
 * @property {string | null} cursor
 * @property {number | null} aliveAt when the server last showed life
 * @property {number | null} retryAt when the next attempt begins; null when none is planned
 * @property {string | null} reason why the last link ended
 */

/**
 * @typedef {object} Reader
 * @property {(channel: string, data: Json, timestamp: string | null, cursor: string | null) => void} onSnapshot
 * @property {(channel: string, event: string, data: Json, timestamp: string | null, cursor: string | null) => void} onEvent
 * @property {() => void} onGap
 * @property {(status: Status) => void} onState after anything in the status changed
 */

/**
 * One try with one transport, from its start to its end.
 * @typedef {object} Attempt
 * @property {TransportName} name
 * @property {import('./transport/contract.js').Link | null} link
 * @property {Liveness | null} liveness null until it is open
 * @property {number} openedAt
 * @property {number | null} latencyMs
 * @property {number} timeout the timer that bounds the opening
 */

const WATCH_EVERY_MS = 1_000;
/** A link that ended sooner did not really work. */
const SHORTEST_GOOD_LINK_MS = 5_000;
const TRY_BETTER_EVERY_MS = 60_000;
const REACHABLE_TIMEOUT_MS = 3_000;
/** Timers of a hidden page are held back, so silence is judged only when it has been visible this long. */
const GRACE_MS = 3_000;

export class Connection {
  /** @type {readonly string[]} */
  #channels = [];
  #started = false;
  #reader;
  #position = new Position();
  /** @type {TransportName | 'auto'} */
  #choice = 'auto';
  /** @type {Attempt | null} */
  #active = null;
  /** @type {Attempt | null} */
  #opening = null;
  #failures = 0;
  #betterTries = 0;
  #judgeFrom = 0;
  #stale = false;
  #retryTimer = 0;
  #betterTimer = 0;
  /** @type {number | null} */
  #retryAt = null;
  /** @type {number | null} */
  #aliveAt = null;
  /** @type {string | null} */
  #reason = null;
  /** @type {TransportName} */
  #next = TRANSPORTS[0].name;

  /** @param {Reader} reader */
  constructor(reader) {
    this.#reader = reader;
    setInterval(() => this.#watch(), WATCH_EVERY_MS);
    addEventListener('online', () => this.retryNow());
    addEventListener('pageshow', (event) => event.persisted && this.retryNow());
  }

  /**
   * Follows these channels and no others. A running link is replaced by one that carries them.
   * @param {readonly string[]} channels
   * @returns {string[]} those that were not followed before, when a link was under way
   */
  follow(channels) {
    const before = this.#channels;
    this.#channels = channels;
    if (!this.#started) return [];
    if (this.#active !== null || this.#opening !== null) this.#begin((this.#active ?? this.#opening)?.name ?? this.#next);
    return channels.filter((channel) => !before.includes(channel));
  }

  /**
   * Goes over to a transport, or to the best that works; also the way to start.
   * @param {TransportName | 'auto'} choice
   */
  use(choice) {
    this.#choice = choice;
    this.#started = true;
    this.#failures = 0;
    const name = choice === 'auto' ? TRANSPORTS[0].name : choice;
    clearTimeout(this.#betterTimer);
    this.#next = name;
    if (this.#active?.name === name) this.#drop(this.#opening);
    else this.#begin(name);
    this.#report();
  }

  /** Tries at once instead of waiting; does nothing while a link is up. */
  retryNow() {
    if (this.#active === null && this.#opening === null) this.#begin(this.#next);
  }

  /** @returns {Status} */
  get status() {
    const attempt = this.#active ?? this.#opening;
    return {
      state: this.#active ? (this.#stale ? 'stale' : 'live') : this.#opening ? 'connecting' : 'offline',
      transport: attempt?.name ?? null,
      latencyMs: this.#active?.latencyMs ?? null,
      cursor: this.#position.cursor,
      aliveAt: this.#aliveAt,
      retryAt: this.#retryAt,
      reason: this.#reason,
    };
  }

  /** @param {TransportName} name */
  #begin(name) {
    this.#drop(this.#opening);
    clearTimeout(this.#retryTimer);
    this.#retryAt = null;
    this.#next = name;
    /** @type {Attempt} */
    const attempt = { name, link: null, liveness: null, openedAt: 0, latencyMs: null, timeout: 0 };
    this.#opening = attempt;
    attempt.timeout = setTimeout(() => this.#end(attempt, { reason: 'no answer' }, true), OPEN_TIMEOUT_MS);
    const request = { channels: this.#channels, since: this.#position.cursor };
    attempt.link = transportNamed(name)?.open(request, this.#listen(attempt)) ?? null;
    this.#report();
  }

  /**
   * What a transport may say, heard only while its attempt counts.
   * @param {Attempt} attempt
   * @returns {import('./transport/contract.js').Listener}
   */
  #listen(attempt) {
    const inUse = () => attempt === this.#active;
    return {
      onOpen: (pace) => attempt === this.#opening && this.#opened(attempt, pace),
      onAlive: () => {
        if (!inUse() || attempt.liveness === null) return;
        this.#aliveAt = Date.now();
        attempt.liveness.beat(this.#aliveAt);
        if (this.#stale) this.#watch();
      },
      onSnapshot: (channel, data, timestamp, cursor) => {
        if (!inUse()) return;
        this.#position.moveTo(cursor);
        this.#reader.onSnapshot(channel, data, timestamp, cursor);
      },
      onEvent: (channel, event, data, timestamp, cursor) => {
        if (!inUse()) return;
        this.#position.moveTo(cursor);
        if (this.#position.admits(channel, cursor)) this.#reader.onEvent(channel, event, data, timestamp, cursor);
      },
      onCursor: (cursor) => inUse() && this.#position.moveTo(cursor),
      onGap: () => (inUse() || attempt === this.#opening) && this.#reader.onGap(),
      onLatency: (ms) => {
        attempt.latencyMs = ms;
        if (inUse()) this.#report();
      },
      onDown: (down) => this.#end(attempt, down, false),
    };
  }

  /**
   * @param {Attempt} attempt
   * @param {import('./transport/contract.js').Pace} pace
   */
  #opened(attempt, pace) {
    clearTimeout(attempt.timeout);
    const now = Date.now();
    attempt.liveness = new Liveness(pace, now);
    attempt.openedAt = now;
    this.#opening = null;
    this.#drop(this.#active);
    this.#active = attempt;
    this.#aliveAt = now;
    this.#stale = false;
    this.#reason = null;
    this.#planBetter();
    this.#report();
  }

  /**
   * @param {Attempt} attempt
   * @param {Down} down
   * @param {boolean} silent whether it went without a word
   */
  #end(attempt, down, silent) {
    const wasActive = attempt === this.#active;
    if (!wasActive && attempt !== this.#opening) return;
    this.#drop(attempt);
    if (!wasActive && this.#active !== null && this.#choice === 'auto') return this.#planBetter();
    this.#drop(this.#active);
    clearTimeout(this.#betterTimer);
    this.#reason = down.reason;
    this.#next = attempt.name;

    const worked = wasActive && !silent && Date.now() - attempt.openedAt >= SHORTEST_GOOD_LINK_MS;
    this.#failures = worked ? 0 : this.#failures + 1;
    if (down.final !== true) {
      const wait = (down.retryAfterMs ?? 0) + backoff(down.retryAfterMs === undefined ? Math.max(1, this.#failures) : 1);
      this.#retryAt = Date.now() + wait;
      this.#retryTimer = setTimeout(() => this.#begin(this.#next), wait);
      if (!worked && down.retryAfterMs === undefined && this.#choice === 'auto') void this.#passOver(attempt.name);
    }
    this.#report();
  }

  /**
   * The next attempt takes the next transport, if it is this one that fails and not the server that is away.
   * @param {TransportName} name
   */
  async #passOver(name) {
    const signal = AbortSignal.timeout(REACHABLE_TIMEOUT_MS);
    const answer = await fetch(address('healthz'), { cache: 'no-store', signal }).catch(() => null);
    if (answer === null || answer.status >= 500 || this.#choice !== 'auto' || this.#active !== null) return;
    const index = TRANSPORTS.findIndex((transport) => transport.name === name);
    const next = TRANSPORTS[(index + 1) % TRANSPORTS.length].name;
    if (this.#opening === null) this.#next = next;
    else if (this.#opening.name === name) this.#begin(next);
  }

  /** With `auto` on a lesser transport: looks behind the running link whether a better one works by now. */
  #planBetter() {
    clearTimeout(this.#betterTimer);
    const index = TRANSPORTS.findIndex((transport) => transport.name === this.#active?.name);
    if (this.#choice !== 'auto' || index <= 0) return;
    this.#betterTimer = setTimeout(() => {
      this.#begin(TRANSPORTS[this.#betterTries++ % index].name);
    }, TRY_BETTER_EVERY_MS);
  }

  #watch() {
    const now = Date.now();
    if (document.hidden) this.#judgeFrom = now + GRACE_MS;
    const attempt = this.#active;
    if (attempt === null || attempt.liveness === null || now < this.#judgeFrom) return;
    if (attempt.liveness.isDead(now)) return this.#end(attempt, { reason: 'connection went silent' }, true);
    const stale = attempt.liveness.isStale(now);
    if (stale === this.#stale) return;
    this.#stale = stale;
    this.#report();
  }

  /**
   * Forgets an attempt and closes its link.
   * @param {Attempt | null} attempt
   */
  #drop(attempt) {
    if (attempt === null) return;
    clearTimeout(attempt.timeout);
    attempt.link?.close();
    if (attempt === this.#active) this.#active = null;
    if (attempt === this.#opening) this.#opening = null;
  }

  #report() {
    this.#reader.onState(this.status);
  }
}
