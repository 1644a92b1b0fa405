// @ts-check
/**
 * Polling, in two paces with one loop: a long poll is held by the server until something changes, a plain poll asks every
 * two seconds. Both say what they have (`since` and the last `ETag`), so an answer without news is a 304 without a body.
 *
 *     GET api/metrics?channels=metrics,orders&since=k3f9x2:10480&wait=20
 *     200 {"channels":{"metrics":{...}},"events":[{"channel":"orders","event":"order_created",...}],"cursor":"..."}
 */

import { address } from '../address.js';
import { textOrNull } from './contract.js';

const POLL_EVERY_MS = 2_000;

/** Below the 25 s that the server allows and the 60 s after which common proxies cut. */
const WAIT_S = 20;

/** A pause between two long polls, so that a fast channel does not turn into as many requests. */
const BREATH_MS = 200;

/** What a request may take beyond the time it is held. */
const ANSWER_MS = 8_000;

/** @type {import('./contract.js').Open} */
export function openLongPoll(request, listener) {
  const pace = { quietMs: WAIT_S * 1000 + 4_000, deadMs: WAIT_S * 1000 + ANSWER_MS + 4_000 };
  return open(request, listener, { wait: WAIT_S, everyMs: BREATH_MS, pace });
}

/** @type {import('./contract.js').Open} */
export function openPoll(request, listener) {
  const pace = { quietMs: 3 * POLL_EVERY_MS, deadMs: POLL_EVERY_MS + ANSWER_MS + 2_000 };
  return open(request, listener, { wait: 0, everyMs: POLL_EVERY_MS, pace });
}

/**
 * @param {import('./contract.js').Request} request
 * @param {import('./contract.js').Listener} listener
 * @param {{wait: number, everyMs: number, pace: import('./contract.js').Pace}} way
 * @returns {import('./contract.js').Link}
 */
function open({ channels, since }, listener, { wait, everyMs, pace }) {
  const stop = new AbortController();
  let cursor = since;
  /** @type {string | null} */
  let etag = null;
  let opened = false;

  /** One question and its answer; null when it went well. */
  const ask = async () => {
    // The first question of a link is never held: it shows at once whether the way is open, and how long it is.
    const held = wait > 0 && opened;
    const url = address('api/metrics', { channels: channels.join(','), since: cursor, wait: held ? String(wait) : null });
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout((held ? wait * 1000 : 0) + ANSWER_MS)]);
    const headers = /** @type {Record<string, string>} */ ({ Accept: 'application/json' });
    if (etag !== null) headers['If-None-Match'] = etag;

    const askedAt = performance.now();
    const response = await fetch(url, { headers, signal, cache: 'no-store' });
    if (response.status === 400 && cursor !== null) {
      cursor = null; // a cursor of another server: start afresh
      etag = null;
      return null;
    }
    if (response.status !== 304 && !response.ok) return refusal(response);
    const body = response.status === 304 ? null : await response.json();

    listener.onAlive();
    if (!opened) {
      opened = true;
      listener.onOpen(pace);
    }
    if (!held) listener.onLatency(performance.now() - askedAt);
    if (body !== null) {
      etag = response.headers.get('ETag');
      cursor = textOrNull(body.cursor) ?? cursor;
      deliver(body, listener);
    }
    return null;
  };

  const run = async () => {
    while (!stop.signal.aborted) {
      /** @type {import('./contract.js').Down | null} */
      const down = await ask().catch(() => ({ reason: 'no answer' }));
      if (stop.signal.aborted) return;
      if (down !== null) return listener.onDown(down);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  };
  void run();

  return { close: () => stop.abort() };
}

/**
 * @param {import('./contract.js').Json} body
 * @param {import('./contract.js').Listener} listener
 */
function deliver(body, listener) {
  const cursor = textOrNull(body.cursor);
  const timestamp = textOrNull(body.timestamp);
  if (body.gap === true) listener.onGap();
  for (const [channel, data] of Object.entries(body.channels ?? {})) {
    if (data !== null && typeof data === 'object' && !Array.isArray(data)) {
      listener.onSnapshot(channel, data, textOrNull(data.timestamp) ?? timestamp, cursor);
    }
  }
  for (const event of body.events ?? []) {
    listener.onEvent(event.channel, event.event, event.data ?? {}, textOrNull(event.timestamp), textOrNull(event.cursor));
  }
  if (cursor !== null) listener.onCursor(cursor);
}

/**
 * @param {Response} response
 * @returns {import('./contract.js').Down}
 */
function refusal(response) {
  const seconds = Number(response.headers.get('Retry-After') ?? NaN);
  return {
    reason: response.status === 401 ? 'sign-in needed' : `answer ${response.status}`,
    retryAfterMs: seconds > 0 ? seconds * 1000 : undefined,
    final: response.status === 401 || response.status === 403,
  };
}
