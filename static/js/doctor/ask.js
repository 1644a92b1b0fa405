// @ts-check
/** Requests to the server, with the token if there is one. Distinguishes refusals of the server from those of a proxy. */

import { address } from '../address.js';

/** Longest time for a response that the server does not hold deliberately. */
export const PATIENCE_MS = 10_000;

/** @typedef {Record<string, any>} Json */
/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {Headers} headers
 * @property {Json | null} json
 * @property {string | null} problem detail of the server's own problem document; null if the response is not the server's
 * @property {number} took ms
 */

/**
 * Sends a request. Resolves with any status.
 * @param {string} path
 * @param {RequestInit & {token?: string, patience?: number, query?: Record<string, string>}} [how]
 * @returns {Promise<Answer>} rejects with an Error whose message is the reason for the missing response
 */
export async function ask(path, { patience = PATIENCE_MS, ...how } = {}) {
  const began = performance.now();
  const response = await send(path, { ...how, signal: AbortSignal.timeout(patience) });
  const text = await response.text().catch(explain);
  const json = parse(text);
  const own = (response.headers.get('content-type') ?? '').startsWith('application/problem+json');
  const problem = own && typeof json?.detail === 'string' ? json.detail : null;
  return { status: response.status, headers: response.headers, json, problem, took: performance.now() - began };
}

/**
 * @param {string} path
 * @param {RequestInit & {token?: string, query?: Record<string, string>}} how
 */
export function send(path, { token = '', query = {}, headers = {}, ...how }) {
  const all = new Headers(headers);
  if (token !== '') all.set('Authorization', `Bearer ${token}`);
  // Bypasses the browser's cache, which could respond instead of the server.
  return fetch(address(path, query), { cache: 'no-store', redirect: 'manual', ...how, headers: all }).catch(explain);
}

/** @returns {never} */
function explain(/** @type {any} */ error) {
  throw new Error(error?.name === 'TimeoutError' ? 'no answer in time' : 'the connection broke off');
}

/** @returns {Json | null} */
function parse(/** @type {string} */ text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

/** `404`, or `404 (there is nothing at this path)`. */
export const described = (/** @type {{status: number, problem: string | null}} */ { status, problem }) =>
  problem === null ? String(status) : `${status} (${problem})`;
