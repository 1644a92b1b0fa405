// @ts-check
/** Bounded queue of requests, which are sent over an open WebSocket, or as the equivalent call over HTTP. */
import { TricastError, refusal } from './http.js';

const TIMEOUT_MS = 15_000;
/** Most requests in flight, so that a long queue does not exceed the rate limit. */
const IN_FLIGHT = 8;
const AGAIN_MS = 1_000;

/** @typedef {{action: string, params: any, id: string, done: (error: TricastError | null, data?: any) => void}} Waiting */

/** Equivalent HTTP calls: method, path, query or body. @type {Record<string, (params: any) => [string, string, any?]>} */
const CALLS = {
  // Internal request for backfill, always over HTTP.
  '': (query) => ['GET', 'api/metrics', query],
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
  /** Requests in flight by their last id. @type {Map<string, Waiting>} */
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
      /** @type {Waiting} */
      const request = {
        action,
        params,
        id: '',
        done: (error, data) => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', aborted);
          this.#waiting.delete(request);
          this.#flying.delete(request.id);
          if (error) reject(error);
          else resolve(data);
          this.#flush();
        },
      };
      /** @param {string} code */
      const fail = (code) => request.done(new TricastError(code));
      const aborted = () => fail('ABORTED');
      const timer = setTimeout(fail, timeout, 'TIMEOUT');
      if (signal?.aborted) return aborted();
      if (this.#waiting.size >= this.#most) return fail('QUEUE_FULL');
      signal?.addEventListener('abort', aborted);
      this.#waiting.add(request);
      this.#flush();
    });
  }

  /** Sets whether there is a connection. After a reconnect, requests in flight are repeated. @param {boolean} open */
  set open(open) {
    if (this.#open === open) return;
    this.#open = open;
    this.#waiting = new Set([...this.#flying.values(), ...this.#waiting]);
    this.#flying.clear();
    this.#flush();
  }

  /** Handles a `response` or `error` of either transport. @param {any} message */
  answer({ requestId, type, data, code, message, details }) {
    const request = this.#flying.get(requestId);
    if (type === 'response') request?.done(null, data);
    else if (code !== 'RATE_LIMITED') request?.done(new TricastError(code, message));
    else setTimeout(() => this.#again(requestId), details?.retryAfter ?? AGAIN_MS);
  }

  /** @param {string} code */
  fail(code) {
    for (const request of [...this.#flying.values(), ...this.#waiting]) request.done(new TricastError(code));
  }

  #flush() {
    for (const request of this.#waiting) {
      if (!this.#open || this.#flying.size >= IN_FLIGHT) return;
      const { action, params } = request;
      const requestId = (request.id = `q${++this.#count}`);
      this.#waiting.delete(request);
      this.#flying.set(requestId, request);
      if (!action || !this.#send({ type: 'request', requestId, action, params })) this.#call(request);
    }
  }

  /** @param {string} id */
  #again(id) {
    const request = this.#flying.get(id);
    if (!request) return;
    this.#flying.delete(id);
    this.#waiting.add(request);
    this.#flush();
  }

  /** @param {Waiting} request */
  async #call({ action, params, id: requestId }) {
    const [method, path, input] = CALLS[action]?.(params) ?? [];
    if (!path) return this.answer({ requestId, code: 'INVALID_MESSAGE', message: `${action} needs a WebSocket` });
    const body = method === 'PATCH' ? JSON.stringify(input) : undefined;
    const headers = { Accept: 'application/json', 'Content-Type': 'application/json' };
    try {
      const response = await this.#http.ask(this.#http.address(path, body ? {} : input), { method, headers, body });
      if (response.ok) return this.answer({ requestId, type: 'response', data: await response.json() });
      const { reason: message, code = 'SERVER_ERROR', retryAfter } = await refusal(response);
      this.answer({
        requestId,
        message,
        code: action && retryAfter !== undefined ? 'RATE_LIMITED' : code,
        details: { retryAfter },
      });
    } catch {
      setTimeout(() => this.#again(requestId), AGAIN_MS);
    }
  }
}
