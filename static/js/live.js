// @ts-check
/**
 * What the page follows, over the one connection of the client library (`static/client`): who shows a channel subscribes to
 * it here. News come in one form, and the page knows since when its values are no longer confirmed.
 */

import { connect } from '../client/index.min.js';

/** @typedef {Record<string, any>} Json */
/** @typedef {import('../client/index.js').Status & {aliveAt: number | null}} Status */
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
  /** When the server last told something, in ms. */
  #heardAt = 0;
  /** @type {(channel: string, data: Json) => void} */
  #onNews = () => {};

  /**
   * @param {Choice} transport
   * @param {((refused: boolean) => string | null | Promise<string | null>) | undefined} token
   */
  constructor(transport, token) {
    // Who asks for a transport of their own wants to see that one, and not what another tab uses.
    this.#connection = connect(new URL('.', document.baseURI), { transport, token, share: transport === 'auto' });
  }

  /**
   * @param {string} channel
   * @param {Follower} follower is told the newest value at once, if it is known
   * @returns {() => void} ends it
   */
  subscribe(channel, follower) {
    const take = (/** @type {Json} */ data, /** @type {import('../client/index.js').Meta} */ { event, timestamp }) => {
      this.#heardAt = Date.now();
      if (event === undefined) this.#onNews(channel, data);
      follower.take({ event: event ?? null, data, timestamp });
    };
    return this.#connection.subscribe(channel, take, { onGap: () => follower.gap?.() });
  }

  /** @param {(status: Status) => void} watch called with every change */
  onStatus(watch) {
    this.#connection.onStatus(() => watch(this.status));
  }

  /** @param {(channel: string, data: Json) => void} watch called with every value of a state, before those who follow it */
  onNews(watch) {
    this.#onNews = watch;
  }

  /** @returns {Status} with the time up to which values are confirmed, null before there were any */
  get status() {
    const { status } = this.#connection;
    const aliveAt = status.state === 'stale' ? status.since : this.#heardAt || null;
    return { ...status, aliveAt };
  }

  /** @param {Choice} transport */
  use(transport) {
    this.#connection.use(transport);
  }

  retry() {
    this.#connection.retry();
  }
}
