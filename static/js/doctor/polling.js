// @ts-check
/** Tests polls: entity tags in both directions, caches in between, and long polls. */

import { PATIENCE_MS, ask, described } from './ask.js';
import { spoken } from './report.js';

/** @typedef {import('./report.js').Check} Check */
/** @typedef {import('./ask.js').Answer} Answer */

/** Attempts, because the snapshot may change between two polls. */
const ATTEMPTS = 6;

const CACHES = ['x-cache', 'x-cache-status', 'x-proxy-cache', 'cf-cache-status'];

/**
 * @param {{token: string}} how
 * @returns {Promise<Check>}
 */
export async function checkPolling({ token }) {
  const at = { id: 'polling', name: 'Polling' };
  try {
    let first = await ask('api/metrics', { token });
    const refused = refusal(first, token);
    if (refused !== null) return { ...at, ...refused };
    const evidence = cacheEvidence(first);
    if (evidence !== null) return { ...at, verdict: 'fail', headline: 'responses are cached on the way', detail: evidence, remedies: ['caching'] };
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const tag = first.headers.get('etag');
      if (tag === null) {
        const detail = 'Each poll transfers the whole response, and long polls by tag do not work.';
        return { ...at, verdict: 'fail', headline: 'ETag is removed on the way', detail, remedies: ['tags'] };
      }
      const second = await ask('api/metrics', { token, headers: { 'If-None-Match': tag } });
      if (second.status === 304) return { ...at, verdict: 'ok', headline: `works, ${spoken(second.took)}` };
      if (second.headers.get('etag') === tag) {
        const detail = 'The same response was sent again instead of a 304.';
        return { ...at, verdict: 'fail', headline: 'If-None-Match is removed on the way', detail, remedies: ['request_headers'] };
      }
      first = second;
    }
    const detail = 'Values change faster than the polls, or something changes the bodies on the way.';
    return { ...at, verdict: 'warn', headline: 'each response has a different tag', detail };
  } catch (error) {
    return { ...at, verdict: 'fail', headline: 'does not work', detail: `${/** @type {Error} */ (error).message}.` };
  }
}

/**
 * Returns the result of a check whose poll was refused; null if it was not.
 * @param {Answer} answer
 * @param {string} token
 * @returns {Pick<Check, 'verdict' | 'headline' | 'detail' | 'remedies'> | null}
 */
function refusal(answer, token) {
  const { status, problem } = answer;
  if (status === 200) return null;
  if ([401, 403].includes(status) && problem !== null) {
    return token === ''
      ? { verdict: 'skipped', headline: 'not tested: a token is needed', detail: 'Enter a token above.' }
      : { verdict: 'skipped', headline: 'not tested: the token was refused', detail: `The server returns ${described(answer)}.` };
  }
  if (status === 404 && problem === null) return { verdict: 'fail', headline: '404: the path is not forwarded', remedies: ['passed'] };
  return { verdict: 'fail', headline: `returned ${described(answer)}` };
}

/**
 * Returns the evidence that a cache stores responses; null if there is none.
 * @param {Answer} answer
 */
function cacheEvidence({ headers }) {
  if ((headers.get('age') ?? '0') !== '0') return 'The response came from a cache (Age).';
  const cache = CACHES.find((name) => headers.get(name)?.toUpperCase().includes('HIT'));
  if (cache !== undefined) return `The response came from a cache (${cache}).`;
  const header = headers.get('cache-control') ?? '';
  if (/no-cache|no-store/.test(header) && !/max-age=/.test(header)) return null;
  return `The server sends Cache-Control: no-cache; the received header is ${header === '' ? 'nothing' : `"${header}"`}.`;
}

/**
 * Waits for changes of a channel with few events.
 * @param {{token: string, waitSeconds: number}} how
 * @returns {Promise<Check>}
 */
export async function checkLongPoll({ token, waitSeconds }) {
  const at = { id: 'long_poll', name: 'Long poll' };
  const began = performance.now();
  let asked = began;
  try {
    const first = await ask('api/metrics', { token, query: { channels: 'system' } });
    const refused = refusal(first, token);
    if (refused !== null) return { ...at, ...refused };
    const cursor = first.json?.cursor;
    if (typeof cursor !== 'string') return { ...at, verdict: 'skipped', headline: 'not tested', detail: 'The response to a poll had no cursor.' };
    const query = { channels: 'system', since: cursor };
    asked = performance.now();
    const held = await ask('api/metrics', {
      token, query, headers: { Prefer: `wait=${waitSeconds}` }, patience: waitSeconds * 1000 + PATIENCE_MS,
    });
    if ([504, 502, 408, 524].includes(held.status)) {
      const detail = `A poll was to be held for ${waitSeconds} s.`;
      return { ...at, verdict: 'fail', headline: `cut after ${spoken(held.took)} (${held.status})`, detail, remedies: ['poll_timeout'] };
    }
    if (![200, 304].includes(held.status)) return { ...at, verdict: 'fail', headline: `returned ${described(held)}` };
    if (held.headers.has('preference-applied')) return { ...at, verdict: 'ok', headline: `works, held for ${spoken(held.took)}` };
    const again = await ask('api/metrics', { token, query: { ...query, wait: '1' } });
    const byQuery = again.took >= 900;
    return {
      ...at,
      verdict: byQuery ? 'warn' : 'fail',
      headline: 'Prefer is removed on the way',
      detail: byQuery ? '?wait= does the same, and works.' : '?wait= does not help.',
      remedies: ['request_headers'],
    };
  } catch (error) {
    const after = spoken(performance.now() - asked);
    const detail = `${/** @type {Error} */ (error).message}.`;
    return { ...at, verdict: 'fail', headline: `cut after ${after}`, detail, remedies: ['poll_timeout'] };
  }
}
