// @ts-check
/** Tests WebSocket: the handshake, the round trip, and frames with each kind of length in both directions. */

import { socketAddress } from '../address.js';
import { ask, described } from './ask.js';
import { spoken } from './report.js';

/** @typedef {import('./report.js').Check} Check */
/** @typedef {Record<string, any>} Json */

/** Longest time for the response to one message. */
const ANSWER_MS = 5_000;

/** Number of measured round trips; the median counts. */
const ROUNDS = 5;

/** Sizes around the boundaries of the length encodings (RFC 6455, section 5.2), up to the server's default limit. */
const SIZES = [125, 126, 4_096, 65_535, 65_536];

/** WebSocket connection that queues messages until they are awaited. */
export class Talk {
  /** @type {Json[]} */
  #inbox = [];
  #wake = () => {};
  /** @type {{code: number, reason: string} | null} */
  closed = null;
  opened = false;

  constructor() {
    this.socket = new WebSocket(socketAddress('ws'), 'tricast.v1');
    this.socket.addEventListener('open', () => {
      this.opened = true;
      this.#wake();
    });
    this.socket.addEventListener('message', ({ data }) => {
      this.#inbox.push(JSON.parse(data));
      this.#wake();
    });
    this.socket.addEventListener('close', ({ code, reason }) => {
      this.closed = { code, reason };
      this.#wake();
    });
  }

  /** Resolves with the first matching message; null after a timeout or if the connection was closed. */
  async next(/** @type {(message: Json) => boolean} */ fits, patience = ANSWER_MS) {
    const deadline = performance.now() + patience;
    for (;;) {
      while (this.#inbox.length > 0) {
        const message = this.#inbox.shift();
        if (message !== undefined && fits(message)) return message;
      }
      if (this.closed !== null || performance.now() >= deadline) return null;
      await this.changed(deadline);
    }
  }

  /** Waits for the next event of the connection, or until `deadline`. */
  changed(/** @type {number} */ deadline) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, deadline - performance.now());
      this.#wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  /** Sends a message and waits for the response. */
  async ask(/** @type {Json} */ message) {
    this.socket.send(JSON.stringify(message));
    return this.next(({ requestId }) => requestId === message.requestId);
  }

  close() {
    this.socket.close(1000);
  }
}

/** Runs the check. @param {{token: string, host: string | undefined}} how `host`: as received by the server */
export async function checkWebSocket({ token, host }) {
  const talk = new Talk();
  try {
    const greeting = await talk.next(({ type }) => type === 'connected');
    if (!talk.opened) return await refused(token, host);
    if (greeting === null) return lost(talk, "The handshake passes, but the server's greeting does not arrive.");
    return await exchange(talk, token);
  } finally {
    talk.close();
  }
}

/**
 * @param {Talk} talk
 * @param {string} token
 */
async function exchange(talk, token) {
  if (token !== '') {
    const answer = await talk.ask({ type: 'authenticate', requestId: 'token', token });
    if (answer?.type === 'error' && answer.code === 'UNAUTHORIZED') {
      return check('skipped', 'not tested: the token was refused', { detail: `The server says: ${answer.message}.` });
    }
  }
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const began = performance.now();
    if ((await talk.ask({ type: 'ping', requestId: `round-${round}` })) === null) {
      return lost(talk, 'The greeting arrived, but a ping got no pong: one direction is blocked.');
    }
    rounds.push(performance.now() - began);
  }
  const roundTrip = rounds.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)];
  for (const size of SIZES) {
    const message = { type: 'ping', requestId: `size-${size}`, padding: '' };
    message.padding = '-'.repeat(size - JSON.stringify(message).length);
    if ((await talk.ask(message)) !== null) continue;
    // The server's limit is below the default, which is not a problem of the path.
    if (talk.closed?.code === 1009) return check('ok', `works, ${spoken(roundTrip)}`);
    return lost(talk, `A message of ${size} bytes got no reply; smaller ones did.`);
  }
  // Unknown channels, which the response lists. Without a token the request is refused, which is a response too.
  const channels = Array.from({ length: 90 }, (_, n) => `${'doctor.'.repeat(17)}${String(n).padStart(3, '0')}`);
  if ((await talk.ask({ type: 'subscribe', requestId: 'back', channels })) === null) {
    return lost(talk, 'A long response of the server did not arrive.');
  }
  return check('ok', `works, ${spoken(roundTrip)}`);
}

/**
 * Scripts can't see why a handshake failed. The server refuses a POST to the same path, and the refusal reveals what
 * arrived: 403 means that `Origin` does not match `Host`.
 * @param {string} token
 * @param {string | undefined} host
 */
async function refused(token, host) {
  const answer = await ask('ws', { method: 'POST', token }).catch(() => null);
  if (answer === null) return fail('does not work', { detail: 'The connection broke off.' });
  const { status, problem } = answer;
  if (status === 404 && problem === null) return fail('404: the path is not forwarded', { remedies: ['passed'] });
  if (problem === null) return fail(`refused by a proxy (${status})`);
  if (status === 403 || (host !== undefined && host !== location.host)) {
    return fail('rejected: the server treats this page as cross-origin; check public_url', {
      detail: 'Host, or the scheme where TLS ends in front of the server, does not arrive as the browser used it.',
      remedies: ['host'],
    });
  }
  if ([405, 400].includes(status)) {
    return fail('the handshake arrives without Upgrade', {
      detail: 'A proxy passes the request on as an ordinary one.',
      remedies: ['upgrade'],
    });
  }
  return check('skipped', 'not tested', { detail: `The server returns ${described(answer)}.` });
}

/**
 * @param {Talk} talk
 * @param {string} detail
 */
function lost({ closed }, detail) {
  if (closed === null) return fail('frames do not arrive', { detail, remedies: ['inspection'] });
  if (closed.code === 1006) return fail('cut in the middle', { detail, remedies: ['inspection'] });
  return fail(`closed by the server (${closed.code} ${closed.reason})`, { detail });
}

/**
 * @param {import('./report.js').Verdict} verdict
 * @param {string} headline
 * @param {object} [more]
 * @returns {Check}
 */
function check(verdict, headline, more = {}) {
  return { id: 'websocket', name: 'WebSocket', verdict, headline, ...more };
}

const fail = (/** @type {string} */ headline, more = {}) => check('fail', headline, more);
