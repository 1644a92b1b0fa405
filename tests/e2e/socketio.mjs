// Helpers of the tests with clients of Socket.IO.

import { once } from 'node:events';
import { io } from 'socket.io-client';
import { Inbox, TIMEOUT_MS, onTestEnd } from './helpers.mjs';

/** Transports of a client, by the name of the test. */
export const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };
const EVENTS = ['metric', 'metrics', 'event', 'gap', 'error', 'going_away'];

/** A client in a namespace whose inbox holds `{name, data}`. */
export async function connect(t, url, namespace, options = {}, connect = io) {
  const socket = connect(`${url.replace(/\/$/, '')}${namespace}`, { forceNew: true, reconnectionDelay: 50, ...options });
  onTestEnd(t, () => close(socket));
  const inbox = new Inbox();
  for (const name of EVENTS) socket.on(name, (data) => inbox.add({ name, data }));
  await once(socket, 'connect', { signal: AbortSignal.timeout(TIMEOUT_MS) });
  return { socket, inbox, next: (name) => inbox.next((event) => event.name === name, `the event ${name}`) };
}

/** Ends a client, whatever namespaces and attempts to reconnect it has. */
function close(socket) {
  socket.io.reconnection(false);
  socket.disconnect();
  socket.io.engine?.close();
}

/** Emits an event and returns its acknowledgement. */
export function ask(socket, name, ...args) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no acknowledgement of ${name}`)), TIMEOUT_MS);
    socket.emit(name, ...args, (reply) => (clearTimeout(late), resolve(reply)));
  });
}
