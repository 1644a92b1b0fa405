// @ts-check
/**
 * Subscriptions of the page over the one connection of the client library (`static/client`). Values and events arrive in one
 * form, and the status says since when the values are no longer confirmed.
 */

import { connect } from '../client/index.min.js';
import { now } from './time.js';

/** @typedef {Record<string, any>} Json */
/** @typedef {import('../client/index.js').Status & {aliveAt: number | null}} Status times are those of the page's clock */
/** @typedef {import('../client/index.js').TransportName | 'auto'} Choice */

/**
 * New value of a state channel (`event` is null), or one event.
 * @typedef {object} Update
 * @property {string} channel one of many if the subscription ends in `.*`
 * @property {string | null} event
 * @property {Json} data
 * @property {string | null} timestamp RFC 3339
 * @property {import('../client/index.js').Meta['gone']} [gone] the channel has ended: `data` is empty
 */

/**
 * @typedef {object} Subscriber
 * @property {(update: Update) => void} onUpdate
 * @property {string} [interval] shortest time between two values of a channel, such as `500ms`
 * @property {() => void} [onGap] events were lost; the displayed list has to be read again
 */

export class Subscriptions {
  #connection;
  /** @type {Status} */
  #status;
  /** @type {(channel: string, data: Json | null, timestamp: string | null) => void} */
  #onUpdate = () => {};

  /**
   * @param {Choice} transport
   * @param {((refused: boolean) => string | null | Promise<string | null>) | undefined} token
   */
  constructor(transport, token) {
    // A chosen transport must not be replaced by that of another tab.
    this.#connection = connect(new URL('.', document.baseURI), { transport, token, share: transport === 'auto' });
    this.#status = { ...this.#connection.status, aliveAt: null };
  }

  /**
   * @param {string} channel
   * @param {Subscriber} subscriber receives the newest value at once, if it is known
   * @returns {() => void} ends the subscription
   */
  subscribe(channel, subscriber) {
    const receive = (/** @type {Json} */ data, /** @type {import('../client/index.js').Meta} */ meta) => {
      const { event, timestamp, gone } = meta;
      if (event === undefined) this.#onUpdate(meta.channel, data, timestamp);
      // After the end of a channel no field has a value.
      subscriber.onUpdate({ channel: meta.channel, gone, event: event ?? null, data: data ?? {}, timestamp });
    };
    return this.#connection.subscribe(channel, receive, { interval: subscriber.interval, onGap: () => subscriber.onGap?.() });
  }

  /** @param {(status: Status) => void} watch called with every change */
  onStatus(watch) {
    this.#connection.onStatus((status) => {
      const before = this.#status;
      // The library uses the computer's clock, which may be set while its times are shown.
      const ahead = now() - Date.now();
      const { state, nextTryAt } = status;
      const lost = state === 'stale' ? status.since + ahead : before.state === 'live' && state !== 'live' ? now() : before.aliveAt;
      this.#status = { ...status, nextTryAt: nextTryAt === null ? null : nextTryAt + ahead, aliveAt: lost };
      watch(this.#status);
    });
  }

  /** @param {(channel: string, data: Json | null, timestamp: string | null) => void} watch called with every value of a state channel, before its subscribers; null at its end */
  onUpdate(watch) {
    this.#onUpdate = watch;
  }

  /** Status with `aliveAt`, the time up to which values were confirmed before the connection was last lost; null if it never was. */
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

  /** The server responded to another request, so it is reachable: reconnects without waiting. */
  serverResponded() {
    if (this.#status.state === 'offline') this.#connection.retry();
  }
}
