// @ts-check
/**
 * WebSocket: one JSON object per text message.
 *
 *     <- {"type":"connected","cursor":"k3f9x2:10480","heartbeatInterval":25000,...}
 *     -> {"type":"subscribe","requestId":"s1","channels":[...],"since":"k3f9x2:10391"}
 *     <- {"type":"subscribed","requestId":"s1","channels":[{"name":"metrics","status":"active"}],...}
 *     <- {"type":"metrics","channel":"metrics","timestamp":"...","data":{...},"cursor":"k3f9x2:10481"}
 *     <- {"type":"event","channel":"orders","event":"order_created","data":{...},"timestamp":"...","cursor":"..."}
 *     <- {"type":"ping","timestamp":"..."}        -> {"type":"pong","timestamp":"..."}
 *     -> {"type":"ping","requestId":"p1"}         <- {"type":"pong","requestId":"p1","latency":1}
 *     <- {"type":"disconnecting","reason":"SERVER_MAINTENANCE","reconnectAfter":7}
 *
 * The own ping every 10 s measures the round trip and shows life on a connection on which nothing changes.
 */

import { socketAddress } from '../address.js';
import { DEFAULT_HEARTBEAT_MS, parseObject, textOrNull } from './contract.js';

/** Also the measure of silence: at most one answer to it may be late before the numbers count as stale. */
const PING_EVERY_MS = 10_000;

/** Close codes that say "do not come back". */
const FINAL_CODES = { first: 4500, last: 4999 };
const UNAUTHORIZED_CODE = 4401;

/** @type {import('./contract.js').Open} */
export function openWebSocket({ channels, since }, listener) {
  const socket = new WebSocket(socketAddress('ws'));
  let heartbeatMs = DEFAULT_HEARTBEAT_MS;
  let pings = 0;
  let pingSentAt = 0;
  let pingTimer = 0;
  let over = false;
  /** @type {string | null} */
  let farewell = null;
  /** @type {number | undefined} */
  let retryAfterMs;

  /** @param {import('./contract.js').Json} message */
  const send = (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };

  const ping = () => {
    pings += 1;
    pingSentAt = performance.now();
    send({ type: 'ping', requestId: `p${pings}` });
  };

  /** Ends the link from this side. */
  const close = () => {
    over = true;
    clearInterval(pingTimer);
    socket.close(1000);
  };

  /** @param {import('./contract.js').Down} down */
  const fail = (down) => {
    if (over) return;
    close();
    listener.onDown(down);
  };

  /** @param {import('./contract.js').Json} message */
  const receive = (message) => {
    const cursor = textOrNull(message.cursor);
    const timestamp = textOrNull(message.timestamp);
    switch (message.type) {
      case 'connected':
        if (message.heartbeatInterval > 0) heartbeatMs = Number(message.heartbeatInterval);
        send({ type: 'subscribe', requestId: 's1', channels, ...(since === null ? {} : { since }) });
        break;
      case 'subscribed':
        if (message.resume === 'reset') listener.onGap();
        listener.onOpen({ quietMs: 1.5 * PING_EVERY_MS, deadMs: Math.max(2.5 * PING_EVERY_MS, 1.5 * heartbeatMs) });
        ping();
        pingTimer = setInterval(ping, PING_EVERY_MS);
        break;
      case 'metrics':
      case 'metric':
        listener.onSnapshot(message.channel ?? 'metrics', message.data ?? {}, timestamp, cursor);
        break;
      case 'event':
        listener.onEvent(message.channel, message.event, message.data ?? {}, timestamp, cursor);
        break;
      case 'gap':
        listener.onGap();
        if (cursor !== null) listener.onCursor(cursor);
        break;
      case 'ping':
        send({ type: 'pong', timestamp: message.timestamp });
        break;
      case 'pong':
        if (message.requestId === `p${pings}`) listener.onLatency(performance.now() - pingSentAt);
        break;
      case 'disconnecting':
        farewell = textOrNull(message.message) ?? textOrNull(message.reason);
        if (message.reconnectAfter >= 0) retryAfterMs = Number(message.reconnectAfter) * 1000;
        break;
      case 'error':
        if (message.code === 'UNAUTHORIZED') fail({ reason: 'sign-in needed', final: true });
        else if (message.requestId === 's1') fail({ reason: textOrNull(message.message) ?? 'subscription refused' });
        break;
      default: // a newer server may say more than this page knows
    }
  };

  socket.onmessage = (frame) => {
    if (over) return;
    listener.onAlive();
    const message = typeof frame.data === 'string' ? parseObject(frame.data) : null;
    if (message === null) fail({ reason: 'unreadable message' });
    else receive(message);
  };

  socket.onclose = ({ code, reason }) => {
    const final = (code >= FINAL_CODES.first && code <= FINAL_CODES.last) || code === UNAUTHORIZED_CODE;
    fail({ reason: farewell || reason || (final ? 'refused by the server' : 'connection closed'), retryAfterMs, final });
  };

  return { close };
}
