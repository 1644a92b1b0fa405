// @ts-check
/** Requests: a bounded queue, sent by WebSocket where one is open and by the same call over HTTP otherwise. */
import { TricastError } from './http.js';

const TIMEOUT_MS = 15_000;
/** At a time, so that a queue that was long does not become a flood. */
const IN_FLIGHT = 8;

/** @typedef {{action: string, params: any, id?: string, done: (error: TricastError | null, data?: any) => void}} Waiting */

/** The same over HTTP: method, path, query or body. @type {Record<string, (params: any) => [string, string, any?]>} */
const CALLS = {
  get_order_details: ({ orderId }) => ['GET', `api/orders/${encodeURIComponent(orderId)}`],
  mark_order_priority: ({ orderId, priority }) => ['PATCH', `api/orders/${encodeURIComponent(orderId)}`, { priority }],
  list_orders: (query) => ['GET', 'api/orders', query],
  get_snapshot: ({ channels = ['metrics'] }) => ['GET', 'api/metrics', { channels: channels.join() }],
  get_history: (query) => ['GET', 'api/history', query],
  list_channels: () => ['GET', 'api/channels'],
};

export class Requests {
  #http;
  #most;
  #send;
  #open = false;
  #count = 0;
  /** @type {Set<Waiting>} */
  #waiting = new Set();
  /** @type {Map<Waiting, AbortController>} */
  #flying = new Map();

  /**
   * @param {import('./http.js').Http} http
   * @param {number} most
   * @param {(message: any) => boolean} send false if there is no WebSocket
   */
  constructor(http, most, send) {
    this.#http = http;
    this.#most = most;
    this.#send = send;
  }

  /**
   * @param {string} action
   * @param {any} params
   * @param {import('./index.js').RequestOptions} options
   */
  add(action, params, { timeout = TIMEOUT_MS, signal }) {
    return new Promise((resolve, reject) => {
      /** @param {string} code */
      const stop = (code) => () => request.done(new TricastError(code));
      const timer = setTimeout(stop('TIMEOUT'), timeout);
      const aborted = stop('ABORTED');
      /** @type {Waiting} */
      const request = {
        action,
        params,
        done: (error, data) => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', aborted);
          this.#waiting.delete(request);
          this.#flying.get(request)?.abort();
          this.#flying.delete(request);
          if (error) reject(error);
          else resolve(data);
          this.#flush();
        },
      };
      if (signal?.aborted) return aborted();
      if (this.#waiting.size >= this.#most) return stop('QUEUE_FULL')();
      signal?.addEventListener('abort', aborted);
      this.#waiting.add(request);
      this.#flush();
    });
  }

  /** Whether there is a connection. What was on its way when it ended is asked again. @param {boolean} open */
  set open(open) {
    if (this.#open === open) return;
    this.#open = open;
    if (!open) {
      const again = [...this.#flying.keys()];
      this.#flying.forEach((flight) => flight.abort());
      this.#flying.clear();
      this.#waiting = new Set([...again, ...this.#waiting]);
    }
    this.#flush();
  }

  /** A `response` or `error` that came by WebSocket. @param {any} message */
  answer({ requestId, type, data, code, message, details }) {
    const request = [...this.#flying.keys()].find(({ id }) => id === requestId);
    if (!request) return;
    if (type === 'response') request.done(null, data);
    else if (code === 'RATE_LIMITED') this.#later(request, details?.retryAfter ?? 1000);
    else request.done(new TricastError(code, message));
  }

  /** @param {string} code */
  fail(code) {
    for (const request of [...this.#flying.keys(), ...this.#waiting]) request.done(new TricastError(code));
  }

  #flush() {
    for (const request of this.#waiting) {
      if (!this.#open || this.#flying.size >= IN_FLIGHT) return;
      this.#waiting.delete(request);
      const flight = new AbortController();
      this.#flying.set(request, flight);
      const { action, params } = request;
      request.id = `q${++this.#count}`;
      if (!this.#send({ type: 'request', requestId: request.id, action, params })) this.#call(request, flight.signal);
    }
  }

  /**
   * @param {Waiting} request
   * @param {AbortSignal} signal
   */
  async #call(request, signal) {
    const [method, path, input] = CALLS[request.action]?.(request.params) ?? [];
    if (!path) return request.done(new TricastError('INVALID_MESSAGE', `${request.action} needs a WebSocket`));
    try {
      const body = method === 'PATCH' ? JSON.stringify(input) : undefined;
      const headers = { Accept: 'application/json', ...(body && { 'Content-Type': 'application/json' }) };
      const response = await this.#http.ask(this.#http.address(path, body ? {} : input), { method, headers, body, signal });
      const data = await response.json();
      if (response.ok) request.done(null, data);
      else if (response.status === 429 || response.status === 503) {
        this.#later(request, 1000 * Number(response.headers.get('Retry-After') ?? 1));
      } else request.done(new TricastError(data.code, data.detail));
    } catch {
      if (!signal.aborted) this.#later(request, 1000);
    }
  }

  /**
   * @param {Waiting} request
   * @param {number} ms
   */
  #later(request, ms) {
    const flight = this.#flying.get(request);
    setTimeout(() => {
      if (!flight || this.#flying.get(request) !== flight) return;
      this.#flying.delete(request);
      this.#waiting.add(request);
      this.#flush();
    }, ms);
  }
}
