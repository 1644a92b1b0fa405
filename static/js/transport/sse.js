// @ts-check
/**
 * Server-Sent Events over the browser's own EventSource.
 *
 *     event: connected   data: {"session":"...","cursor":"k3f9x2:10480","resume":"replayed","heartbeatInterval":25000}
 *     event: metrics     data: {the snapshot}                               id: k3f9x2:10481
 *     event: metric      data: {"channel":"metrics.orders","timestamp":"...","data":{...}}
 *     event: alert       data: {"action":"raised",...}
 *     event: order_created  data: {"channel":"orders",...}
 *     event: ping        data: {"timestamp":"...","serverLoad":"normal"}
 *     event: bye         data: {"reason":"...","reconnectAfter":7}
 *
 * The browser's reconnecting is not used: the first error ends the link, so that one place decides on the next attempt
 * and may choose another transport. A refusal arrives as an `error` event with a problem object as data.
 */

import { address } from '../address.js';
import { DEFAULT_HEARTBEAT_MS, parseObject, textOrNull } from './contract.js';

/** EventSource has no wildcard: each event that carries its own name has to be asked for, with the channel it is of. */
const NAMED_EVENTS = {
  order_created: 'orders',
  order_updated: 'orders',
  alert_raised: 'alerts',
  alert_resolved: 'alerts',
  dashboard_updated: 'dashboards',
  maintenance: 'system',
  degraded: 'system',
  recovered: 'system',
};

/** @typedef {import('./contract.js').Json} Json */

/** @type {import('./contract.js').Open} */
export function openSse({ channels, since }, listener) {
  const source = new EventSource(address('events', { channels: channels.join(','), since }));
  let heartbeatMs = DEFAULT_HEARTBEAT_MS;
  let opened = false;
  let over = false;

  const close = () => {
    over = true;
    source.close();
  };

  /** @param {import('./contract.js').Down} down */
  const fail = (down) => {
    if (over) return;
    close();
    listener.onDown(down);
  };

  const open = () => {
    if (opened) return;
    opened = true;
    listener.onOpen({ quietMs: 1.2 * heartbeatMs, deadMs: 2.5 * heartbeatMs });
  };

  /**
   * @param {string} name
   * @param {(data: Json, cursor: string | null) => void} receive
   */
  const on = (name, receive) =>
    source.addEventListener(name, (event) => {
      if (over) return;
      listener.onAlive();
      const data = parseObject(event.data);
      if (data === null) return fail({ reason: 'unreadable message' });
      if (name !== 'connected' && name !== 'gap') open(); // a gap may be told before the greeting
      receive(data, event.lastEventId || null);
    });

  on('connected', (data, cursor) => {
    if (data.heartbeatInterval > 0) heartbeatMs = Number(data.heartbeatInterval);
    open();
    if (data.resume === 'reset') listener.onGap();
    // When continuing, what was missed comes next and carries its own positions; until then the old one holds.
    const position = textOrNull(data.cursor) ?? cursor;
    if ((since === null || data.resume === 'reset') && position !== null) listener.onCursor(position);
  });
  on('metrics', (data, cursor) => listener.onSnapshot('metrics', data, textOrNull(data.timestamp), cursor));
  on('metric', (data, cursor) => listener.onSnapshot(data.channel, data.data ?? {}, textOrNull(data.timestamp), cursor));
  on('alert', (data, cursor) => deliver('alerts', `alert_${data.action ?? 'raised'}`, data, cursor));
  on('system', (data, cursor) => deliver('system', data.event ?? data.action ?? 'system', data, cursor));
  for (const [name, channel] of Object.entries(NAMED_EVENTS)) {
    on(name, (data, cursor) => deliver(channel, name, data, cursor));
  }
  on('gap', (_, cursor) => {
    listener.onGap();
    if (cursor !== null) listener.onCursor(cursor);
  });
  on('ping', () => {});
  on('bye', (data) => {
    const retryAfterMs = data.reconnectAfter >= 0 ? Number(data.reconnectAfter) * 1000 : undefined;
    fail({ reason: textOrNull(data.reason) ?? 'server going away', retryAfterMs });
  });

  /**
   * The fields of an event may stand beside `channel` or below `data`.
   * @param {string} channel
   * @param {string} event
   * @param {Json} body
   * @param {string | null} cursor
   */
  function deliver(channel, event, body, cursor) {
    const data = body.data !== null && typeof body.data === 'object' ? body.data : body;
    const timestamp = textOrNull(body.timestamp) ?? textOrNull(body.raisedAt) ?? textOrNull(body.createdAt);
    listener.onEvent(textOrNull(body.channel) ?? channel, textOrNull(body.event) ?? event, data, timestamp, cursor);
  }

  // One name, two things: the browser's own error has no data, the server's refusal has.
  source.addEventListener('error', (event) => {
    const problem = event instanceof MessageEvent ? parseObject(event.data) : null;
    if (problem === null) return fail({ reason: 'stream ended' });
    const retryAfterMs = problem.retryAfter > 0 ? Number(problem.retryAfter) * 1000 : undefined;
    fail({
      reason: textOrNull(problem.title) ?? 'refused by the server',
      retryAfterMs,
      final: problem.code === 'UNAUTHORIZED' || problem.code === 'FORBIDDEN',
    });
  });

  return { close };
}
