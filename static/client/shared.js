// @ts-check
/**
 * One connection for all tabs of an origin: the tab that holds a Web Lock leads and runs it; the others receive messages over a
 * BroadcastChannel. There is no worker file, so it works under any content security policy.
 *
 *     follower -> want {wants, cursor, joined}   leader -> join {states, status}, then say {message} to all
 *
 * Each tab keeps its own cursor. When the leader closes, the next one resumes from its own cursor; a tab that is further behind
 * waits until a link from there is open, and the others drop duplicates.
 */
import { Connection } from './connection.js';
import { isBefore } from './position.js';
import { isLost, matches } from './subscription.js';

/** Interval of the followers' messages. A leader that does not respond to three of them counts as frozen. */
const WANT_MS = 5_000;
const SILENT_WANTS = 3;

export class Shared {
  #context;
  #emit;
  #connection;
  #choice;
  #id = crypto.randomUUID();
  #key = '';
  #leads = false;
  #joined = false;
  #unheard = 0;
  #off = new AbortController();
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** Subscriptions of other tabs. @type {Map<string, Map<string, number>>} */
  #members = new Map();
  /** Tabs that are behind, and their cursors. @type {Map<string, string>} */
  #behind = new Map();
  /** @type {Map<string, any>} */
  #states = new Map();

  /**
   * @param {Omit<import('./connection.js').Context, 'name'>} context
   * @param {(message: any) => void} emit
   */
  constructor(context, emit) {
    this.#context = context;
    this.#emit = emit;
    this.#choice = context.options.transport ?? 'auto';
    this.#connection = new Connection({ ...context, wants: () => this.#union(), since: () => this.#since() }, (message) =>
      this.#relay(message),
    );
  }

  /** Starts. A tab with a fixed transport does not share. */
  async start() {
    this.#leave();
    const { signal } = (this.#off = new AbortController());
    if (this.#choice !== 'auto') return this.#connection.start();
    const token = await this.#context.http.token.get().catch(() => null);
    if (signal.aborted) return;
    this.#key = `tricast ${this.#context.http.base} ${identity(token)}`;
    this.#channel = new BroadcastChannel(this.#key);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#hold(`${this.#key} ${this.#id}`, () => {});
    this.#elect();
    this.#want();
    const timer = setInterval(() => {
      if (this.#leads) return;
      if (++this.#unheard > SILENT_WANTS) this.#elect({ steal: true });
      this.#want();
    }, WANT_MS);
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  /** @param {string} reason */
  stop(reason) {
    this.#leave();
    this.#connection.stop(reason);
  }

  /** @param {import('./index.js').TransportName | 'auto'} choice */
  use(choice) {
    this.#choice = choice;
    this.#connection.use(choice);
    this.start();
  }

  /** @param {'retry' | 'check'} kind */
  #pass(kind) {
    if (this.#follows) this.#post({ kind });
    else this.#connection[kind]();
  }

  retry() {
    this.#pass('retry');
  }

  check() {
    this.#pass('check');
  }

  update() {
    if (this.#follows) return this.#want();
    this.#reorder();
    for (const state of this.#states.values()) this.#emit({ ...state, old: true });
  }

  /** @param {any} message */
  send(message) {
    return !this.#follows && this.#connection.send(message);
  }

  get #follows() {
    return this.#channel !== null && !this.#leads;
  }

  #leave() {
    this.#post({ kind: 'bye' });
    this.#channel?.close();
    this.#channel = null;
    this.#off.abort();
    this.#leads = this.#joined = false;
    this.#members.clear();
    this.#behind.clear();
  }

  /**
   * Holds a lock until this tab leaves.
   * @param {string} name
   * @param {() => void} held
   * @param {LockOptions} [options]
   */
  #hold(name, held, options) {
    const { signal } = this.#off;
    const left = new Promise((resolve) => signal.addEventListener('abort', resolve));
    const wait = options ?? { signal };
    return navigator.locks
      .request(name, wait, () => signal.aborted || (held(), left))
      .catch(() => {
        if (signal.aborted || !this.#leads) return;
        // Another tab took the lock because this one was frozen.
        this.#leads = false;
        this.#members.clear();
        this.#connection.stop(null);
        this.#elect();
        this.#want();
      });
  }

  /** @param {LockOptions} [options] */
  #elect(options) {
    const lead = () => {
      this.#leads = true;
      this.#joined = false;
      this.#post({ kind: 'lead' });
      this.#connection.start();
    };
    this.#hold(this.#key, lead, options);
  }

  #want() {
    const { wants, since } = this.#context;
    this.#post({ kind: 'want', wants: wants(), cursor: since(), joined: this.#joined });
  }

  /** @param {any} message */
  #post(message) {
    this.#channel?.postMessage({ ...message, from: this.#id });
  }

  /** @param {any} data */
  #receive({ kind, from, to, wants, cursor, joined, message, states, status }) {
    if (this.#leads) {
      if (kind === 'want') this.#admit(from, wants, cursor, joined);
      else if (kind === 'bye') this.#forget(from);
      else if (kind === 'retry' || kind === 'check') this.#connection[/** @type {'retry'} */ (kind)]();
      return;
    }
    if (to === this.#id) this.#unheard = 0;
    if (kind === 'lead') {
      this.#joined = false;
      this.#connection.stop(null);
      this.#want();
    } else if (kind === 'join' && to === this.#id) {
      if (!this.#joined) this.#connection.stop(null); // an own connection from before
      this.#joined = true;
      if (!this.#context.since()) this.#emit({ type: 'cursor', cursor });
      for (const state of states) this.#emit({ ...state, old: true });
      this.#emit({ type: 'status', status });
    } else if (kind === 'say' && (this.#joined || message.type === 'status')) this.#emit(message);
  }

  /**
   * @param {string} id
   * @param {Map<string, number>} wants
   * @param {string | null} cursor
   * @param {boolean} joined
   */
  #admit(id, wants, cursor, joined) {
    this.#post({ kind: 'here', to: id });
    const before = this.#members.get(id);
    // Granted when that tab closes or crashes.
    if (!before)
      navigator.locks
        .request(`${this.#key} ${id}`, { signal: this.#off.signal }, () => this.#forget(id))
        .catch(() => {});
    this.#members.set(id, wants);
    const changed = !before || String([...before]) !== String([...wants]);
    if (changed) this.#reorder();
    const mine = this.#context.since();
    if (!joined && cursor && (!mine || isBefore(cursor, mine))) {
      if (this.#behind.has(id)) return;
      this.#behind.set(id, cursor);
      this.#connection.again();
    } else if (changed || !joined) this.#join(id);
  }

  /** @param {string} id */
  #join(id) {
    this.#post({
      kind: 'join',
      to: id,
      cursor: this.#context.since(),
      states: [...this.#states.values()],
      status: this.#connection.status,
    });
  }

  /** @param {string} id */
  #forget(id) {
    this.#behind.delete(id);
    if (this.#members.delete(id)) this.#reorder();
  }

  /** Applies the changed union of all subscriptions. */
  #reorder() {
    const wanted = [...this.#union().keys()];
    for (const name of this.#states.keys())
      if (!wanted.some((selector) => matches(selector, name))) this.#states.delete(name);
    this.#connection.update();
  }

  /** Returns the cursor furthest behind. One of another log than this tab's comes first: from there the server sends a gap. */
  #since() {
    const mine = this.#context.since();
    let low = mine;
    for (const cursor of this.#behind.values())
      if (!low || (isBefore(cursor, low) && !(isBefore(low, mine) && isBefore(mine, low)))) low = cursor;
    return low;
  }

  #union() {
    const union = new Map(this.#context.wants());
    for (const wants of this.#members.values()) {
      for (const [name, interval] of wants) union.set(name, Math.min(interval, union.get(name) ?? Infinity));
    }
    return union;
  }

  /** Passes messages of the link to this tab and the others. @param {any} message */
  #relay(message) {
    const { type } = message;
    if (this.#follows && type === 'status') return;
    if (type === 'open') {
      for (const id of this.#behind.keys()) this.#join(id);
      this.#behind.clear();
    } else if (type === 'state') this.#states.set(message.channel, message);
    else if (type === 'gap') for (const name of this.#states.keys()) if (isLost(message, name)) this.#states.delete(name);
    if (this.#leads && type !== 'response' && type !== 'error') this.#post({ kind: 'say', message });
    this.#emit(message);
  }
}

/** Returns the identity of a token, because tabs of different users do not share: a JWT without its times, or the whole token. @param {string | null} token */
function identity(token) {
  try {
    const [, claims] = /** @type {string} */ (token).split('.');
    const { exp, iat, nbf, jti, ...rest } = JSON.parse(atob(claims.replace(/-/g, '+').replace(/_/g, '/')));
    return JSON.stringify(rest);
  } catch {
    return token ?? '';
  }
}
