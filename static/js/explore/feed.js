// @ts-check
/**
 * Keeps a {@link Catalog} current over the page's connection: the list of channels every few seconds, all metrics by one
 * subscription to `metrics.*`, and the visible channels of other names one by one, so that values that nobody looks at
 * are not received. A metric that was just pushed is there with its first value.
 */

import { now } from '../time.js';

const LIST_MS = 2_000;
/** The same for a list of more than {@link MANY} channels. */
const LONG_LIST_MS = 5_000;
const MANY = 300;
/** Shortest time between two values of one channel. */
const INTERVAL = '500ms';
/** Most subscriptions to single channels; a connection has 100. */
const MOST_SINGLE = 60;
const METRICS = 'metrics.';

/**
 * @typedef {object} Options
 * @property {boolean} metricsOnly whether channels outside `metrics.` are left out
 * @property {number} mostAll up to this many channels, all metrics are received; above it only the visible ones
 * @property {() => void} changed called after each change
 */

export class Feed {
  #context;
  #catalog;
  #options;
  #timer = 0;
  #closed = false;
  #listed = false;
  /** Ends the subscription to all metrics. @type {(() => void) | null} */
  #all = null;
  /** Ends of the subscriptions to single channels. @type {Map<string, () => void>} */
  #single = new Map();
  /** @type {ReadonlySet<string>} */
  #visible = new Set();
  /** Why the list can't be read; empty if it can. */
  problem = '';

  /**
   * @param {Pick<import('../tiles/contract.js').Context, 'rest' | 'subscriptions'>} context
   * @param {import('./catalog.js').Catalog} catalog
   * @param {Options} options
   */
  constructor(context, catalog, options) {
    this.#context = context;
    this.#catalog = catalog;
    this.#options = options;
    this.#receiveAll();
    void this.#list();
  }

  /** Whether the list of channels is known. */
  get listed() {
    return this.#listed;
  }

  /** @param {ReadonlySet<string>} channels that are on the screen */
  show(channels) {
    this.#visible = channels;
    this.#subscribe();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#all?.();
    for (const end of this.#single.values()) end();
    this.#single.clear();
  }

  async #list() {
    const { rest } = this.#context;
    const query = { channels: this.#options.metricsOnly ? `${METRICS}*` : null };
    const answer = document.hidden ? null : await rest.request('api/channels', { query }).catch((error) => error);
    if (this.#closed) return;
    if (Array.isArray(answer?.data?.channels)) {
      this.#catalog.setList(answer.data.channels, now(), !this.#listed);
      this.#listed = true;
      this.problem = '';
      this.#receiveAll();
      this.#subscribe();
    } else if (answer !== null) {
      this.problem = String(answer?.message ?? '');
    }
    this.#options.changed();
    this.#timer = setTimeout(() => this.#list(), this.#catalog.size > MANY ? LONG_LIST_MS : LIST_MS);
  }

  /** Receives all metrics while there are not too many. */
  #receiveAll() {
    const wanted = this.#catalog.size <= this.#options.mostAll;
    if (wanted === (this.#all !== null)) return;
    this.#all?.();
    this.#all = wanted ? this.#follow(`${METRICS}*`) : null;
  }

  #subscribe() {
    const wanted = new Set([...this.#visible].filter((name) => !this.#isReceived(name)).slice(0, MOST_SINGLE));
    for (const [name, end] of this.#single) {
      if (wanted.has(name)) continue;
      end();
      this.#single.delete(name);
    }
    for (const name of wanted) if (!this.#single.has(name)) this.#single.set(name, this.#follow(name));
  }

  /**
   * Whether a channel is received without a subscription of its own. The snapshot repeats all others, so it never is.
   * @param {string} name
   */
  #isReceived(name) {
    return name === 'metrics' || (this.#all !== null && name.startsWith(METRICS));
  }

  /** @param {string} selector */
  #follow(selector) {
    const catalog = this.#catalog;
    const { skew } = this.#context.rest;
    return this.#context.subscriptions.subscribe(selector, {
      interval: INTERVAL,
      onUpdate: ({ channel, event, data, timestamp, gone }) => {
        const at = Date.parse(timestamp ?? '') - skew;
        if (gone) catalog.remove(channel);
        else if (event !== null) catalog.setEvent(channel, event, data, at || now());
        else catalog.setValue(channel, data, now(), at);
        this.#options.changed();
      },
    });
  }
}
