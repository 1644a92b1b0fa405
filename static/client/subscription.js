// @ts-check
/** One call of `subscribe`: delivers values at its interval, conflating those in between. */

/** @typedef {import('./index.js').Meta} Meta */
/** @typedef {import('./index.js').SubscribeOptions} SubscribeOptions */

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
/** Tolerance of timers. */
const SLACK_MS = 5;

/** @param {string} selector a name, or `metrics.*` @param {string} channel */
export const matches = (selector, channel) =>
  selector === channel || (selector.endsWith('.*') && channel.startsWith(selector.slice(0, -1)));

/**
 * Returns whether a gap concerns `channel`. One without channels, as for a lost log, concerns all of them.
 * @param {{channels?: string[]}} gap @param {string} channel
 */
export const isLost = ({ channels }, channel) => !channels || channels.some((lost) => matches(lost, channel));

/** Calls a handler of the page. Its exceptions are reported as uncaught and do not affect other handlers. @param {() => void} call */
export function outside(call) {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

export class Subscription {
  /** Last delivered value of each channel. @type {Map<string, {at: number, timer?: any, value: any, meta: Meta}>} */
  #delivered = new Map();
  #ended = false;
  /** Values that wait for the history; null if none is pending. @type {[value: any, meta: Meta][] | null} */
  #waiting;
  /** @type {(meta: Meta) => boolean} */
  #isPast = () => false;

  /**
   * @param {string} channel
   * @param {(value: any, meta: Meta) => void} handler
   * @param {SubscribeOptions} options
   * @param {string | null} from cursor at the time of the call; earlier events are not delivered
   */
  constructor(channel, handler, options, from) {
    /** @param {boolean} fits @param {string} what @param {any} value */
    const check = (fits, what, value) => {
      if (!fits) throw new TypeError(`not a${what}: ${value}`);
    };
    check(/^[\w.:-]{1,128}$/.test(`${channel}`.replace(/\.\*$/, '')) && typeof channel === 'string', ' channel', channel);
    const { backfill, interval } = options;
    const [, number, unit] = /^(\d+)(ms|s|m|h)?$/.exec(`${interval ?? 0}`) ?? [];
    check(!!number, 'n interval', interval);
    check(!backfill || /^0*[1-9]\d*(ms|s|m|h|d)$/.test(backfill), ' backfill', backfill);
    this.channel = channel;
    this.handler = handler;
    this.options = options;
    this.from = from;
    this.#waiting = options.backfill ? [] : null;
    /** Milliseconds. */
    this.interval = Number(number) * (UNITS[/** @type {keyof UNITS} */ (unit)] ?? 1);
  }

  /** @param {string} channel */
  takes(channel) {
    return !this.#ended && matches(this.channel, channel);
  }

  /** @param {string} channel */
  has(channel) {
    return this.#delivered.has(channel);
  }

  /** @param {any} value @param {Meta} meta */
  deliver(value, meta) {
    if (this.#waiting) return void this.#waiting.push([value, meta]);
    const last = this.#delivered.get(meta.channel);
    if (this.#ended || (!last && this.#isPast(meta))) return;
    const wait = last ? last.at + this.interval - performance.now() : 0;
    if (last && wait > SLACK_MS) {
      Object.assign(last, { value, meta });
      last.timer ??= setTimeout(() => {
        last.timer = undefined;
        this.deliver(last.value, last.meta);
      }, wait);
      return;
    }
    clearTimeout(last?.timer);
    this.#delivered.set(meta.channel, { at: performance.now(), value, meta });
    outside(() => this.handler(value, meta));
  }

  /** Delivers the waiting values after the history. @param {(meta: Meta) => boolean} isPast whether the history contains a value */
  begin(isPast) {
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#isPast = isPast;
    waiting?.forEach(([value, meta]) => this.deliver(value, meta));
  }

  end() {
    this.#ended = true;
    for (const { timer } of this.#delivered.values()) clearTimeout(timer);
  }
}
