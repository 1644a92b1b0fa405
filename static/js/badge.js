// @ts-check
/** Connection badge: state, transport, round trip and cursor. Changes of the state are also announced. */

import { labelOf } from './transport-switch.js';
import { byId, setText } from './dom.js';
import { NOTHING, span } from './format.js';

/** @typedef {import('./subscriptions.js').Status} Status */

const NAMES = { connecting: 'Connecting', live: 'Live', stale: 'Stale', offline: 'Offline', ended: 'Ended' };

export class Badge {
  #root = byId('badge');
  #state = byId('badge-state');
  #brief = byId('badge-brief');
  #detail = byId('badge-detail');
  #transport = byId('badge-transport');
  #latency = byId('badge-latency');
  #cursor = byId('badge-cursor');
  #retry = byId('badge-retry');
  #announcer;
  #announced = '';

  /**
   * @param {import('./announcer.js').Announcer} announcer
   * @param {() => void} retryNow
   */
  constructor(announcer, retryNow) {
    this.#announcer = announcer;
    this.#retry.addEventListener('click', retryNow);
  }

  /**
   * @param {Status} status
   * @param {number} now
   */
  draw(status, now) {
    this.#root.dataset.state = status.state;
    const label = labelOf(status.transport) ?? NOTHING;
    const round = status.latency === null ? NOTHING : latency(status.latency);
    const more = detail(status, now);
    setText(this.#state, NAMES[status.state]);
    setText(this.#brief, status.state === 'live' ? (round === NOTHING ? label : `${label} · ${round}`) : more);
    setText(this.#detail, more);
    setText(this.#transport, label);
    setText(this.#latency, round);
    setText(this.#cursor, status.cursor ?? NOTHING);
    const idle = status.state === 'offline' || status.state === 'ended';
    // Hiding a focused button would move the focus to the top of the page.
    if (!idle && document.activeElement === this.#retry) this.#root.querySelector('summary')?.focus();
    this.#retry.hidden = !idle;
  }

  /** @param {Status} status */
  announce(status) {
    if (status.state === 'connecting') return;
    const text = sentence(status);
    if (text === this.#announced) return;
    this.#announced = text;
    this.#announcer.announce(text);
  }
}

/**
 * @param {Status} status
 * @param {number} now
 */
function detail(status, now) {
  if (status.state === 'stale' && status.aliveAt !== null) return `${span((now - status.aliveAt) / 1000)} ago`;
  if (status.state !== 'offline' && status.state !== 'ended') return '';
  if (status.reason === 'hidden') return 'Paused while the page is hidden';
  const reason = /^closed \(\d+\)$/.test(status.reason ?? '') ? 'Connection lost' : (status.reason ?? '');
  const wait = status.nextTryAt === null ? '' : `Retrying in ${span(Math.ceil((status.nextTryAt - now) / 1000))}`;
  return [reason, wait].filter(Boolean).join('. ');
}

/** @param {number} ms */
function latency(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** @param {Status} status */
function sentence(status) {
  if (status.state === 'live') return `Live over ${labelOf(status.transport)}.`;
  if (status.state === 'stale') return 'No data from the server; values may be out of date.';
  if (status.state === 'ended') return `Not connected: ${status.reason ?? 'ended'}.`;
  return status.nextTryAt === null ? 'Offline.' : 'Offline. Trying to reconnect.';
}
