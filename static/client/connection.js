// @ts-check
/**
 * Keeps one link to the server alive, over the transport that was chosen or the best one that works.
 *
 *                  open                     silent
 *     connecting ────────▶ live ◀─────────▶ stale ──▶ (dead: ended here)
 *         ▲  └─ next rung    │ down           │
 *         └──── offline ◀────┴────────────────┘   ended: told not to come back
 *
 * A change makes before it breaks: the old link delivers until the new one is open, and `Position` drops what both bring.
 * With `auto` a transport that fails or stays silent gives way to the next one, and a better one is tried again later,
 * behind the running link.
 */
import { backoff } from './backoff.js';
import { Liveness } from './liveness.js';
import { openPoll } from './transports/poll.js';
import { openSse } from './transports/sse.js';
import { openWebSocket } from './transports/websocket.js';

/** @typedef {import('./index.js').TransportName} TransportName */
/** @typedef {import('./index.js').Status} Status */
/** @typedef {{reason: string, code?: string, status?: number, retryAfter?: number, final?: boolean}} Down */
/** @typedef {{close(): void, update(): void, send?(message: any): void, ping?(): void, refresh?(): Promise<void>}} Link */
/**
 * What a transport is given: `wants` names what to follow with its interval in ms, `since` the cursor to go on from.
 * @typedef {{http: import('./http.js').Http, options: import('./index.js').Options, name: TransportName,
 *   wants: () => Map<string, number>, since: () => string | null}} Context
 */
/**
 * Starts at once, and says: `alive`; `open {quiet, dead}` once it works; `start {cursor}` where it begins without a cursor;
 * `state`, `event`, `gap`, `cursor`, `denied`, `latency`, `expiring`, answers; and at last one `down`. Never reconnects.
 * @typedef {(context: Context, say: (message: any) => void) => Link} Open
 */
/**
 * @typedef {object} Attempt
 * @property {TransportName} name
 * @property {Link | null} link
 * @property {Liveness | null} life null until it is open
 * @property {any} timer bounds the opening
 */

/** @type {TransportName[]} */
const LADDER = ['websocket', 'sse', 'long-poll', 'poll'];
const OPEN = { websocket: openWebSocket, sse: openSse, 'long-poll': openPoll, poll: openPoll };

/** Time until the first message, longer after each round that failed; then the way counts as one that swallows. */
const OPEN_MS = 4_000;
const LONGEST_OPEN_MS = 12_000;
/** A link that showed life for less than this did not really work. */
const SHORTEST_GOOD_MS = 5_000;
/** When a better transport is tried again: twice as late each time. */
const BETTER_MS = 30_000;
const LONGEST_BETTER_MS = 600_000;
const WATCH_MS = 1_000;
/** Time to show life after the network changed. */
const GRACE_MS = 5_000;
const REMEMBERED_MS = 86_400_000;

export class Connection {
  #context;
  #options;
  #http;
  #tell;
  #key;
  /** @type {TransportName | 'auto'} */
  #choice;
  /** @type {Attempt | null} */
  #active = null;
  /** @type {Attempt | null} */
  #opening = null;
  #failures = 0;
  #refusals = 0;
  #betterTries = 0;
  #stale = false;
  #ended = false;
  /** @type {any} */
  #watcher;
  /** @type {any} */
  #retryTimer;
  /** @type {any} */
  #betterTimer;
  /** @type {TransportName} */
  #next = LADDER[0];
  /** @type {Omit<Status, 'cursor' | 'state' | 'since'>} */
  #seen = { transport: null, latency: null, nextTryAt: null, reason: null };

  /**
   * @param {Omit<Context, 'name'>} context
   * @param {(message: any) => void} tell what links say, and `status` after a change
   */
  constructor(context, tell) {
    this.#context = context;
    this.#options = context.options;
    this.#http = context.http;
    this.#tell = tell;
    this.#choice = context.options.transport ?? 'auto';
    this.#key = `tricast ${context.http.base}`;
  }

  /** @returns {Pick<Status, 'state' | 'transport' | 'latency' | 'nextTryAt' | 'reason'> & {life?: number}} */
  get status() {
    const attempt = this.#active ?? this.#opening;
    const state = this.#active
      ? this.#stale ? 'stale' : 'live'
      : this.#opening ? 'connecting' : this.#ended ? 'ended' : 'offline';
    return { ...this.#seen, state, transport: attempt?.name ?? null, life: this.#active?.life?.last };
  }

  /** Begins, also after `stop`. */
  start() {
    this.#ended = false;
    clearInterval(this.#watcher);
    this.#watcher = setInterval(() => this.#watch(), WATCH_MS);
    this.#next = this.#first();
    if (!this.#active && !this.#opening) this.#begin(this.#next);
  }

  /** Lets go of everything. @param {string | null} reason */
  stop(reason) {
    clearInterval(this.#watcher);
    clearTimeout(this.#betterTimer);
    clearTimeout(this.#retryTimer);
    this.#drop(this.#opening);
    this.#drop(this.#active);
    this.#report({ reason, nextTryAt: null, latency: null });
  }

  /** @param {TransportName | 'auto'} choice */
  use(choice) {
    this.#choice = choice;
    this.#failures = this.#betterTries = 0;
    this.#ended = false;
    clearTimeout(this.#betterTimer);
    this.#next = choice === 'auto' ? LADDER[0] : choice;
    this.#drop(this.#opening);
    if (this.#active?.name !== this.#next) this.#begin(this.#next);
    this.#report({});
  }

  /** Tries at once; does nothing while a link is up. */
  retry() {
    this.#ended = false;
    if (!this.#active && !this.#opening) this.#begin(this.#next);
  }

  /** The network changed: the link may be dead without knowing. */
  check() {
    this.#betterTries = 0;
    if (!this.#active) return this.retry();
    this.#active.life?.expect(Date.now() + GRACE_MS);
    if (this.#active.link?.ping) this.#active.link.ping();
    else if (!this.#opening) this.#begin(this.#active.name);
  }

  /** Something else is wanted. */
  update() {
    (this.#active ?? this.#opening)?.link?.update();
  }

  /** Opens a new link behind the running one, from what `since` says then. */
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
      queueMicrotask(() => this.#down(attempt, { reason: String(error) })); // no such transport here
    }
    this.#report({ nextTryAt: null });
  }

  /**
   * @param {Attempt} attempt
   * @param {any} message
   */
  #hear(attempt, message) {
    if (message.type === 'down') return this.#down(attempt, message);
    if (message.type === 'open') return attempt === this.#opening && this.#opened(attempt, message);
    if (attempt === this.#opening && message.type === 'start') return this.#tell(message);
    if (message.type === 'again') return this.again();
    if (attempt !== this.#active) return;
    if (message.type === 'alive') {
      attempt.life?.beat(Date.now());
      if (this.#stale) this.#watch();
    } else if (message.type === 'latency') this.#report({ latency: message.ms });
    else if (message.type === 'expiring') this.#renew(attempt);
    else this.#tell(message);
  }

  /**
   * @param {Attempt} attempt
   * @param {{quiet: number, dead: number}} pace
   */
  #opened(attempt, pace) {
    clearTimeout(attempt.timer);
    attempt.life = new Liveness(pace, Date.now());
    this.#opening = null;
    this.#drop(this.#active);
    this.#active = attempt;
    this.#stale = false;
    this.#refusals = 0;
    this.#remember(attempt.name);
    this.#planBetter();
    this.#tell({ type: 'open' });
    this.#report({ reason: null, latency: null });
  }

  /**
   * @param {Attempt} attempt
   * @param {Down} down
   */
  #down(attempt, { reason, code, status, retryAfter, final }) {
    const { name, life } = attempt;
    const wasActive = attempt === this.#active;
    if (!wasActive && attempt !== this.#opening) return;
    this.#drop(attempt);
    // A look at a better one has failed.
    if (!wasActive && this.#active && this.#active.name !== name) return this.#planBetter();
    this.#drop(this.#active);
    clearTimeout(this.#betterTimer);
    const unauthorized = status === 401 || code === 'UNAUTHORIZED';
    if (unauthorized && !final && this.#http.token.renew(true) && ++this.#refusals < 3) return this.#begin(name);
    const auto = this.#choice === 'auto';
    const last = name === LADDER[3] || !auto;
    if (final || unauthorized || (last && status && status < 429)) {
      this.#ended = true;
      return this.#report({ reason, nextTryAt: null, latency: null });
    }
    const worked = life !== null && life.last - life.opened >= SHORTEST_GOOD_MS;
    if (worked) this.#failures = 0;
    const once = life !== null && this.#failures === 0; // anything may break once
    if (!worked && !once && !last && retryAfter === undefined) return this.#begin(LADDER[LADDER.indexOf(name) + 1]);
    this.#next = worked || once || !auto ? name : this.#first();
    this.#failures += 1;
    const wait = (retryAfter ?? 0) + backoff(retryAfter === undefined ? this.#failures : 1);
    this.#retryTimer = setTimeout(() => this.#begin(this.#next), wait);
    this.#report({ reason, nextTryAt: Date.now() + wait, latency: null });
  }

  /** The token runs out: a new one, without a break. @param {Attempt} attempt */
  #renew(attempt) {
    if (!this.#http.token.renew(false)) return;
    if (attempt.link?.refresh) attempt.link.refresh().catch(() => {});
    else this.#begin(attempt.name);
  }

  #planBetter() {
    clearTimeout(this.#betterTimer);
    const rung = LADDER.indexOf(this.#active?.name ?? LADDER[0]);
    if (this.#choice !== 'auto' || rung === 0) return;
    const wait = Math.min(LONGEST_BETTER_MS, BETTER_MS * 2 ** this.#betterTries);
    this.#betterTimer = setTimeout(() => this.#begin(LADDER[this.#betterTries++ % rung]), wait);
  }

  #watch() {
    const life = this.#active?.life;
    if (!life || !this.#active) return;
    const now = Date.now();
    if (life.isDead(now)) return this.#down(this.#active, { reason: 'went silent' });
    if (life.isStale(now) === this.#stale) return;
    this.#stale = !this.#stale;
    this.#report({});
  }

  /** The rung to begin with: what worked here, or the best. @returns {TransportName} */
  #first() {
    if (this.#choice !== 'auto') return this.#choice;
    try {
      const [name, until] = JSON.parse(this.#options.storage?.getItem(this.#key) ?? '[]');
      if (until > Date.now() && name in OPEN) return name;
    } catch {} // not ours
    return LADDER[0];
  }

  /** @param {TransportName} name */
  #remember(name) {
    if (this.#choice !== 'auto') return;
    try {
      if (name === LADDER[0]) this.#options.storage?.removeItem(this.#key);
      else this.#options.storage?.setItem(this.#key, JSON.stringify([name, Date.now() + REMEMBERED_MS]));
    } catch {} // full, or forbidden
  }

  /** @param {Attempt | null} attempt */
  #drop(attempt) {
    if (!attempt) return;
    clearTimeout(attempt.timer);
    if (attempt === this.#active) this.#active = null;
    if (attempt === this.#opening) this.#opening = null;
    attempt.link?.close();
  }

  /** @param {Partial<Status>} seen */
  #report(seen) {
    Object.assign(this.#seen, seen);
    this.#tell({ type: 'status', status: this.status });
  }
}
