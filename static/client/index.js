// @ts-check
/** The public surface; what it promises is said in index.d.ts. */
import { Connection } from './connection.js';
import { Http, TricastError } from './http.js';
import { Position, isBefore, withoutStates } from './position.js';
import { Requests } from './requests.js';
import { Shared } from './shared.js';
import { Token } from './token.js';

export { TricastError };

/** @typedef {import('./index.js').Meta} Meta */
/**
 * @typedef {object} Subscription
 * @property {string} channel
 * @property {(value: any, meta: Meta) => void} handler
 * @property {import('./index.js').SubscribeOptions} options
 * @property {number} interval milliseconds
 * @property {string | null} from events up to here were before it
 * @property {Map<string, {at: number, timer?: any, value: any, meta: Meta}>} paced what each channel was last given
 */

const HIDDEN_MS = 10_000;
const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** @param {string | number} interval */
function milliseconds(interval) {
  const [, number, unit] = /^(\d+)(ms|s|m|h)?$/.exec(String(interval)) ?? [];
  if (!number) throw new TypeError(`not an interval: ${interval}`);
  return Number(number) * (UNITS[/** @type {keyof UNITS} */ (unit)] ?? 1);
}

/** @param {string} selector @param {string} channel */
const matches = (selector, channel) =>
  selector === channel || (selector.endsWith('.*') && channel.startsWith(selector.slice(0, -1)));

/** An error of the page's own is not ours to swallow, nor may it stop others. @param {() => void} call */
function outside(call) {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

class Tricast extends EventTarget {
  #http;
  #options;
  #position = new Position();
  /** @type {Set<Subscription>} */
  #subscriptions = new Set();
  /** @type {Map<string, {value: any, meta: Meta}>} */
  #states = new Map();
  #requests;
  #link;
  /** @type {any} */
  #status = { state: 'connecting', transport: null, latency: null, since: Date.now(), nextTryAt: null, reason: null, cursor: null };
  #scheduled = false;
  #closed = false;
  /** @type {any} */
  #hiding;
  #off = new AbortController();

  /**
   * @param {string | URL} url
   * @param {import('./index.js').Options} options
   */
  constructor(url, options) {
    super();
    this.#options = { storage: storage(), ...options };
    this.#http = new Http(url, options, new Token(options.token));
    this.#position.cursor = options.since ?? null;
    const context = {
      http: this.#http,
      options: this.#options,
      wants: () => this.#wanted(),
      since: () => this.#position.cursor,
    };
    const tabs = options.share !== false && globalThis.document && globalThis.navigator?.locks && globalThis.BroadcastChannel;
    this.#link = new (tabs ? Shared : Connection)(context, (/** @type {any} */ message) => this.#hear(message));
    this.#requests = new Requests(this.#http, options.queue ?? 100, (message) => this.#link.send(message));
    const { signal } = this.#off;
    globalThis.addEventListener?.('online', () => this.#link.check(), { signal });
    globalThis.addEventListener?.('offline', () => this.#link.check(), { signal });
    // A page that may come back with the back button keeps no connection.
    globalThis.addEventListener?.('pagehide', () => this.#link.stop('hidden'), { signal });
    globalThis.addEventListener?.('pageshow', (event) => event.persisted && this.#link.start(), { signal });
    if (options.pauseWhenHidden !== false) {
      globalThis.document?.addEventListener('visibilitychange', () => this.#visibility(), { signal });
    }
    // Subscriptions that are made right behind `connect` are in the first message.
    queueMicrotask(() => {
      if (!this.#closed) this.#link.start();
    });
  }

  get status() {
    return this.#status;
  }

  /** @param {string} channel @param {(value: any, meta: Meta) => void} handler @param {import('./index.js').SubscribeOptions} [options] */
  subscribe(channel, handler, options = {}) {
    if (!/^[\w.:-]{1,128}(\.\*)?$/.test(channel)) throw new TypeError(`not a channel: ${channel}`);
    const interval = milliseconds(options.interval ?? 0);
    /** @type {Subscription} */
    const subscription = { channel, handler, options, interval, from: this.#position.cursor, paced: new Map() };
    this.#subscriptions.add(subscription);
    // What came already, for the server gives each connection its values once.
    queueMicrotask(() => {
      for (const [name, { value, meta }] of this.#states) {
        if (matches(channel, name) && !subscription.paced.has(name)) this.#give(subscription, value, meta);
      }
    });
    if (options.backfill) this.#backfill(subscription);
    this.#schedule();
    return () => {
      if (!this.#subscriptions.delete(subscription)) return;
      for (const { timer } of subscription.paced.values()) clearTimeout(timer);
      for (const name of this.#states.keys()) {
        if (![...this.#subscriptions].some((other) => matches(other.channel, name))) this.#states.delete(name);
      }
      this.#schedule();
    };
  }

  /** @param {string} channel */
  latest(channel) {
    return this.#states.get(channel)?.value;
  }

  /** @param {(status: any) => void} listener */
  onStatus(listener) {
    const call = () => outside(() => listener(this.#status));
    this.addEventListener('status', call);
    call();
    return () => this.removeEventListener('status', call);
  }

  /** @param {string} action @param {any} [params] @param {import('./index.js').RequestOptions} [options] */
  request(action, params = {}, options = {}) {
    if (this.#closed) return Promise.reject(new TricastError('ENDED'));
    return this.#requests.add(action, params, options);
  }

  /** @param {import('./index.js').TransportName | 'auto'} transport */
  use(transport) {
    if (!this.#closed) this.#link.use(transport);
  }

  retry() {
    if (!this.#closed) this.#link.retry();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#off.abort();
    clearTimeout(this.#hiding);
    this.#requests.fail('ENDED');
    for (const { paced } of this.#subscriptions) for (const { timer } of paced.values()) clearTimeout(timer);
    this.#subscriptions.clear();
    this.#link.stop('closed');
    this.#show({ state: 'ended' });
  }

  /** What the server is asked for. Something always, so that the connection shows life. */
  #wanted() {
    /** @type {Map<string, number>} */
    const wants = new Map();
    for (const { channel, interval } of this.#subscriptions) {
      wants.set(channel, Math.min(interval, wants.get(channel) ?? Infinity));
    }
    return wants.size ? wants : new Map([['system', 0]]);
  }

  /** Many changes at once are one. */
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#link.update();
    });
  }

  /** @param {any} message */
  #hear(message) {
    if (this.#closed) return;
    const { type, channel, timestamp = null, cursor = null } = message;
    if (type === 'status') return this.#show(message.status);
    if (type === 'start') this.#position.cursor = withoutStates(cursor);
    else if (type === 'response' || type === 'error') this.#requests.answer(message);
    else if (type === 'denied') this.#of(message.name, ({ options }) => options.onError?.(new TricastError(message.code, message.message)));
    else if (type === 'gap') for (const { options } of this.#subscriptions) outside(() => options.onGap?.({ reason: message.reason ?? 'too_old' }));
    if (cursor && type !== 'start') this.#position.cursor = cursor;
    if (type === 'state') {
      const meta = { channel, timestamp, cursor };
      const value = message.data;
      const known = this.#states.get(channel);
      this.#states.set(channel, { value, meta });
      // A new link gives each value once more.
      if (known && known.meta.timestamp === timestamp && JSON.stringify(known.value) === JSON.stringify(value)) return;
      for (const subscription of this.#subscriptions) if (matches(subscription.channel, channel)) this.#give(subscription, value, meta);
    } else if (type === 'event' && this.#position.admits(channel, cursor)) {
      const meta = { channel, event: message.event, timestamp, cursor };
      for (const { channel: selector, handler, from } of this.#subscriptions) {
        if (matches(selector, channel) && !isOld(cursor, from)) outside(() => handler(message.data, meta));
      }
    }
  }

  /** @param {string} name @param {(subscription: Subscription) => void} call */
  #of(name, call) {
    for (const subscription of this.#subscriptions) if (subscription.channel === name) outside(() => call(subscription));
  }

  /** A value at its time: the newest wins. @param {Subscription} subscription @param {any} value @param {Meta} meta */
  #give(subscription, value, meta) {
    if (!this.#subscriptions.has(subscription)) return;
    const { paced, interval, handler } = subscription;
    const last = paced.get(meta.channel);
    const wait = last ? last.at + interval - Date.now() : 0;
    if (last && wait > 5) {
      Object.assign(last, { value, meta });
      last.timer ??= setTimeout(() => {
        last.timer = undefined;
        this.#give(subscription, last.value, last.meta);
      }, wait);
      return;
    }
    clearTimeout(last?.timer);
    paced.set(meta.channel, { at: Date.now(), value, meta });
    outside(() => handler(value, meta));
  }

  /** @param {Subscription} subscription */
  async #backfill({ channel, options }) {
    const { backfill, field, onHistory, onError } = options;
    try {
      const history = await this.request('get_history', { channel, field, from: `-${backfill}`, interval: 'auto' });
      outside(() => onHistory?.(history));
    } catch (error) {
      outside(() => onError?.(/** @type {TricastError} */ (error)));
    }
  }

  #visibility() {
    clearTimeout(this.#hiding);
    if (document.hidden) this.#hiding = setTimeout(() => this.#link.stop('hidden'), HIDDEN_MS);
    else this.#link.start();
  }

  /** @param {any} seen */
  #show({ life, ...seen }) {
    const before = this.#status;
    const status = { ...before, ...seen, cursor: this.#position.cursor };
    if (status.state !== before.state) status.since = status.state === 'stale' ? life : Date.now();
    this.#status = Object.freeze(status);
    const up = status.state === 'live' || status.state === 'stale';
    if (status.state === 'ended') this.#requests.fail('ENDED');
    this.#requests.open = up;
    this.dispatchEvent(new Event('status'));
  }
}

/** @param {string | null} cursor @param {string | null} from */
const isOld = (cursor, from) => Boolean(cursor && from && cursor.split(':')[0] === from.split(':')[0] && !isBefore(from, cursor));

/** Reading it may be forbidden, and then throws. */
function storage() {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}

/**
 * @param {string | URL} [url]
 * @param {import('./index.js').Options} [options]
 */
export const connect = (url = '/', options = {}) => new Tricast(url, options);
