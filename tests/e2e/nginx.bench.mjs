// Measures the delay that nginx adds to events: each event is received directly from the server and through nginx.
// usage: node nginx.bench.mjs [EVENTS] [OTHERS]      default 500 0
//
// An event is pushed after the previous one was received on every path, so that no event waits in a queue of this script.
// OTHERS more event streams through nginx receive each event, too. Server, nginx and clients share the machine, so compare a
// path with the direct one of the same run. TRICAST_BIN names the server's program.

import http from 'node:http';
import http2 from 'node:http2';
import { once } from 'node:events';
import WebSocket from 'ws';
import { Inbox, startServer } from './helpers.mjs';
import { startNginx } from './nginx.mjs';

const [events = 500, others = 0] = process.argv.slice(2).map(Number);
const WARM_UP = 20;
const PATH = 'events?channels=deploys';
const ACCEPT = { accept: 'text/event-stream' };
const INSECURE = { rejectUnauthorized: false };

const cleanups = [];
const t = { after: (cleanup) => cleanups.push(cleanup) };
const env = {
  TRICAST_TRUSTED_PROXIES: '127.0.0.1',
  TRICAST_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
  TRICAST_LIMITS__MAX_CONNECTIONS_PER_ADDRESS: '0',
};
const server = await startServer(t, { env });
const plain = await startNginx(t, { ports: [server.port] });
const secure = await startNginx(t, { ports: [server.port], site: 'tls' });

/** Opens an event stream over HTTP/1.1. Returns an inbox with the time of each event. */
async function stream({ url }) {
  const [response] = await once(http.get(url + PATH, { headers: ACCEPT }), 'response');
  return read(response);
}

/** Opens an event stream over TLS and HTTP/2. */
async function stream2({ secureUrl }) {
  const session = http2.connect(secureUrl, INSECURE);
  cleanups.push(() => session.destroy());
  const request = session.request({ ':path': `/${PATH}`, ...ACCEPT });
  await once(request, 'response');
  return read(request);
}

async function read(body) {
  const inbox = new Inbox();
  body.setEncoding('utf8').on('error', () => {});
  let ready;
  const connected = new Promise((resolve) => (ready = resolve));
  body.on('data', (text) => {
    if (text.includes('event: connected')) ready();
    if (text.includes('event: released')) inbox.add(performance.now());
  });
  await connected;
  return inbox;
}

async function socket(url) {
  const inbox = new Inbox();
  const client = new WebSocket(new URL('ws', url.replace('http', 'ws')), INSECURE);
  client.on('error', () => {});
  cleanups.push(() => client.terminate());
  await once(client, 'open');
  client.send('{"type":"subscribe","channels":["deploys"]}');
  await new Promise((resolve) => {
    client.on('message', (data) => {
      const { type } = JSON.parse(data);
      if (type === 'subscribed') resolve();
      if (type === 'event') inbox.add(performance.now());
    });
  });
  return inbox;
}

const paths = {
  'event stream, direct': await stream(server),
  'event stream, nginx': await stream(plain),
  'event stream, nginx, TLS, HTTP/2': await stream2(secure),
  'WebSocket, direct': await socket(server.url),
  'WebSocket, nginx': await socket(plain.url),
  'WebSocket, nginx, TLS': await socket(secure.secureUrl),
};
for (let n = 0; n < others; n += 1) (await once(http.get(plain.url + PATH, { headers: ACCEPT }), 'response'))[0].resume();

const delays = Object.fromEntries(Object.keys(paths).map((path) => [path, []]));
for (let n = 0; n < WARM_UP + events; n += 1) {
  const pushedAt = performance.now();
  const response = server.push({ channel: 'deploys', event: 'released', data: { n } });
  for (const [path, inbox] of Object.entries(paths)) {
    const receivedAt = await inbox.next();
    if (n >= WARM_UP) delays[path].push(receivedAt - pushedAt);
  }
  await response;
}

const sorted = (list) => list.toSorted((a, b) => a - b);
const at = (list, share) => sorted(list)[Math.min(list.length - 1, Math.floor(list.length * share))];
const ms = (value) => `${value.toFixed(2)} ms`.padStart(10);
console.log(`${events} events, ${others} other streams; delay after the push, and the delay added to the direct path per event`);
console.log(`${''.padEnd(34)}    median       p99   added: median       p99`);
for (const [path, list] of Object.entries(delays)) {
  const direct = delays[`${path.split(',')[0]}, direct`];
  const added = list.map((value, n) => value - direct[n]);
  const more = list === direct ? '' : `      ${ms(at(added, 0.5))}${ms(at(added, 0.99))}`;
  console.log(`${path.padEnd(34)}${ms(at(list, 0.5))}${ms(at(list, 0.99))}${more}`);
}

for (const cleanup of cleanups.reverse()) await cleanup();
process.exit(0);
