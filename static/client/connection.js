// @ts-check
/**
 * Maintains one link to the server, over the chosen transport or the best one that works.
 *
 *                  open                     silent
 *     connecting ────────▶ live ◀─────────▶ stale ──▶ (dead: closed by the client)
 *         ▲  └─ next transport │ down         │
 *         └──── offline ◀──────┴──────────────┘   ended: the server asked not to reconnect
 *
 * Changes are make-before-break: the old link delivers until the new one is open, and `Position` drops duplicates.
 * With `auto` a transport that fails or stays silent is replaced by the next one, and a better one is tried again later,
 * in parallel with the running link.
 */
import { backoff } from './backoff.js';
import { Liveness } from './liveness.js';
import { openPoll } from './transports/poll.js';
import { openSse } from './transports/sse.js';
import { openWebSocket } from './transports/websocket.js';

/** @typedef {import('./index.js').TransportName} TransportName */
/** @typedef {import('./index.js').Status} Status */
/** @typedef {{reason: string, code?: string, status?: number, retryAfter?: number, final?: boolean}} Down */
/** @typedef {{close(): void, update(): void, send?(message: any): void}} Link */
/**
 * Input of a transport: `wants` returns the channels to follow with their intervals in ms, `since` the cursor to resume from.
 * @typedef {{http: import('./http.js').Http, options: import('./index.js').Options, name: TransportName,
 *   wants: () => Map<string, number>, since: () => string | null}} Context
 */
/**
 * Opens a link at once and reports with `emit`: `alive`; `open {quiet, dead}` once it works; `start {cursor}` if it begins
 * without a cursor; `state`, `event`, `gap`, `cursor`, `denied`, `latency`, `expiring`, responses; `again` to request a new link;
 * `down` at the end. It never reconnects. Messages of a dropped link are ignored.
 * @typedef {(context: Context, emit: (message: any) => void) => Link} Open
 */
/**
 * @typedef {object} Attempt
 * @property {TransportName} name
 * @property {Link | null} link
 * @property {Liveness | null} life null until it is open
 * @property {any} timer timeout for opening
 * @property {number} [latency]
 */

/** @type {TransportName[]} */
const FALLBACK_ORDER = ['websocket', 'sse', 'long-poll', 'poll'];
const OPEN = { websocket: openWebSocket, sse: openSse, 'long-poll': openPoll, poll: openPoll };

/** Longest time until the first message, increased after failures. After it the transport counts as blocked. */
const OPEN_MS = 4_000;
const LONGEST_OPEN_MS = 12_000;
/** A link that was alive for less than this counts as failed. */
const SHORTEST_GOOD_MS = 5_000;
/** Delay before a better transport is tried again; it doubles each time. */
const BETTER_MS = 30_000;
const LONGEST_BETTER_MS = 600_000;
const WATCH_MS = 1_000;
const SLEPT_MS = 10_000;
const REMEMBERED_MS = 86_400_000;

export class Connection {
  #context;
  #options;
  #http;
  #emit;
  #key;
  /** @type {TransportName | 'auto'} */
  #choice;
  /** @type {Attempt | null} */
  #active = null;
  /** @type {Attempt | null} */
  #opening = null;
  #failures = 0;
  #refusals = 0;
  /** Channels that the token does not permit. @type {Set<string>} */
  #denied = new Set();
  #betterTries = 0;
  #stale = false;
  #ended = false;
  /** Difference between the computer's clock and the monotonic one. */
  #ahead = 0;
  /** Time at which the last working link was lost, by the monotonic clock. */
  #lostAt = 0;
  /** @type {any} */
  #watcher = 0;
  /** @type {any} */
  #retryTimer;
  /** @type {any} */
  #betterTimer;
  /** @type {TransportName} */
  #next = FALLBACK_ORDER[0];
  /** @type {Pick<Status, 'nextTryAt' | 'reason'>} */
  #seen = { nextTryAt: null, reason: null };

  /**
   * @param {Omit<Context, 'name'>} context
   * @param {(message: any) => void} emit receives the messages of links, and `status` after a change
   */
  constructor(context, emit) {
    this.#context = { ...context, wants: () => this.#wants(context.wants()) };
    this.#options = context.options;
    this.#http = context.http;
    this.#emit = emit;
    this.#choice = context.options.transport ?? 'auto';
    this.#key = `tricast ${context.http.base}`;
  }

  /** @returns {Pick<Status, 'state' | 'transport' | 'latency' | 'nextTryAt' | 'reason'> & {life?: number}} */
  get status() {
    const attempt = this.#active ?? this.#opening;
    const state = this.#active
      ? this.#stale
        ? 'stale'
        : 'live'
      : this.#opening
        ? 'connecting'
        : this.#ended
          ? 'ended'
          : 'offline';
    return {
      ...this.#seen,
      state,
      transport: attempt?.name ?? null,
      latency: attempt?.latency ?? null,
      // Converted to wall-clock time, the only clock that tabs share.
      life: this.#active?.life ? Date.now() - performance.now() + this.#active.life.last : undefined,
    };
  }

  /** Starts, also after `stop`. An ended connection stays ended. */
  start() {
    clearInterval(this.#watcher);
    this.#ahead = Date.now() - performance.now();
    this.#watcher = setInterval(() => this.#watch(), WATCH_MS);
    this.#next = this.#first();
    if (!this.#ended) this.retry();
    this.#report({});
  }

  /** Closes all links and timers. @param {string | null} reason */
  stop(reason) {
    clearInterval(this.#watcher);
    this.#watcher = 0;
    clearTimeout(this.#betterTimer);
    clearTimeout(this.#retryTimer);
    this.#drop(this.#opening);
    this.#drop(this.#active);
    this.#report(this.#ended ? {} : { reason, nextTryAt: null });
  }

  /** @param {TransportName | 'auto'} choice */
  use(choice) {
    this.#choice = choice;
    this.#failures = this.#betterTries = 0;
    this.#ended = false;
    this.#denied.clear();
    clearTimeout(this.#betterTimer);
    this.#next = choice === 'auto' ? FALLBACK_ORDER[0] : choice;
    this.#drop(this.#opening);
    if (this.#active?.name !== this.#next && this.#watcher) this.#begin(this.#next);
    this.#report({});
  }

  /** Connects at once; does nothing while a link is up, or while stopped. */
  retry() {
    if (this.#active || this.#opening || !this.#watcher) return;
    this.#ended = false;
    this.#denied.clear();
    this.#begin(this.#next);
  }

  /** Opens a new link after a change of the network, because the present one may be dead. */
  check() {
    this.#betterTries = 0;
    this.again();
    if (!this.#ended) this.retry();
  }

  /** Applies changed subscriptions. */
  update() {
    (this.#active ?? this.#opening)?.link?.update();
  }

  /** Opens a new link in parallel with the running one, from the cursor of that moment. */
  again() {
    const { name } = this.#active ?? this.#opening ?? {};
    if (name) this.#begin(name);
  }

  /** Sends a message if a WebSocket is open. @param {any} message */
  send(message) {
    const link = this.#active?.link;
    if (!link?.send) return false;
    link.send(message);
    return true;
  }

  /** @param {TransportName} name */
  #begin(name) {
    this.#drop(this.#opening);
    clearTimeout(this.#retryTimer);
    this.#next = name;
    /** @type {Attempt} */
    const attempt = { name, link: null, life: null, timer: 0 };
    this.#opening = attempt;
    const patience = Math.min(LONGEST_OPEN_MS, OPEN_MS * (1 + this.#failures));
    attempt.timer = setTimeout(() => this.#down(attempt, { reason: 'no answer' }), patience);
    try {
      attempt.link = OPEN[name]({ ...this.#context, name }, (message) => this.#hear(attempt, message));
    } catch (error) {
      queueMicrotask(() => this.#hear(attempt, { type: 'down', reason: String(error) })); // transport not available
    }
    this.#report({ nextTryAt: null });
  }

  /**
   * @param {Attempt} attempt
   * @param {any} message
   */
  #hear(attempt, message) {
    const { type } = message;
    const isActive = attempt === this.#active;
    if (!isActive && attempt !== this.#opening) return;
    if (type === 'down') this.#down(attempt, message);
    else if (type === 'again') this.again();
    else if (type === 'latency') attempt.latency = message.ms;
    else if (type === 'open') this.#opened(attempt, message);
    else if (type === 'alive') {
      attempt.life?.beat(performance.now());
      if (this.#stale) this.#watch();
    } else if (type === 'expiring') setTimeout(() => attempt === this.#active && this.#renew(), message.seconds * 500);
    else if (isActive || type === 'start') {
      if (type === 'denied') this.#denied.add(message.name);
      this.#emit(message);
    }
    if (type === 'latency' && isActive) this.#report({});
  }

  /**
   * @param {Attempt} attempt
   * @param {{quiet: number, dead: number}} pace
   */
  #opened(attempt, pace) {
    clearTimeout(attempt.timer);
    attempt.life = new Liveness(pace, performance.now());
    this.#opening = null;
    this.#drop(this.#active);
    this.#active = attempt;
    this.#stale = false;
    this.#refusals = 0;
    this.#remember(attempt.name);
    this.#planBetter();
    this.#emit({ type: 'open' });
    this.#report({ reason: null });
  }

  /**
   * @param {Attempt} attempt
   * @param {Down} down
   */
  #down(attempt, { reason, code, status, retryAfter, final }) {
    const { name, life } = attempt;
    const wasActive = attempt === this.#active;
    this.#drop(attempt);
    // An attempt with a better transport has failed.
    if (!wasActive && this.#active && this.#active.name !== name) return this.#planBetter();
    this.#drop(this.#active);
    clearTimeout(this.#betterTimer);
    const unauthorized = status === 401 || code === 'UNAUTHORIZED';
    if (unauthorized && !final && this.#http.token.renew(true) && ++this.#refusals < 3) return this.#begin(name);
    if (status === 403 && code === 'FORBIDDEN' && !this.#denied.size) {
      this.#report({ reason, nextTryAt: null });
      return void this.#sift(name);
    }
    const auto = this.#choice === 'auto';
    const last = name === FALLBACK_ORDER[3] || !auto;
    if (final || unauthorized || (last && status && status < 429)) {
      this.#ended = true;
      return this.#report({ reason, nextTryAt: null });
    }
    const worked = life !== null && life.last - life.opened >= SHORTEST_GOOD_MS;
    if (worked) this.#failures = 0;
    if (!this.#failures) this.#lostAt = performance.now();
    const once = life !== null && this.#failures === 0; // a single interruption
    const isScheduled = retryAfter !== undefined && retryAfter >= 0;
    if (!worked && !once && !last && !isScheduled) return this.#begin(FALLBACK_ORDER[FALLBACK_ORDER.indexOf(name) + 1]);
    this.#next = worked || once || !auto ? name : this.#first();
    this.#failures += 1;
    const wait = isScheduled ? retryAfter + backoff(1, 0) : backoff(this.#failures, performance.now() - this.#lostAt);
    this.#retryTimer = setTimeout(() => this.#begin(this.#next), wait);
    this.#report({ reason, nextTryAt: Date.now() + wait });
  }

  /** Opens a link with a new token before the present one expires. */
  #renew() {
    if (!this.#http.token.renew(false)) return;
    this.#denied.clear();
    this.again();
  }

  #planBetter() {
    clearTimeout(this.#betterTimer);
    const rung = FALLBACK_ORDER.indexOf(this.#active?.name ?? FALLBACK_ORDER[0]);
    if (this.#choice !== 'auto' || rung === 0) return;
    const wait = Math.min(LONGEST_BETTER_MS, BETTER_MS * 2 ** this.#betterTries);
    this.#betterTimer = setTimeout(() => this.#begin(FALLBACK_ORDER[this.#betterTries++ % rung]), wait);
  }

  #watch() {
    // The monotonic clock stops while the computer sleeps, and links rarely survive that. Or the computer's clock was set.
    const ahead = Date.now() - performance.now();
    const slept = ahead - this.#ahead > SLEPT_MS;
    this.#ahead = ahead;
    if (slept) this.check();
    const life = this.#active?.life;
    if (!life || !this.#active) return;
    const now = performance.now();
    if (life.isDead(now)) return this.#down(this.#active, { reason: 'went silent' });
    if (life.isStale(now) === this.#stale) return;
    this.#stale = !this.#stale;
    this.#report({});
  }

  /** Returns the transport to begin with: the one that worked last, or the best. @returns {TransportName} */
  #first() {
    if (this.#choice !== 'auto') return this.#choice;
    const [name, until] = this.#stored((storage) => JSON.parse(storage.getItem(this.#key))) ?? [];
    return until > Date.now() && name in OPEN ? name : FALLBACK_ORDER[0];
  }

  /** @param {TransportName} name */
  #remember(name) {
    if (this.#choice !== 'auto') return;
    this.#stored((storage) => {
      if (name === FALLBACK_ORDER[0]) storage.removeItem(this.#key);
      else storage.setItem(this.#key, JSON.stringify([name, Date.now() + REMEMBERED_MS]));
    });
  }

  /** Accesses the storage, which may be forbidden or full. @param {(storage: any) => any} act */
  #stored(act) {
    try {
      const { storage = globalThis.localStorage } = this.#options;
      return storage && act(storage);
    } catch {
      return null;
    }
  }

  /** @param {Attempt | null} attempt */
  #drop(attempt) {
    if (!attempt) return;
    clearTimeout(attempt.timer);
    if (attempt === this.#active) this.#active = null;
    if (attempt === this.#opening) this.#opening = null;
    attempt.link?.close();
  }

  /** Returns the permitted channels; never none, so that the connection receives heartbeats. @param {Map<string, number>} wants */
  #wants(wants) {
    const allowed = new Map([...wants].filter(([name]) => !this.#denied.has(name)));
    return allowed.size ? allowed : new Map([['system', 0]]);
  }

  /**
   * Finds the channels that are not permitted, because a stream or poll is refused as a whole, and continues without them.
   * @param {TransportName} name
   */
  async #sift(name) {
    for (const channel of this.#context.wants().keys()) {
      const address = this.#http.address('api/metrics', { channels: channel });
      const { status } = await this.#http.ask(address, { method: 'HEAD' }).catch(() => ({ status: 0 }));
      if (status !== 403) continue;
      this.#denied.add(channel);
      this.#emit({ type: 'denied', name: channel, code: 'FORBIDDEN' });
    }
    if (!this.#active && !this.#opening && this.#watcher) this.#begin(name);
  }

  /** @param {Partial<Status>} seen */
  #report(seen) {
    Object.assign(this.#seen, seen);
    this.#emit({ type: 'status', status: this.status });
  }
}
