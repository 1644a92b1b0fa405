// @ts-check
/** The four ways to the same values, best first: the order in which `auto` falls back. */

import { openWebSocket } from './websocket.js';
import { openSse } from './sse.js';
import { openLongPoll, openPoll } from './poll.js';

/** @type {ReadonlyArray<{name: import('./contract.js').TransportName, label: string, open: import('./contract.js').Open}>} */
export const TRANSPORTS = [
  { name: 'ws', label: 'WebSocket', open: openWebSocket },
  { name: 'sse', label: 'SSE', open: openSse },
  { name: 'long-poll', label: 'Long poll', open: openLongPoll },
  { name: 'poll', label: 'Poll', open: openPoll },
];

/**
 * The transport called `name`.
 * @param {string} name
 */
export function transportNamed(name) {
  return TRANSPORTS.find((transport) => transport.name === name);
}
