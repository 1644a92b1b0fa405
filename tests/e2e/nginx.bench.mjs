// What nginx adds to an event: the same one is awaited straight from the server and through nginx, again and again.
// usage: node nginx.bench.mjs [EVENTS] [OTHERS]      default 500 0
//
// An event is pushed when the one before it has come on every way, so nothing waits in a queue of ours. OTHERS more event
// streams through nginx get each event, too. Server, nginx and clients share the machine, so a way is to be read against
// the direct one of the same run. TRICAST_BIN names the server's program.

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

const undo = [];
const t = { after: (last) => undo.push(last) };
const env = {
  TRICAST_TRUSTED_PROXIES: '127.0.0.1',
  TRICAST_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
  TRICAST_LIMITS__MAX_CONNECTIONS_PER_ADDRESS: '0',
};
const server = await startServer(t, { env });
const plain = await startNginx(t, { ports: [server.port] });
const secure = await startNginx(t, { ports: [server.port], site: 'tls' });

/** An event stream over HTTP/1.1: when each event came. */
async function stream({ url }) {
  const [answer] = await once(http.get(url + PATH, { headers: ACCEPT }), 'response');
  return read(answer);
}

/** The same over TLS and HTTP/2. */
async function stream2({ secureUrl }) {
  const session = http2.connect(secureUrl, INSECURE);
  undo.push(() => session.destroy());
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
  undo.push(() => client.terminate());
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

const ways = {
  'event stream, direct': await stream(server),
  'event stream, nginx': await stream(plain),
  'event stream, nginx, TLS, HTTP/2': await stream2(secure),
  'WebSocket, direct': await socket(server.url),
  'WebSocket, nginx': await socket(plain.url),
  'WebSocket, nginx, TLS': await socket(secure.secureUrl),
};
for (let n = 0; n < others; n += 1) (await once(http.get(plain.url + PATH, { headers: ACCEPT }), 'response'))[0].resume();

const taken = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
for (let n = 0; n < WARM_UP + events; n += 1) {
  const pushed = performance.now();
  const answered = server.push({ channel: 'deploys', event: 'released', data: { n } });
  for (const [way, inbox] of Object.entries(ways)) {
    const came = await inbox.next();
    if (n >= WARM_UP) taken[way].push(came - pushed);
  }
  await answered;
}

const sorted = (list) => list.toSorted((a, b) => a - b);
const at = (list, share) => sorted(list)[Math.min(list.length - 1, Math.floor(list.length * share))];
const ms = (value) => `${value.toFixed(2)} ms`.padStart(10);
console.log(`${events} events, ${others} other streams; from the push on, and what the way adds to the direct one, event by event`);
console.log(`${''.padEnd(34)}    median       p99   added: median       p99`);
for (const [way, list] of Object.entries(taken)) {
  const direct = taken[`${way.split(',')[0]}, direct`];
  const added = list.map((value, n) => value - direct[n]);
  const more = list === direct ? '' : `      ${ms(at(added, 0.5))}${ms(at(added, 0.99))}`;
  console.log(`${way.padEnd(34)}${ms(at(list, 0.5))}${ms(at(list, 0.99))}${more}`);
}

for (const last of undo.reverse()) await last();
process.exit(0);
