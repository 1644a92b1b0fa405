// @ts-check
/** Tests whether the server is reachable, and how requests arrive there. */

import { PATIENCE_MS, ask, described } from './ask.js';
import { spoken } from './report.js';

/** @typedef {import('./report.js').Check} Check */
/** @typedef {Record<string, any>} Json */

/** Largest body to try, in bytes; defaults of proxies are smaller. */
const MAX_BODY = 8 << 20;

/** Sizes to try if the largest was refused, in bytes. */
const SMALLER = [1 << 19, 1 << 16, 1 << 13, 1 << 9];

/** @returns {Promise<{check: Check, proxy: string | null}>} `proxy`: name that it sends; the server itself sends none */
export async function checkServer() {
  const at = { id: 'reach', name: 'Server' };
  try {
    const answer = await ask('healthz');
    const proxy = answer.headers.get('via') ?? answer.headers.get('server');
    const by = proxy === null ? '' : `, by ${proxy}`;
    const version = answer.json?.version;
    if (answer.status === 200 && typeof version === 'string') {
      return { check: { ...at, verdict: 'ok', headline: `tricast ${version}, responds in ${spoken(answer.took)}` }, proxy };
    }
    const headline = answer.status === 200 ? `another server responds${by}` : `returns ${described(answer)}${by}`;
    return { check: { ...at, verdict: 'fail', headline }, proxy };
  } catch (error) {
    const detail = `${/** @type {Error} */ (error).message}.`;
    return { check: { ...at, verdict: 'fail', headline: "can't be reached", detail }, proxy: null };
  }
}

/**
 * @param {Json | null} seen response of `api/doctor`
 * @param {string | null} proxy
 * @returns {Check}
 */
export function checkAddress(seen, proxy) {
  const at = { id: 'address', name: 'Address' };
  const shared = "All clients behind it count as one, and share one address's limits.";
  if (seen === null) return { ...at, verdict: 'skipped', headline: 'not known' };
  const is = seen.address ? `seen as ${seen.address}` : '';
  if (seen.forwarded === 'believed') return { ...at, verdict: 'ok', headline: is || 'sent by the proxy' };
  if (seen.forwarded === 'ignored') {
    return { ...at, verdict: 'warn', headline: 'sent by a proxy that the server does not trust', detail: shared, remedies: ['trusted'] };
  }
  const local = ['localhost', '[::1]'].includes(location.hostname) || location.hostname.startsWith('127.');
  if (proxy !== null || (seen.range === 'loopback' && !local)) {
    return { ...at, verdict: 'warn', headline: 'not forwarded by the proxy', detail: shared, remedies: ['forwarded'] };
  }
  return { ...at, verdict: 'ok', headline: is || 'taken from the connection; no trusted proxy' };
}

/**
 * @param {Json | null} seen
 * @param {string | null} proxy
 * @returns {Check}
 */
export function checkProxy(seen, proxy) {
  const at = { id: 'proxy', name: 'Proxy' };
  if (seen === null) return { ...at, verdict: 'skipped', headline: 'not known' };
  const headline = `${proxy ?? 'none detected'}; HTTP/${seen.http} to the server`;
  const host = seen.host === location.host ? '' : `Host arrives as "${seen.host}".`;
  if (seen.http !== '1.0') return { ...at, verdict: 'ok', headline, detail: host };
  const detail = `HTTP/1.0 has no upgrade, and a new connection for each poll. ${host}`.trim();
  return { ...at, verdict: 'warn', headline, detail, remedies: ['version'] };
}

/**
 * Sends a body as large as the server accepts, and compares the number of bytes that arrived.
 * @param {Json | null} seen
 * @returns {Promise<Check>}
 */
export async function checkPush(seen) {
  const at = { id: 'push', name: 'Push' };
  if (seen === null) return { ...at, verdict: 'skipped', headline: 'not tested' };
  const most = seen.maxBody > 0 ? Math.min(seen.maxBody, MAX_BODY) : MAX_BODY;
  try {
    const answer = await post(most);
    if (answer.json?.bytes === most) return { ...at, verdict: 'ok', headline: `${size(most)} pass, in ${spoken(answer.took)}` };
    if (answer.status === 200) return { ...at, verdict: 'fail', headline: 'bodies are changed on the way' };
    if (answer.status === 403 && answer.problem !== null) {
      const detail = 'Host, or the scheme where TLS ends in front of the server, does not arrive as the browser used it.';
      return { ...at, verdict: 'fail', headline: 'rejected: the server treats this page as cross-origin; check public_url', detail, remedies: ['host'] };
    }
    if (answer.problem !== null) return { ...at, verdict: 'skipped', headline: 'not tested', detail: `The server returns ${described(answer)}.` };
    let passes = 'not even the smallest';
    for (const bytes of SMALLER.filter((bytes) => bytes < most)) {
      if ((await post(bytes)).json?.bytes !== bytes) continue;
      passes = size(bytes);
      break;
    }
    return {
      ...at,
      verdict: 'fail',
      headline: `bodies of ${size(most)} are refused by a proxy (${answer.status})`,
      detail: `The server takes ${size(most)}; ${passes} still pass.`,
      remedies: answer.status === 413 ? ['body'] : [],
    };
  } catch (error) {
    return { ...at, verdict: 'fail', headline: "bodies do not arrive", detail: `${/** @type {Error} */ (error).message}.` };
  }
}

const post = (/** @type {number} */ bytes) =>
  ask('api/doctor/echo', { method: 'POST', body: new Blob(['-'.repeat(bytes)]), patience: 3 * PATIENCE_MS });

/** Formats a number of bytes: `1 MiB`, `512 B`. */
function size(/** @type {number} */ bytes) {
  if (bytes % (1 << 20) === 0) return `${bytes >> 20} MiB`;
  return bytes >= 1 << 10 ? `${bytes >> 10} KiB` : `${bytes} B`;
}
