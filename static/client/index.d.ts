/** Transports, best first: the order in which `'auto'` falls back. */
export type TransportName = 'websocket' | 'sse' | 'long-poll' | 'poll';

/** A JSON object as the server sent it. */
export type Json = Record<string, any>;

/**
 * Connection state for display.
 *
 * | state | meaning |
 * |---|---|
 * | `connecting` | a transport is being tried; `transport` says which |
 * | `live` | connected and alive |
 * | `stale` | connected, but silent for too long: values may be old |
 * | `offline` | not connected; `nextTryAt` is the time of the next attempt (null while the page is hidden) |
 * | `ended` | not connected, and not retrying: see `reason`. `retry()` tries again |
 */
export type State = 'connecting' | 'live' | 'stale' | 'offline' | 'ended';

export interface Status {
  readonly state: State;
  /** Transport in use or being tried; null while offline or ended. */
  readonly transport: TransportName | null;
  /** Last measured round trip in milliseconds; null if unknown. */
  readonly latency: number | null;
  /** Start of this state; for `stale`, the last sign of life of the server. Milliseconds since 1970. */
  readonly since: number;
  /** Time of the next attempt in milliseconds since 1970; null if none is planned. */
  readonly nextTryAt: number | null;
  /** Short reason why the last connection ended; null while connected. */
  readonly reason: string | null;
  /** Cursor up to which everything was delivered, current at each access; null before the first connection. */
  readonly cursor: string | null;
}

export interface Options {
  /**
   * Token, or a function that returns one (or a promise of one). The function is called before the first connection,
   * before the token expires, and after a refusal. If it returns null or '' the connection ends; if it throws it is
   * called again later. Tokens are sent in the header `Authorization` or in a message, never in a URL.
   */
  token?: string | ((refused: boolean) => string | null | Promise<string | null>);
  /** The only transport to use, or `'auto'` (default): the best one that works, the next one when it fails or is silent. */
  transport?: TransportName | 'auto';
  /** Share one connection with other tabs of this origin, where the browser has Web Locks. Default true. */
  share?: boolean;
  /** Close the connection 10 s after the page was hidden, and resume from the cursor when it is visible. Default true. */
  pauseWhenHidden?: boolean;
  /** Most requests that wait for a connection; one more fails with `QUEUE_FULL`. Default 100. */
  queue?: number;
  /** Cursor to resume from, for example that of an earlier page. Default: now. */
  since?: string;
  /** Time between two plain polls in milliseconds. Default 2000. */
  pollInterval?: number;
  /** Replaces the global of that name, e.g. `ws` in Node.js 20. Without either, WebSocket is not used. */
  WebSocket?: any;
  /** Replaces the global of that name. */
  fetch?: typeof fetch;
  /** Storage for the transport that worked; null for none. Default `localStorage` if available. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null;
}

/** Metadata of a value or an event. */
export interface Meta {
  /** Channel, one of many if the subscription ends in `.*`. */
  readonly channel: string;
  /** Name of the event, e.g. `order_created`; absent for values of state channels. */
  readonly event?: string;
  /** Time of the change, RFC 3339; null if unknown. */
  readonly timestamp: string | null;
  /** Cursor sent with it; null for events that are in no log. */
  readonly cursor: string | null;
  /**
   * Set when the channel has ended and the value is null: a client deleted it, nothing wrote it for its time to live, or
   * (`unknown`) it was not there any more after a gap.
   */
  readonly gone?: 'deleted' | 'expired' | 'unknown';
}

/**
 * Notice that events were lost, because the log no longer reaches back to the cursor. Fresh values follow; a channel that has none
 * 3 s later is gone, as with a restart of a server without a store.
 */
export interface Gap {
  /** `epoch_changed` (the server's log was lost), `too_old` (away for too long) or `unknown_cursor`. */
  readonly reason: string;
}

/** History of one channel. */
export interface History {
  readonly channel: string;
  readonly interval: 'raw' | 'minute' | 'hour' | 'day';
  /** RFC 3339. */
  readonly from: string;
  /** RFC 3339, exclusive: the time of the first live value. */
  readonly to: string;
  /** Buckets by field name or dotted path. Without recorded points there is no bucket. */
  readonly fields: Record<string, Bucket[]>;
}

/** Values of a field in a time span, or a single value if the interval is `raw`. */
export interface Bucket {
  /** Start of the span, RFC 3339. */
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
   * Also deliver the history, e.g. of `'15m'`, to `onHistory`. Values wait for it and begin where it ends: none is delivered
   * twice and none in between is left out, except that of several values during the opening of a link the newest is delivered.
   */
  backfill?: string;
  /** Receives the history of each channel that has one, once, before its first value. For `metrics`, that of its parts. */
  onHistory?: (history: History) => void;
  /** Called when events were lost; reload data that was derived from them. */
  onGap?: (gap: Gap) => void;
  /** Called when the subscription was refused (`FORBIDDEN`, `SUBSCRIPTION_LIMIT`), or its history is not available; values follow in that case. */
  onError?: (error: TricastError) => void;
}

/** Error response of the server, or a failed request. */
export class TricastError extends Error {
  /**
   * The server's code (`UNAUTHORIZED`, `FORBIDDEN`, `RESOURCE_NOT_FOUND`, `RATE_LIMITED`, `INVALID_MESSAGE`,
   * `SUBSCRIPTION_LIMIT`, `BEHIND`, `SERVER_ERROR`) or one of the library: `TIMEOUT`, `QUEUE_FULL`, `ENDED`, `ABORTED`.
   */
  readonly code: string;
}

export interface RequestOptions {
  /** Milliseconds until it fails with `TIMEOUT`, including the time in the queue. Default 15000. */
  timeout?: number;
  /** Aborts with `ABORTED`. */
  signal?: AbortSignal;
}

/** Actions of the server. */
export interface Actions {
  get_order_details: { orderId: string };
  mark_order_priority: { orderId: string; priority: 'low' | 'normal' | 'high' | 'urgent' };
  list_orders: { status?: string; limit?: number; after?: string };
  get_snapshot: { channels?: string[] };
  get_history: Json;
  list_channels: Record<string, never>;
}

/** Connection to one server over any transport. Emits `status`. */
export interface Tricast extends EventTarget {
  /** Current status; a new object after each change. */
  readonly status: Status;
  /**
   * Follows a channel. For a state channel `handler` is called with the newest value at once and then after changes, for
   * an event channel with the data of each event, exactly once and in order.
   *
   * @param channel a name, or `metrics.*` for all below `metrics.`
   * @returns a function that ends the subscription
   * @throws TypeError for an invalid name, interval or backfill
   * @throws TricastError `ENDED` after `close()`
   */
  subscribe(channel: string, handler: (value: any, meta: Meta) => void, options?: SubscribeOptions): () => void;
  /** The newest value that came for a state channel that is subscribed and has not ended. */
  latest(channel: string): any | undefined;
  /** Calls `listener` now and after each change of the status. Returns a function that ends that. */
  onStatus(listener: (status: Status) => void): () => void;
  /**
   * Sends a request: as a message on a WebSocket, otherwise as the equivalent call over HTTP. It waits in a queue while there
   * is no connection. All actions are idempotent, and are repeated if the connection ends before the response.
   *
   * @throws TricastError
   */
  request<A extends keyof Actions>(action: A, params?: Actions[A], options?: RequestOptions): Promise<any>;
  /** Sends a request with an action that this version of the library does not know. */
  request<A extends string>(
    action: A extends keyof Actions ? never : A,
    params?: Json,
    options?: RequestOptions,
  ): Promise<any>;
  /** Changes to a transport, or to the best one that works, without losing or repeating an event. */
  use(transport: TransportName | 'auto'): void;
  /** Connects at once, also after `ended`. Does nothing while connected. */
  retry(): void;
  /** Closes permanently: no handler is called any more, waiting requests fail with `ENDED`. */
  close(): void;
}

/**
 * Connects to a tricast server.
 *
 * @param url URL of the server, relative to the page: `'/'`, `'/live/'` behind a proxy, `'https://live.example/'`
 * @throws TypeError for an invalid URL, such as a relative one outside a page
 */
export function connect(url?: string | URL, options?: Options): Tricast;
