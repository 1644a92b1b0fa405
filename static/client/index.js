// @ts-check
/** Public interface, documented in index.d.ts. */
import { Connection } from './connection.js';
import { Http, TricastError } from './http.js';
import { Position, isBefore, withoutStates } from './position.js';
import { Requests } from './requests.js';
import { Shared } from './shared.js';
import { Subscription, isLost, outside } from './subscription.js';
import { Token } from './token.js';

export { TricastError };

const HIDDEN_MS = 10_000;
/** Time after a gap within which a channel that has not ended is sent again. */
const FRESH_MS = 3_000;

class Tricast extends EventTarget {
  #http;
  #position = new Position();
  /** @type {Set<Subscription>} */
  #subscriptions = new Set();
  /** @type {Map<string, {value: any, meta: import('./index.js').Meta}>} */
  #states = new Map();
  /** Channels that may have ended, since a gap. @type {Set<string>} */
  #doubtful = new Set();
  /** @type {any} */
  #checking;
  #requests;
  #link;
  /** @type {any} */
  #status = {
    state: 'connecting',
    transport: null,
    latency: null,
    since: Date.now(),
    nextTryAt: null,
    reason: null,
    cursor: null,
  };
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
    this.#http = new Http(url, options, new Token(options.token));
    this.#position.cursor = options.since ?? null;
    const context = {
      http: this.#http,
      options,
      wants: () => this.#wanted(),
      since: () => this.#position.cursor,
    };
    const { document, navigator, BroadcastChannel } = globalThis;
    const tabs = options.share !== false && document && navigator.locks && BroadcastChannel;
    this.#link = new (tabs ? Shared : Connection)(context, (/** @type {any} */ message) => this.#hear(message));
    this.#requests = new Requests(this.#http, options.queue ?? 100, (message) => this.#link.send(message));
    /** @param {any} target @param {string} name @param {(event: any) => void} call */
    const on = (target, name, call) => target?.addEventListener?.(name, call, { signal: this.#off.signal });
    on(globalThis, 'online', () => this.#link.check());
    on(globalThis, 'offline', () => this.#link.check());
    // A page in the back/forward cache keeps no connection.
    on(globalThis, 'pagehide', () => this.#link.stop('hidden'));
    on(globalThis, 'pageshow', ({ persisted }) => persisted && this.#link.start());
    on(options.pauseWhenHidden !== false && document, 'visibilitychange', () => {
      clearTimeout(this.#hiding);
      if (document.hidden) this.#hiding = setTimeout(() => this.#link.stop('hidden'), HIDDEN_MS);
      else this.#link.start();
    });
    // Subscriptions made right after `connect` are part of the first message.
    queueMicrotask(() => {
      if (!this.#closed) this.#link.start();
    });
  }

  get status() {
    return this.#status;
  }

  /**
   * @param {string} channel
   * @param {(value: any, meta: import('./index.js').Meta) => void} handler
   * @param {import('./index.js').SubscribeOptions} [options]
   */
  subscribe(channel, handler, options = {}) {
    if (this.#closed) throw new TricastError('ENDED', 'the connection was closed');
    const subscription = new Subscription(channel, handler, options, this.#position.cursor);
    this.#subscriptions.add(subscription);
    // Delivers known values, because the server sends them once per connection.
    queueMicrotask(() => {
      for (const [name, { value, meta }] of this.#states) {
        if (subscription.takes(name) && !subscription.has(name)) subscription.deliver(value, meta);
      }
    });
    if (options.backfill) this.#backfill(subscription);
    this.#schedule();
    return () => {
      subscription.end();
      if (!this.#subscriptions.delete(subscription)) return;
      for (const name of this.#states.keys()) if (!this.#takers(name).length) this.#states.delete(name);
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
    clearTimeout(this.#checking);
    this.#requests.fail('ENDED');
    for (const subscription of this.#subscriptions) subscription.end();
    this.#subscriptions.clear();
    this.#link.stop('closed');
    this.#show({ state: 'ended' });
  }

  /** Returns the union of all subscriptions with the shortest intervals. */
  #wanted() {
    /** @type {Map<string, number>} */
    const wants = new Map();
    for (const { channel, interval } of this.#subscriptions) {
      wants.set(channel, Math.min(interval, wants.get(channel) ?? Infinity));
    }
    return wants;
  }

  /** Combines changes of one task into one update. */
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#link.update();
    });
  }

  /** @param {string} channel */
  #takers(channel) {
    return [...this.#subscriptions].filter((subscription) => subscription.takes(channel));
  }

  /** @param {any} message */
  #hear(message) {
    if (this.#closed) return;
    const { type, channel, data, timestamp = null, cursor = null } = message;
    if (type === 'status') return this.#show(message.status);
    if (type === 'open') this.#check();
    if (type === 'start') this.#position.cursor = withoutStates(cursor);
    else if (cursor && !message.old) this.#position.cursor = cursor;
    if (type === 'state' && message.gone) this.#end(channel, { channel, timestamp, cursor, gone: message.gone });
    else if (type === 'state') {
      this.#doubtful.delete(channel);
      const takers = this.#takers(channel);
      const known = this.#states.get(channel);
      // A new link sends each value again; a change always differs.
      if (!takers.length || JSON.stringify(known?.value) === JSON.stringify(data)) return;
      const meta = { channel, timestamp, cursor };
      this.#states.set(channel, { value: data, meta });
      for (const subscription of takers) subscription.deliver(data, meta);
    } else if (type === 'event') {
      if (!this.#position.admits(channel, cursor, [message.event, data])) return;
      const meta = { channel, event: message.event, timestamp, cursor };
      for (const { handler, from } of this.#takers(channel)) {
        if (!from || !cursor || isBefore(from, cursor)) outside(() => handler(data, meta));
      }
    } else if (type === 'gap') {
      const gap = { reason: message.reason ?? 'too_old' };
      // Some of these channels may have ended. Those that have not are sent again.
      for (const name of this.#states.keys()) if (isLost(message, name)) this.#doubtful.add(name);
      this.#check();
      for (const { options } of this.#subscriptions) outside(() => options.onGap?.(gap));
    } else if (type === 'denied') {
      const error = new TricastError(message.code, message.message);
      for (const { channel, options } of this.#subscriptions)
        if (channel === message.name) outside(() => options.onError?.(error));
    } else if (type === 'response' || type === 'error') this.#requests.answer(message);
  }

  /** Ends the channels that were not sent again after a gap, once a link was open for long enough. */
  #check() {
    clearTimeout(this.#checking);
    this.#checking = setTimeout(() => {
      if (this.#status.state !== 'live') return;
      for (const channel of this.#doubtful) this.#end(channel, { channel, timestamp: null, cursor: null, gone: 'unknown' });
      this.#doubtful.clear();
    }, FRESH_MS);
  }

  /**
   * A channel has ended: there is no value any more.
   * @param {string} channel
   * @param {import('./index.js').Meta} meta
   */
  #end(channel, meta) {
    if (!this.#states.delete(channel)) return;
    for (const subscription of this.#takers(channel)) subscription.deliver(null, meta);
  }

  /**
   * Requests the history of a subscription. It ends before the values that the server has at that moment and names their
   * times: earlier values of the link are contained in it.
   * @param {Subscription} subscription
   */
  async #backfill(subscription) {
    const { channel, options } = subscription;
    /** @type {any} */
    let seam = {};
    try {
      // A cursor of no log, because a channel without a value may have a history.
      seam = await this.request('', { channels: channel, backfill: options.backfill, since: 'none:0' });
      for (const [channel, past] of Object.entries(seam.history)) outside(() => options.onHistory?.({ channel, ...past }));
    } catch (error) {
      outside(() => options.onError?.(/** @type {TricastError} */ (error)));
    }
    subscription.begin(({ channel, timestamp }) => (timestamp ?? '~') < (seam.history?.[channel]?.to ?? seam.timestamp));
  }

  /** Publishes the status. `life` is set while a link is up: the time of its last sign of life. @param {any} seen */
  #show({ life, ...seen }) {
    const before = this.#status;
    const position = this.#position;
    const status = { ...before, ...seen };
    Object.defineProperty(status, 'cursor', { enumerable: true, get: () => position.cursor });
    if (status.state !== before.state) status.since = status.state === 'stale' ? life : Date.now();
    this.#status = Object.freeze(status);
    if (status.state === 'ended') this.#requests.fail('ENDED');
    this.#requests.open = life !== undefined;
    this.dispatchEvent(new Event('status'));
  }
}

/**
 * @param {string | URL} [url]
 * @param {import('./index.js').Options} [options]
 */
export const connect = (url = '/', options = {}) => new Tricast(url, options);
