// @ts-check
/**
 * Marks of charts (`options.marks`): the events of a channel as instants, and alerts as spans from when they were raised until
 * they were resolved. Events are those of the server's log and those that arrive; all charts share them.
 */

import { describe } from './describe.js';

const ALERTS = 'alerts';
/** Marks that are kept of a channel, the newest. */
const MOST = 300;
/** Alerts that are requested, the newest. */
const MOST_ALERTS = 100;

/**
 * @typedef {object} Mark
 * @property {number} from ms
 * @property {number | null} to ms; `Infinity` while it goes on, null for an instant
 * @property {string} title
 * @property {string} detail
 * @property {import('./describe.js').Level} level
 */

/** @typedef {Pick<import('./tiles/contract.js').Context, 'rest' | 'subscriptions' | 'currency' | 'denied'>} Services */

export class Marks {
  #services;
  /** @type {Map<string, Source>} */
  #sources = new Map();

  /** @param {Services} services */
  constructor(services) {
    this.#services = services;
  }

  /**
   * Follows channels; those that the reader may not see have no marks.
   * @param {unknown} names `alerts`, or event channels
   * @param {() => void} changed called when there are other marks
   * @returns {{within: (from: number, to: number) => Mark[], close: () => void}} `within`: the marks of a time range
   */
  follow(names, changed) {
    const channels = (Array.isArray(names) ? names : []).filter((name) => typeof name === 'string' && this.#services.denied(name) === '');
    const sources = channels.map((channel) => {
      const source = this.#sources.get(channel) ?? new Source(channel, this.#services);
      this.#sources.set(channel, source);
      source.watchers.add(changed);
      return source;
    });
    return {
      within: (from, to) => sources.flatMap(({ marks }) => [...marks.values()].filter((mark) => mark.from <= to && (mark.to ?? mark.from) >= from)),
      close: () => {
        for (const source of sources) {
          source.watchers.delete(changed);
          if (source.watchers.size > 0) continue;
          source.close();
          this.#sources.delete(source.channel);
        }
      },
    };
  }
}

class Source {
  #services;
  #end;
  #count = 0;
  /** @type {Set<() => void>} */
  watchers = new Set();
  /** @type {Map<string, Mark>} */
  marks = new Map();

  /**
   * @param {string} channel
   * @param {Services} services
   */
  constructor(channel, services) {
    this.channel = channel;
    this.#services = services;
    this.#end = services.subscriptions.subscribe(channel, {
      onUpdate: ({ event, data, timestamp }) => {
        if (event === null) return;
        if (channel === ALERTS) this.#addAlert(data);
        else this.#addEvent(event, data, timestamp);
        this.#changed();
      },
      onGap: () => void this.#load(),
    });
    void this.#load();
  }

  close() {
    this.#end();
  }

  /** Reads the marks of the time before the page was opened. */
  async #load() {
    const { rest } = this.#services;
    if (this.channel === ALERTS) {
      const answer = await rest.request('api/alerts', { query: { status: 'all', limit: String(MOST_ALERTS) } }).catch(() => null);
      for (const alert of [...(answer?.data?.alerts ?? [])].reverse()) this.#addAlert(alert);
    } else {
      const answer = await rest.request(`api/metrics/${this.channel}`).catch(() => null);
      if (!Array.isArray(answer?.data?.events)) return;
      this.marks.clear();
      for (const { event, data, timestamp } of answer.data.events) this.#addEvent(event, data ?? {}, timestamp);
    }
    this.#changed();
  }

  /** @param {any} alert */
  #addAlert(alert) {
    if (typeof alert.id !== 'string') return;
    const to = typeof alert.resolvedAt === 'string' ? this.#time(alert.resolvedAt) : Infinity;
    const level = alert.type === 'critical' || alert.type === 'warning' ? alert.type : 'plain';
    this.#put(alert.id, { from: this.#time(alert.raisedAt), to, title: 'Alert', detail: String(alert.message ?? ''), level });
  }

  /**
   * @param {string} event
   * @param {any} data
   * @param {string | null} timestamp
   */
  #addEvent(event, data, timestamp) {
    const { title, detail, level } = describe(this.channel, event, data, this.#services.currency());
    this.#put(`${(this.#count += 1)}`, { from: this.#time(timestamp), to: null, title, detail, level });
  }

  /**
   * @param {string} id
   * @param {Mark} mark
   */
  #put(id, mark) {
    if (Number.isNaN(mark.from)) return;
    this.marks.set(id, mark);
    if (this.marks.size > MOST) this.marks.delete(this.marks.keys().next().value ?? '');
  }

  /** @param {string | null} timestamp */
  #time(timestamp) {
    return Date.parse(timestamp ?? '') - this.#services.rest.skew;
  }

  #changed() {
    this.watchers.forEach((changed) => changed());
  }
}
