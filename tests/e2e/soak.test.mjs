// Mixed load with churn on all transports: memory and descriptors of the server stay flat, and delivery does not slow down.
// usage: node --test tests/e2e/soak.test.mjs        SOAK_SECONDS=1800 for half an hour; prints one line per round
//
// In each round clients come, read and leave in every way: by closing, by vanishing, by reading nothing, by an expired
// token. Between rounds no client is connected, so that what the server still holds belongs to no client.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { Socket, openEvents, startServer, temporaryDirectory, until } from './helpers.mjs';
import { TRANSPORTS, ask, connect } from './socketio.mjs';

const SECONDS = Number(process.env.SOAK_SECONDS ?? 60);
/** Shortest time of a round. */
const ROUND_MS = 2_500;
const SECRET = 'a secret of at least thirty-two bytes';

/** Everything that is kept for a while is kept for less than a round, so that it fills up in the first ones. */
const SETTINGS = {
  TRICAST_AUTH__MODE: 'jwt',
  TRICAST_AUTH__SECRET: SECRET,
  TRICAST_AUTH__LEEWAY: '0ms',
  TRICAST_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
  TRICAST_LIMITS__MAX_CONNECTIONS_PER_USER: '0',
  TRICAST_LIMITS__CHANNEL_TTL: '2s',
  TRICAST_LIMITS__SLOW_AFTER: '200ms',
  TRICAST_LIMITS__SLOW_STEP: '100ms',
  TRICAST_LOG__EVENTS: '500',
  TRICAST_LOG__BYTES: '1MiB',
  TRICAST_LOG__ENDS: '200',
  TRICAST_LOG__RECOVERY: '2s',
  TRICAST_HEARTBEAT__INTERVAL: '1s',
  TRICAST_HEARTBEAT__TIMEOUT: '3s',
};

/** Returns a token (RFC 7519, HS256) that is valid for `seconds`. */
function token(seconds) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { sub: 'ada', permissions: ['admin'], exp: Math.ceil(Date.now() / 1000) + seconds };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** Clients of one round, which all end with it. */
class Round {
  #cleanups = [];
  delays = [];

  constructor(server, number) {
    this.server = server;
    this.number = number;
    this.token = token(600);
    this.headers = { Authorization: `Bearer ${this.token}`, 'Content-Type': 'application/json' };
  }

  /** Makes the round a context for helpers that stop with their test. */
  after(cleanup) {
    this.#cleanups.push(cleanup);
  }

  async run() {
    let done = false;
    const least = sleep(ROUND_MS);
    const clients = [this.webSockets(), this.eventStreams(), this.socketIo(), this.polls(), this.slow(), this.expired(), least];
    try {
      await Promise.all([this.push(() => done), Promise.all(clients).finally(() => (done = true))]);
    } finally {
      for (const cleanup of this.#cleanups) await cleanup();
    }
  }

  /** Sends a request and returns `{tag, text}` of the response. */
  async request(path, options = {}) {
    const response = await fetch(this.server.url + path, { headers: this.headers, ...options });
    const text = await response.text();
    assert.ok(response.status < 400, `${path}: ${response.status} ${text}`);
    return { tag: response.headers.get('etag'), text };
  }

  /** Returns the number of open streams and held polls of all transports. */
  async connected() {
    const { text } = await this.request('metrics');
    const counts = [...text.matchAll(/^tricast_connections\{transport="\w+"\} (\d+)$/gm)];
    assert.ok(counts.length >= 4, text);
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** Pushes values of channels that end soon, events, samples and orders until `done()`. */
  async push(done) {
    for (let n = 0; !done(); n++) {
      const lines = [
        { channel: 'metrics.clock', data: { sent: performance.now(), n } },
        { channel: `metrics.round.${this.number % 4}.${n % 20}`, data: { n, text: 'x'.repeat(n % 500) } },
        { channel: 'metrics.large', data: { n, text: 'x'.repeat(20_000) } },
        { channel: `deploys.${n % 7}`, event: 'released', data: { n } },
        { metric: 'soak.latency', type: 'timing', value: n % 100, labels: { route: `r${n % 10}` } },
      ];
      await this.request('api/metrics', { method: 'POST', body: JSON.stringify(lines) });
      if (n % 10 === 0) {
        const order = { items: 1, total: 9.5, customerName: `Ada ${n % 30}` };
        await this.request('api/orders', { method: 'POST', body: JSON.stringify(order) });
      }
      await sleep(20);
    }
  }

  async webSockets() {
    await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      const socket = await Socket.open(this, this.server, { path: `ws?token=${this.token}` });
      await socket.subscribe(['metrics.*', 'deploys.*', 'orders']);
      for (let n = 0; n < 20; n++) {
        const { data, at } = await socket.inbox.next((message) => message.data?.sent !== undefined);
        if (n > 0) this.delays.push(at - data.sent); // the first one may be older than the subscription
      }
      if (i % 2 === 0) assert.equal((await socket.close()).code, 1000);
      else socket.client.terminate();
    }));
  }

  async eventStreams() {
    await Promise.all(Array.from({ length: 20 }, async () => {
      const stream = openEvents(this, `${this.server.url}events?channels=metrics.clock,orders&token=${this.token}`, ['metric']);
      for (let n = 0; n < 10; n++) await stream.next('metric');
      stream.source.close();
    }));
  }

  async socketIo() {
    const all = Object.values(TRANSPORTS).flatMap((transports) => [transports, transports, transports]);
    await Promise.all(all.map(async (transports, i) => {
      const client = await connect(this, this.server.url, '/tricast', { transports, auth: { token: this.token } });
      await ask(client.socket, 'subscribe', { channels: ['metrics.clock'] });
      await client.next('metric');
      // A client that vanishes is kept until its ping times out, and for its return.
      if (i % 3 === 0) client.socket.io.engine.transport.ws?.terminate?.();
    }));
  }

  async polls() {
    await Promise.all(Array.from({ length: 10 }, async (_, i) => {
      const { tag } = await this.request('api/metrics');
      const headers = { ...this.headers, 'If-None-Match': tag, Prefer: 'wait=5' };
      const abort = new AbortController();
      const next = this.request('api/metrics', { headers, signal: abort.signal });
      if (i % 2 === 0) abort.abort();
      await next.catch((error) => assert.equal(error.name, 'AbortError'));
    }));
  }

  /** Clients that stop reading. The server has to disconnect them. */
  async slow() {
    const sockets = Array.from({ length: 3 }, () => Socket.open(this, this.server, { path: `ws?token=${this.token}` }));
    for (const socket of await Promise.all(sockets)) {
      await socket.subscribe(['metrics.large', 'metrics.*']);
      socket.client.pause();
    }
  }

  async expired() {
    const brief = token(1);
    const socket = await Socket.open(this, this.server, { path: `ws?token=${brief}` });
    const stream = openEvents(this, `${this.server.url}events?token=${brief}`, ['error', 'bye']);
    assert.equal((await socket.closed).code, 4401);
    stream.source.close();
  }
}

/** Returns the resident memory in MB and the number of open descriptors of a process. */
function resources(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return { memory: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) / 1_000, descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

test('memory and descriptors stay flat under mixed load with churn', { timeout: (SECONDS + 120) * 1_000 }, async (t) => {
  const server = await startServer(t, { env: SETTINGS, flags: ['--data-dir', temporaryDirectory(t)] });
  const rounds = [];
  const end = performance.now() + SECONDS * 1_000;
  while (performance.now() < end) {
    const round = new Round(server, rounds.length);
    await round.run();
    await until(async () => (await round.connected()) === 0, 'all clients to be gone');
    const now = { ...resources(server.child.pid), delay: median(round.delays) };
    t.diagnostic(`round ${rounds.length}: ${now.memory.toFixed(1)} MB, ${now.descriptors} descriptors, ${now.delay.toFixed(1)} ms from push to delivery`);
    rounds.push(now);
  }
  assert.ok(rounds.length >= 8, `${rounds.length} rounds are too few to compare`);
  // The first quarter fills caches and buffers.
  const quarter = Math.floor(rounds.length / 4);
  const [early, late] = [rounds.slice(quarter, 2 * quarter), rounds.slice(-quarter)];
  for (const [name, margin] of [['memory', 3], ['descriptors', 4]]) {
    const [before, after] = [early, late].map((part) => median(part.map((round) => round[name])));
    assert.ok(after <= before * 1.05 + margin, `${name} grew from ${before} to ${after}: ${JSON.stringify(rounds.map((round) => round[name]))}`);
  }
});
