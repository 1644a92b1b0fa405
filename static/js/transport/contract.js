// @ts-check
/**
 * The one surface all transports share, so that nothing above this folder knows which of them carries the numbers.
 *
 * A transport is a function `open(request, listener)` that starts at once and returns a {@link Link}. It calls `onOpen`
 * when values may be expected, then delivers, and ends with exactly one `onDown` (none when the page itself called
 * `close`). It never reconnects: when to try again, and with what, is decided in `connection.js`.
 */

/** @typedef {'ws' | 'sse' | 'long-poll' | 'poll'} TransportName */

/** @typedef {Record<string, any>} Json a JSON object as the server sent it; any field may be absent or null */

/**
 * @typedef {object} Request
 * @property {readonly string[]} channels names to follow
 * @property {string | null} since cursor to continue from, null for a fresh start
 */

/**
 * How often the link shows life by itself.
 * @typedef {object} Pace
 * @property {number} quietMs longer silence than this makes the numbers stale, however slowly they usually change
 * @property {number} deadMs longer silence than this ends the link
 */

/**
 * Why a link ended and what follows from it.
 * @typedef {object} Down
 * @property {string} reason a few words for a person
 * @property {number} [retryAfterMs] the server's own wish for the next attempt
 * @property {boolean} [final] true when trying again can't help (refused, not signed in)
 */

/**
 * @typedef {object} Listener
 * @property {(pace: Pace) => void} onOpen the link works
 * @property {() => void} onAlive any sign of life, data or not
 * @property {(channel: string, data: Json, timestamp: string | null, cursor: string | null) => void} onSnapshot newest value of a state channel
 * @property {(channel: string, event: string, data: Json, timestamp: string | null, cursor: string | null) => void} onEvent
 * @property {(cursor: string) => void} onCursor the position moved without data
 * @property {() => void} onGap events were lost; fresh state follows
 * @property {(ms: number) => void} onLatency a measured round trip
 * @property {(down: Down) => void} onDown the link is over
 */

/**
 * @typedef {object} Link
 * @property {() => void} close ends it silently
 */

/** @typedef {(request: Request, listener: Listener) => Link} Open */

/** Time to show the first sign of life, after which an attempt has failed. Long enough for a slow phone network. */
export const OPEN_TIMEOUT_MS = 6_000;

/** The server's default heartbeat, for a stream that did not say its own. */
export const DEFAULT_HEARTBEAT_MS = 25_000;

/**
 * The JSON object in `text`, or null when it is anything else.
 * @param {string} text
 * @returns {Json | null}
 */
export function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/**
 * `value` when it is a text, null otherwise.
 * @param {unknown} value
 * @returns {string | null}
 */
export function textOrNull(value) {
  return typeof value === 'string' ? value : null;
}
