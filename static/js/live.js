// @ts-check
/**
 * What the page follows, over one connection: whoever shows a channel subscribes to it here, and several may share one.
 * The set of channels is told to the connection once per turn of the event loop, however many tiles come and go in it.
 */

import { Connection } from './connection.js';

/** @typedef {import('./transport/contract.js').Json} Json */
/** @typedef {import('./connection.js').Status} Status */

/**
 * One piece of news: a state channel's newest value (`event` is null), or one event.
 * @typedef {object} News
 * @property {string} channel
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
  /** @type {Map<string, Set<Follower>>} */
  #followers = new Map();
  /** @type {Map<string, Json>} newest value of each followed state channel */
  #values = new Map();
  /** @type {Set<(status: Status) => void>} */
  #watchers = new Set();
  /** @type {(channel: string, data: Json) => void} */
  #onNews = () => {};
  #planned = false;
  #connection;
  #rest;

  /** @param {import('./rest.js').Rest} rest */
  constructor(rest) {
    this.#rest = rest;
    this.#connection = new Connection({
      onSnapshot: (channel, data, timestamp) => {
        this.#values.set(channel, data);
        this.#tell({ channel, event: null, data, timestamp });
      },
      onEvent: (channel, event, data, timestamp) => this.#tell({ channel, event, data, timestamp }),
      onGap: () => this.#followers.forEach((all) => all.forEach((follower) => follower.gap?.())),
      onState: (status) => this.#watchers.forEach((watch) => watch(status)),
    });
  }

  /**
   * @param {string} channel
   * @param {Follower} follower is told the newest value at once, if it is known
   * @returns {() => void} ends it
   */
  subscribe(channel, follower) {
    const all = this.#followers.get(channel) ?? new Set();
    all.add(follower);
    if (all.size === 1) {
      this.#followers.set(channel, all);
      this.#plan();
    }
    const known = this.#values.get(channel);
    if (known !== undefined) follower.take({ channel, event: null, data: known, timestamp: null });
    return () => {
      all.delete(follower);
      if (all.size > 0 || this.#followers.get(channel) !== all) return;
      this.#followers.delete(channel);
      this.#values.delete(channel);
      this.#plan();
    };
  }

  /** @param {(status: Status) => void} watch called with every change */
  onStatus(watch) {
    this.#watchers.add(watch);
  }

  /** @param {(channel: string, data: Json) => void} watch called with every value of a state, before those who follow it */
  onNews(watch) {
    this.#onNews = watch;
  }

  get status() {
    return this.#connection.status;
  }

  /** @param {import('./chooser.js').Choice} choice */
  use(choice) {
    this.#connection.use(choice);
  }

  retry() {
    this.#connection.retryNow();
  }

  /** @param {News} news */
  #tell(news) {
    if (news.event === null) this.#onNews(news.channel, news.data);
    this.#followers.get(news.channel)?.forEach((follower) => follower.take(news));
  }

  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      const added = this.#connection.follow([...this.#followers.keys()]);
      // What continues from a cursor is told changes only; a channel that is new to the page needs its value now.
      for (const channel of added) void this.#seed(channel);
    });
  }

  /** @param {string} channel */
  async #seed(channel) {
    const answer = await this.#rest.ask(`api/metrics/${channel}`).catch(() => null);
    if (answer?.data?.kind !== 'state' || this.#values.has(channel) || !this.#followers.has(channel)) return;
    this.#values.set(channel, answer.data.data);
    this.#tell({ channel, event: null, data: answer.data.data, timestamp: answer.data.timestamp ?? null });
  }
}
