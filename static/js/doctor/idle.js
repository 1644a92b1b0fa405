// @ts-check
/**
 * Tests how long a connection may be silent: heartbeats hide a timeout that is longer than their interval, and a shorter one
 * ends every stream.
 */

import { PATIENCE_MS } from './ask.js';
import { listen } from './events.js';
import { spoken } from './report.js';
import { Talk } from './websocket.js';

/** @typedef {import('./report.js').Check} Check */

const EVENTS = { id: 'idle_events', name: 'Quiet events', remedies: ['events_timeout'] };
const SOCKET = { id: 'idle_websocket', name: 'Quiet socket', remedies: ['websocket_timeout'] };

/**
 * Requests two probe events with a silence in between.
 * @param {number} idle ms
 * @returns {Promise<Check>}
 */
export async function checkQuietEvents(idle) {
  const { id, name } = EVENTS;
  const skipped = (/** @type {string} */ detail) => ({ id, name, verdict: /** @type {const} */ ('skipped'), headline: 'not tested', detail });
  const heard = await listen({ probe: 2, every: idle, bytes: 0 }, idle + PATIENCE_MS).catch(() => null);
  if (heard === null || heard.beats.length === 0) return skipped('Event streams do not work.');
  const [first, second] = heard.beats;
  if (second !== undefined && second.receivedAt - first.receivedAt < idle / 2) return skipped("Events are held back, so this can't be tested.");
  const lasted = second === undefined ? heard.after - first.receivedAt : idle;
  return judge(EVENTS, { lasted, survived: second !== undefined, heartbeat: heard.seen.heartbeat ?? 15_000 });
}

/**
 * Opens a WebSocket without heartbeats.
 * @param {number} idle ms
 * @param {string} token
 * @returns {Promise<Check>}
 */
export async function checkQuietSocket(idle, token) {
  const { id, name } = SOCKET;
  const skipped = (/** @type {string} */ detail) => ({ id, name, verdict: /** @type {const} */ ('skipped'), headline: 'not tested', detail });
  const talk = new Talk();
  try {
    const greeting = await talk.next(({ type }) => type === 'connected');
    if (greeting === null) return skipped('No WebSocket can be used.');
    if (token !== '') await talk.ask({ type: 'authenticate', requestId: 'token', token });
    const interval = idle + 3 * PATIENCE_MS;
    const settings = { heartbeatInterval: interval, heartbeatTimeout: 3 * interval };
    const answer = await talk.ask({ type: 'configure', requestId: 'quiet', settings });
    if (answer?.type !== 'configured') return skipped('Without a token a WebSocket is not kept open so long.');
    const began = performance.now();
    while (talk.closed === null && performance.now() < began + idle) await talk.changed(began + idle);
    const quiet = performance.now() - began;
    // A silently dropped connection is only noticed when it is used.
    const survived = talk.closed === null && (await talk.ask({ type: 'ping', requestId: 'still there' })) !== null;
    if (talk.closed !== null && talk.closed.code !== 1006) {
      return skipped(`The server closed it itself: ${talk.closed.code} ${talk.closed.reason}.`);
    }
    return judge(SOCKET, { lasted: survived ? idle : quiet, survived, heartbeat: greeting.heartbeatInterval });
  } finally {
    talk.close();
  }
}

/**
 * A timeout is acceptable if the server's heartbeat comes well before it.
 * @param {{id: string, name: string, remedies: string[]}} at
 * @param {{lasted: number, survived: boolean, heartbeat: number}} silence ms
 * @returns {Check}
 */
function judge({ id, name, remedies }, { lasted, survived, heartbeat }) {
  const after = spoken(lasted);
  const speaks = `The server sends a heartbeat every ${spoken(heartbeat)}`;
  if (survived) return { id, name, verdict: 'ok', headline: `alive after ${after} of silence` };
  const headline = `cut after ${after} of silence`;
  if (lasted <= heartbeat) return { id, name, verdict: 'fail', headline, detail: `${speaks}, which is too late.`, remedies };
  if (lasted < heartbeat * 1.5) return { id, name, verdict: 'warn', headline, detail: `${speaks}, which is just in time.`, remedies };
  return { id, name, verdict: 'ok', headline: `${headline}, which never happens`, detail: `${speaks}, well before that.` };
}
