// @ts-check
/**
 * HTTP requests to the server. A refusal is thrown as {@link ApiError} with the text of the server's problem document, so
 * that the caller can show it.
 */

import { address } from './address.js';
import { now } from './time.js';

/** Timeout of a request; after it the server counts as unavailable. */
const PATIENCE_MS = 12_000;
/** Smaller clock differences are ignored: `Date` has whole seconds, and the response took time. */
const NO_SKEW_MS = 3_000;

/** Error response, or no response at all (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status of the response; 0 if there was none
   * @param {string} code of the problem document, e.g. `FORBIDDEN`; empty if unknown
   * @param {string} detail to show
   */
  constructor(status, code, detail) {
    super(detail);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
  }
}

/**
 * @typedef {object} RequestOptions
 * @property {string} [method] default `GET`
 * @property {unknown} [body] sent as JSON
 * @property {string | null} [ifMatch] tag that the resource must still have
 * @property {Record<string, string | readonly string[] | null>} [query]
 */

/** @typedef {{data: any, etag: string | null, status: number}} RestResponse */

export class Rest {
  /** How far the server's clock is ahead of the page's, in ms. */
  skew = 0;
  /** @type {string | null} sent as bearer token if present; browsers send the cookie automatically */
  token = null;
  /** Called after a 401. */
  onUnauthorized = () => {};
  /** Called with every response: the server is reachable. */
  onResponse = () => {};

  /**
   * @param {string} path relative to the page, e.g. `api/orders`
   * @param {RequestOptions} [options]
   * @returns {Promise<RestResponse>} `data` is null for a response without a body
   * @throws {ApiError}
   */
  async request(path, { method = 'GET', body, ifMatch = null, query = {} } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'application/json' };
    if (this.token !== null) headers.Authorization = `Bearer ${this.token}`;
    if (ifMatch !== null) headers['If-Match'] = ifMatch;
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    const response = await fetch(address(path, query), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
      cache: 'no-store',
    }).catch(() => null);
    if (response === null) throw new ApiError(0, '', 'The server isn’t responding.');
    if (response.status < 500) this.onResponse(); // a 5xx may come from a proxy
    this.#compare(response.headers.get('Date'));
    const data = await response.json().catch(() => null);
    if (response.ok) return { data, etag: response.headers.get('ETag'), status: response.status };
    if (response.status === 401) this.onUnauthorized();
    throw new ApiError(response.status, String(data?.code ?? ''), String(data?.detail ?? `The server responded with status ${response.status}.`));
  }

  /** @param {string | null} date of a response that just arrived, in whole seconds */
  #compare(date) {
    const ahead = Date.parse(date ?? '') + 500 - now();
    if (!Number.isNaN(ahead)) this.skew = Math.abs(ahead) < NO_SKEW_MS ? 0 : ahead;
  }
}
