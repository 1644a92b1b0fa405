// @ts-check
/**
 * How the numbers arrive: state, transport, round trip, position. The state is also announced, politely and only when it
 * has settled, so that a retry every few seconds is not read out each time.
 */

import { byId, setText } from './dom.js';
import { NOTHING, span } from './format.js';
import { transportNamed } from './transport/index.js';

/** @typedef {import('./connection.js').Status} Status */

const NAMES = { connecting: 'Connecting', live: 'Live', stale: 'Stale', offline: 'Offline' };
const SETTLED_MS = 700;

export class Badge {
  #root = byId('badge');
  #state = byId('badge-state');
  #detail = byId('badge-detail');
  #transport = byId('badge-transport');
  #latency = byId('badge-latency');
  #cursor = byId('badge-cursor');
  #retry = byId('badge-retry');
  #announcer = byId('announcer');
  #next = '';
  #timer = 0;

  /** @param {() => void} retryNow */
  constructor(retryNow) {
    this.#retry.addEventListener('click', retryNow);
  }

  /**
   * @param {Status} status
   * @param {number} now
   */
  draw(status, now) {
    this.#root.dataset.state = status.state;
    setText(this.#state, NAMES[status.state]);
    setText(this.#detail, detail(status, now));
    setText(this.#transport, transportNamed(status.transport ?? '')?.label ?? NOTHING);
    setText(this.#latency, status.latencyMs === null ? NOTHING : latency(status.latencyMs));
    setText(this.#cursor, status.cursor ?? NOTHING);
    this.#retry.hidden = status.state !== 'offline';
  }

  /** @param {Status} status */
  announce(status) {
    if (status.state === 'connecting') return;
    const text = sentence(status);
    if (text === this.#next) return;
    this.#next = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => setText(this.#announcer, text), SETTLED_MS);
  }
}

/**
 * @param {Status} status
 * @param {number} now
 */
function detail(status, now) {
  if (status.state === 'stale' && status.aliveAt !== null) return `${span((now - status.aliveAt) / 1000)} ago`;
  if (status.state !== 'offline') return '';
  const wait = status.retryAt === null ? '' : `next try in ${span(Math.ceil((status.retryAt - now) / 1000))}`;
  return [status.reason, wait].filter(Boolean).join(', ');
}

/** @param {number} ms */
function latency(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** @param {Status} status */
function sentence(status) {
  if (status.state === 'live') return `Live over ${transportNamed(status.transport ?? '')?.label}.`;
  if (status.state === 'stale') return 'No news from the server; values may be out of date.';
  return status.retryAt === null ? 'Offline.' : 'Offline. Trying to reconnect.';
}
