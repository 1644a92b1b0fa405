// @ts-check
/**
 * Questions and changes over plain HTTP. Refusals are thrown as {@link Refusal} with the words of the server's problem
 * document, so that whoever asked can show them.
 */

import { address } from './address.js';
import { now } from './time.js';

/** A server that does not answer within this time counts as away. */
const PATIENCE_MS = 12_000;
/** Clocks that are this close are the same: an answer's date is in seconds, and it was on its way. */
const NO_SKEW_MS = 3_000;

/** A refusal, or no answer at all (`status` 0). */
export class Refusal extends Error {
  /**
   * @param {number} status of the answer; 0 when there was none
   * @param {string} code of the problem document, e.g. `FORBIDDEN`; empty when unknown
   * @param {string} detail for a person
   */
  constructor(status, code, detail) {
    super(detail);
    this.name = 'Refusal';
    this.status = status;
    this.code = code;
  }
}

/**
 * @typedef {object} Question
 * @property {string} [method] default `GET`
 * @property {unknown} [body] sent as JSON
 * @property {string | null} [ifMatch] the tag that the thing must still have
 * @property {Record<string, string | readonly string[] | null>} [query]
 */

/** @typedef {{data: any, etag: string | null, status: number}} Answer */

export class Rest {
  /** How far the server's clock is ahead of ours, in ms: what it dates is shown on our own. */
  skew = 0;
  /** @type {string | null} sent as bearer when it is there; a cookie goes by itself */
  token = null;
  /** Called after a 401, once the answer is read. */
  onUnauthorized = () => {};
  /** Called with every answer, whatever it says: the server is there. */
  onAnswer = () => {};

  /**
   * @param {string} path relative to the page, e.g. `api/orders`
   * @param {Question} [question]
   * @returns {Promise<Answer>} `data` is null for an answer without a body
   * @throws {Refusal}
   */
  async ask(path, { method = 'GET', body, ifMatch = null, query = {} } = {}) {
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
    if (response === null) throw new Refusal(0, '', 'The server isn’t responding.');
    if (response.status < 500) this.onAnswer(); // else it may be a proxy's word
    this.#compare(response.headers.get('Date'));
    const data = await response.json().catch(() => null);
    if (response.ok) return { data, etag: response.headers.get('ETag'), status: response.status };
    if (response.status === 401) this.onUnauthorized();
    throw new Refusal(response.status, String(data?.code ?? ''), String(data?.detail ?? `The server answered ${response.status}.`));
  }

  /** @param {string | null} date of an answer that came just now, in whole seconds */
  #compare(date) {
    const ahead = Date.parse(date ?? '') + 500 - now();
    if (!Number.isNaN(ahead)) this.skew = Math.abs(ahead) < NO_SKEW_MS ? 0 : ahead;
  }
}
