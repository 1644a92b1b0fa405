// @ts-check
/**
 * What the page follows, over the one connection of the client library (`static/client`): who shows a channel subscribes to
 * it here. News come in one form, and the page knows since when its values are no longer confirmed.
 */

import { connect } from '../client/index.min.js';
import { now } from './time.js';

/** @typedef {Record<string, any>} Json */
/** @typedef {import('../client/index.js').Status & {aliveAt: number | null}} Status times are those of the page's clock */
/** @typedef {import('../client/index.js').TransportName | 'auto'} Choice */

/**
 * One piece of news: a state channel's newest value (`event` is null), or one event.
 * @typedef {object} News
 * @property {string | null} event
 * @property {Json} data
 * @property {string | null} timestamp RFC 3339
 */

/**
 * @typedef {object} Follower
 * @property {(news: News) => void} take
 * @property {() => void} [gap] events were lost; what is shown of them has to be read again
 */

export class Live {
  #connection;
  /** @type {Status} */
  #status;
  /** @type {(channel: string, data: Json, timestamp: string | null) => void} */
  #onNews = () => {};

  /**
   * @param {Choice} transport
   * @param {((refused: boolean) => string | null | Promise<string | null>) | undefined} token
   */
  constructor(transport, token) {
    // Who asks for a transport of their own wants to see that one, and not what another tab uses.
    this.#connection = connect(new URL('.', document.baseURI), { transport, token, share: transport === 'auto' });
    this.#status = { ...this.#connection.status, aliveAt: null };
  }

  /**
   * @param {string} channel
   * @param {Follower} follower is told the newest value at once, if it is known
   * @returns {() => void} ends it
   */
  subscribe(channel, follower) {
    const take = (/** @type {Json} */ data, /** @type {import('../client/index.js').Meta} */ meta) => {
      const { event, timestamp } = meta;
      if (event === undefined) this.#onNews(meta.channel, data, timestamp);
      follower.take({ event: event ?? null, data, timestamp });
    };
    return this.#connection.subscribe(channel, take, { onGap: () => follower.gap?.() });
  }

  /** @param {(status: Status) => void} watch called with every change */
  onStatus(watch) {
    this.#connection.onStatus((status) => {
      const before = this.#status;
      // The library's times are the computer's, which may be set while they are shown.
      const ahead = now() - Date.now();
      const { state, nextTryAt } = status;
      const lost = state === 'stale' ? status.since + ahead : before.state === 'live' && state !== 'live' ? now() : before.aliveAt;
      this.#status = { ...status, nextTryAt: nextTryAt === null ? null : nextTryAt + ahead, aliveAt: lost };
      watch(this.#status);
    });
  }

  /** @param {(channel: string, data: Json, timestamp: string | null) => void} watch called with every value of a state, before those who follow it */
  onNews(watch) {
    this.#onNews = watch;
  }

  /** With the time up to which values were confirmed before the connection was last lost; null if it never was. */
  get status() {
    return { ...this.#status, cursor: this.#connection.status.cursor, latency: this.#connection.status.latency };
  }

  /** @param {Choice} transport */
  use(transport) {
    this.#connection.use(transport);
  }

  retry() {
    this.#connection.retry();
  }

  /** The server answered something else: it is there, so waiting for the next try is for nothing. */
  answered() {
    if (this.#status.state === 'offline') this.#connection.retry();
  }
}
