/** The ways to the server, best first: the order in which `'auto'` falls back. */
export type TransportName = 'websocket' | 'sse' | 'long-poll' | 'poll';

/** A JSON object as the server sent it. */
export type Json = Record<string, any>;

/**
 * What can be shown to a person.
 *
 * | state | meaning |
 * |---|---|
 * | `connecting` | a transport is being tried; `transport` says which |
 * | `live` | connected, and it shows life |
 * | `stale` | connected, but silent for longer than it should be: values may be old |
 * | `offline` | not connected; `nextTryAt` says when the next try begins (null while the page is hidden) |
 * | `ended` | not connected, and it will not try again by itself: see `reason`. `retry()` tries again |
 */
export type State = 'connecting' | 'live' | 'stale' | 'offline' | 'ended';

export interface Status {
  readonly state: State;
  /** The transport in use or being tried; null while offline or ended. */
  readonly transport: TransportName | null;
  /** Last measured round trip in milliseconds; null where none is known. */
  readonly latency: number | null;
  /** When this state began, or, of `stale`, when the server last showed life. Milliseconds since 1970. */
  readonly since: number;
  /** When the next try begins, in milliseconds since 1970; null if none is planned. */
  readonly nextTryAt: number | null;
  /** Why the last connection ended, in a few words; null while all is well. */
  readonly reason: string | null;
  /** The place in the server's log up to which everything was delivered, when it is read; null before the first connection. */
  readonly cursor: string | null;
}

export interface Options {
  /**
   * A token, or a function that gives one (or a promise of one). The function is called before the first connection,
   * when the server announces that the token runs out, and when it was refused; a function that answers null or ''
   * ends the connection, one that throws is asked again later. Tokens travel in the header `Authorization` or in a
   * message, never in an address.
   */
  token?: string | ((refused: boolean) => string | null | Promise<string | null>);
  /** The only transport to use, or `'auto'` (default): the best one that works, others when it fails or is silent. */
  transport?: TransportName | 'auto';
  /** Share one connection with other tabs of this origin, where the browser has Web Locks. Default true. */
  share?: boolean;
  /** Let go of the connection 10 s after the page was hidden, and go on from the cursor when it is seen. Default true. */
  pauseWhenHidden?: boolean;
  /** Requests that may wait for a connection; one more is refused with `QUEUE_FULL`. Default 100. */
  queue?: number;
  /** Cursor to begin from, of an earlier page for example. Default: now. */
  since?: string;
  /** Time between two plain polls in milliseconds. Default 2000. */
  pollInterval?: number;
  /** In place of the global of that name, e.g. `ws` in Node.js 20. Without any, WebSocket is passed over. */
  WebSocket?: any;
  /** In place of the global of that name. */
  fetch?: typeof fetch;
  /** Where the transport that worked is remembered; null for nowhere. Default `localStorage` if there is one. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null;
}

/** What comes with a value or an event. */
export interface Meta {
  /** The channel it is of: one of many if the subscription ends in `.*`. */
  readonly channel: string;
  /** Name of the event, e.g. `order_created`; absent for values of state channels. */
  readonly event?: string;
  /** When it changed, RFC 3339; null if not known. */
  readonly timestamp: string | null;
  /** Cursor that was handed out with it; null for what is in no log. */
  readonly cursor: string | null;
}

/** Events were lost: the log does not reach back to where we were. Fresh values follow. */
export interface Gap {
  /** `epoch_changed` (the server's log was lost), `too_old` (away for too long) or `unknown_cursor`. */
  readonly reason: string;
}

/** What was of one channel. */
export interface History {
  readonly channel: string;
  readonly interval: 'raw' | 'minute' | 'hour' | 'day';
  /** RFC 3339. */
  readonly from: string;
  /** RFC 3339; not included: when the value was made that comes next. */
  readonly to: string;
  /** By the name of a field, or the way to it along dots. Where nothing was recorded there is no bucket. */
  readonly fields: Record<string, Bucket[]>;
}

/** Values of a field in a span of time, or a single one if the interval is `raw`. */
export interface Bucket {
  /** Where it begins, RFC 3339. */
  readonly period: string;
  readonly count: number;
  readonly total: number;
  readonly average: number;
  readonly min: number;
  readonly max: number;
  readonly last: number;
}

export interface SubscribeOptions {
  /**
   * Shortest time between two values of a channel: `'500ms'`, `'5s'`, `'1m'`, `'1h'`, or milliseconds. Default: each
   * change. Between two calls the newest value wins. Events are never held back.
   */
  interval?: string | number;
  /**
   * Also tell the time before, e.g. `'15m'`: see `onHistory`. Values wait for it and begin where it ends: none is told
   * twice, none between is left out, but that of several which come while a link is opened the newest is given, as ever.
   */
  backfill?: string;
  /** Gets the past of each channel that has one, once, before its first value. Of `metrics` that of its parts. */
  onHistory?: (history: History) => void;
  /** Events of this subscription were lost; read afresh what was made from them. */
  onGap?: (gap: Gap) => void;
  /** The subscription was refused (`FORBIDDEN`, `SUBSCRIPTION_LIMIT`), or its past can't be had; values come all the same. */
  onError?: (error: TricastError) => void;
}

/** What the server refused, or what could not be asked. */
export class TricastError extends Error {
  /**
   * The server's code (`UNAUTHORIZED`, `FORBIDDEN`, `RESOURCE_NOT_FOUND`, `RATE_LIMITED`, `INVALID_MESSAGE`,
   * `SUBSCRIPTION_LIMIT`, `BEHIND`, `SERVER_ERROR`) or one of the library: `TIMEOUT`, `QUEUE_FULL`, `ENDED`, `ABORTED`.
   */
  readonly code: string;
}

export interface RequestOptions {
  /** Milliseconds until it is given up with `TIMEOUT`, the time in the queue included. Default 15000. */
  timeout?: number;
  /** Gives it up with `ABORTED`. */
  signal?: AbortSignal;
}

/** The actions of the server. */
export interface Actions {
  get_order_details: { orderId: string };
  mark_order_priority: { orderId: string; priority: 'low' | 'normal' | 'high' | 'urgent' };
  list_orders: { status?: string; limit?: number; after?: string };
  get_snapshot: { channels?: string[] };
  get_history: Json;
  list_channels: Record<string, never>;
}

/** One connection to one server, whatever carries it. Emits `status`. */
export interface Tricast extends EventTarget {
  /** As it is now; a new object after each change. */
  readonly status: Status;
  /**
   * Follows a channel. Of a state channel `handler` is called with the newest value at once and then after changes, of
   * an event channel with the data of each event, exactly once and in order.
   *
   * @param channel a name, or `metrics.*` for all below `metrics.`
   * @returns ends this subscription
   * @throws TypeError for a name, an interval or a backfill that can't be one
   * @throws TricastError `ENDED` after `close()`
   */
  subscribe(channel: string, handler: (value: any, meta: Meta) => void, options?: SubscribeOptions): () => void;
  /** The newest value that came for a state channel that is subscribed. */
  latest(channel: string): any | undefined;
  /** Calls `listener` now and after each change of the status. Returns what ends that. */
  onStatus(listener: (status: Status) => void): () => void;
  /**
   * Asks the server to do something: by message on a WebSocket, by the same call over HTTP otherwise. Waits in a queue
   * while there is no connection. All actions may be repeated, and are when the connection ends before the answer.
   *
   * @throws TricastError
   */
  request<A extends keyof Actions>(action: A, params?: Actions[A], options?: RequestOptions): Promise<any>;
  /** The same for an action that this version of the library does not know. */
  request<A extends string>(
    action: A extends keyof Actions ? never : A,
    params?: Json,
    options?: RequestOptions,
  ): Promise<any>;
  /** Goes over to a transport, or to the best that works, without losing or repeating an event. */
  use(transport: TransportName | 'auto'): void;
  /** Tries at once, also after `ended`. Does nothing while connected. */
  retry(): void;
  /** Ends it for good: no call comes any more, waiting requests fail with `ENDED`. */
  close(): void;
}

/**
 * Connects to a tricast server.
 *
 * @param url where the server is, relative to the page: `'/'`, `'/live/'` behind a proxy, `'https://live.example/'`
 * @throws TypeError for an address that can't be one, such as a relative one outside a page
 */
export function connect(url?: string | URL, options?: Options): Tricast;
