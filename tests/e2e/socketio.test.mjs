// Socket.IO as its own clients see it: socket.io-client 4, an older 4.0 and 3, in Node.js and in Chromium, and python-socketio.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { io } from 'socket.io-client';
import { io as io40 } from 'socket.io-client-4-0';
import { io as io3 } from 'socket.io-client-3';
import { useBrowser } from './browser.mjs';
import { startRedis, waitUpTo } from './cluster.mjs';
import { startNginx } from './nginx.mjs';
import { Inbox, TIMEOUT_MS, TOGETHER, onTestEnd, startServer, until } from './helpers.mjs';

const TRANSPORTS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };
const CLIENTS = { 'socket.io-client 4': io, 'socket.io-client 4.0': io40, 'socket.io-client 3': io3 };
const EVENTS = ['metric', 'metrics', 'event', 'gap', 'error', 'going_away'];

/** A client in a namespace whose inbox holds `{name, data}`. */
async function connect(t, url, namespace, options = {}, connect = io) {
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
function ask(socket, name, ...args) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no acknowledgement of ${name}`)), TIMEOUT_MS);
    socket.emit(name, ...args, (reply) => (clearTimeout(late), resolve(reply)));
  });
}

/** A relay to the server whose connections can be cut. */
async function relay(t, port) {
  const open = new Set();
  const listener = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1');
    for (const [from, to] of [[client, server], [server, client]]) {
      open.add(from);
      from.on('error', () => {}).on('close', () => (open.delete(from), to.destroy()));
      from.pipe(to);
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => open.forEach((socket) => socket.destroy());
  onTestEnd(t, () => (listener.close(), cut()));
  return { url: `http://127.0.0.1:${listener.address().port}/`, cut };
}

describe('socket.io', { ...TOGETHER, timeout: 120_000 }, () => {
  const openPage = useBrowser();

  for (const [version, connectWith] of Object.entries(CLIENTS)) {
    for (const [name, transports] of Object.entries(TRANSPORTS)) {
      test(`${version} by ${name}`, async (t) => {
        const server = await startServer(t);
        const { socket, inbox } = await connect(t, server.url, '/tricast', { transports }, connectWith);
        const reply = await ask(socket, 'subscribe', { channels: ['metrics.a', 'deploys'] });
        assert.equal(reply.status, 'ok');
        if (name === 'upgrade') {
          await until(() => socket.io.engine.transport.name === 'websocket', 'the upgrade');
        }
        await server.push([{ channel: 'metrics.a', data: { 'ключ': 'ünï ✓ 😀 "quoted"' } }, { channel: 'deploys', event: 'released', data: { n: 1 } }]);
        const received = (name) => inbox.all.filter((event) => event.name === name).map(({ data }) => data.data);
        await until(() => received('metric').length > 0 && received('event').length > 0, 'both', () => JSON.stringify(inbox.all));
        assert.deepEqual(received('metric'), [{ 'ключ': 'ünï ✓ 😀 "quoted"' }]);
        assert.deepEqual(received('event'), [{ n: 1 }]);
        assert.equal(socket.io.engine.transport.name, name === 'polling' ? 'polling' : 'websocket');
      });
    }
  }

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    test(`a client by ${name} that is cut again and again gets every event once`, async (t) => {
      // A client whose WebSocket is cut while it pauses polling for the upgrade stops polling: engine.io-client does not resume
      // it. It reconnects when no ping arrives, so pings have to be frequent here.
      const env = { TRICAST_HEARTBEAT__INTERVAL: '1s', TRICAST_HEARTBEAT__TIMEOUT: '4s' };
      const server = await startServer(t, { env });
      const between = await relay(t, server.port);
      const { socket, inbox } = await connect(t, between.url, '/tricast', { transports, reconnectionDelayMax: 100 });
      let [recovered, lost] = [0, 0];
      socket.on('connect', () => (socket.recovered ? (recovered += 1) : (lost += 1)));
      await ask(socket, 'subscribe', { channels: ['deploys'] });
      const numbers = () => inbox.all.filter((event) => event.name === 'event').map(({ data }) => data.data.n);
      const rounds = 12;
      for (let n = 0; n < rounds * 5; n += 1) {
        await server.push({ channel: 'deploys', event: 'released', data: { n } });
        // Between two polls there may be nothing to cut.
        if (n % 5 === 2) between.cut();
        if (n % 5 === 4) await until(() => numbers().length > n, 'the events of this round', () => numbers().join());
      }
      assert.deepEqual(numbers(), Array.from({ length: rounds * 5 }, (_, n) => n));
      assert.ok(recovered > 0 && lost === 0, `${recovered} ${lost}`);
    });
  }

  test('several namespaces share a connection, and an unknown one is refused', async (t) => {
    const server = await startServer(t);
    const { socket } = await connect(t, server.url, '/tricast');
    for (const namespace of ['/', '/dashboard', '/analytics/dashboard']) {
      const other = socket.io.socket(namespace);
      other.connect();
      await once(other, 'connect', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    }
    const unknown = socket.io.socket('/no-such-namespace');
    unknown.connect();
    const [error] = await once(unknown, 'connect_error', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    assert.equal(error.message, 'Invalid namespace');
    assert.equal(await server.connections('socketio'), 1);
  });

  test('a dashboard receives its documented events', async (t) => {
    const server = await startServer(t);
    const { socket } = await connect(t, server.url, '/');
    const initial = once(socket, 'initial-data', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    assert.equal((await ask(socket, 'subscribe-metrics', 'main', { interval: '100ms' })).status, 'ok');
    assert.deepEqual(Object.keys((await initial)[0]).sort(), ['activeUsers', 'orders', 'revenue', 'snapshot', 'timestamp']);
    await server.order('Ada');
    let update;
    socket.on('metrics-update', (data) => (update = data));
    await until(() => update?.orders === 1 && update?.revenue === 19.9, 'the order', () => JSON.stringify(update));
  });

  test('a server that leaves sends its clients away, and they return to its successor', async (t) => {
    const server = await startServer(t);
    const { socket, next } = await connect(t, server.url, '/tricast');
    const away = once(socket, 'disconnect', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    await server.stop();
    assert.equal((await next('going_away')).data.reason, 'SERVER_MAINTENANCE');
    assert.equal((await away)[0], 'transport close');
    await startServer(t, { port: server.port });
    await until(() => socket.connected, 'the next connection');
  });

  for (const [name, transports] of Object.entries({ polling: ['polling'], websocket: ['websocket'] })) {
    test(`behind nginx, a client by ${name} is recovered by another node when its own is killed`, async (t) => {
      const redis = await startRedis(t);
      const node = (id) => startServer(t, { env: { TRICAST_BUS: redis.url, TRICAST_NODE_ID: id, TRICAST_TRUSTED_PROXIES: '127.0.0.1' } });
      const nodes = await Promise.all([node('one'), node('two')]);
      const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
      const { socket, inbox } = await connect(t, nginx.url, '/tricast', { transports, reconnectionDelayMax: 200 });
      assert.equal((await ask(socket, 'subscribe', { channels: ['deploys'] })).status, 'ok');
      const numbers = () => inbox.all.filter((event) => event.name === 'event').map(({ data }) => data.data.n);
      const push = (server, n) => server.push({ channel: 'deploys', event: 'released', data: { n } });
      await push(nodes[0], 0);
      await until(() => numbers().length === 1, 'the first event');
      const [own, other] = (await nodes[0].connections('socketio')) === 1 ? nodes : nodes.toReversed();
      let recovered = 0;
      socket.on('connect', () => (recovered += socket.recovered ? 1 : 0));
      await own.kill();
      // The other node may have to take over the lead first.
      await waitUpTo(30, () => push(other, 1).then(() => true, () => false), 'a push');
      await push(other, 2);
      await waitUpTo(30, () => numbers().length >= 3, 'all events', () => numbers().join());
      assert.deepEqual(numbers(), [0, 1, 2]);
      assert.equal(recovered, 1);
    });
  }

  test('python-socketio, sync and async', async (t) => {
    const server = await startServer(t);
    const folder = fileURLToPath(new URL('../../target/python-socketio', import.meta.url));
    const run = promisify(execFile);
    assert.ok(existsSync(`${folder}/bin/python`), 'python-socketio is missing: tests/run installs it below target/');
    const script = fileURLToPath(new URL('socketio_client.py', import.meta.url));
    for (const kind of ['sync', 'async']) {
      for (const transport of ['polling', 'websocket', 'upgrade']) {
        const { stdout } = await run(`${folder}/bin/python`, [script, kind, transport, server.url.replace(/\/$/, '')], { timeout: TIMEOUT_MS });
        assert.equal(stdout.trim(), 'ok', `${kind} ${transport}`);
      }
    }
  });

  test('a page in Chromium polls, upgrades and receives', async (t) => {
    const server = await startServer(t);
    const page = await openPage(t);
    await page.goto(`${server.url}basic`);
    const bundle = fileURLToPath(new URL('node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url));
    await page.evaluate(readFileSync(bundle, 'utf8'));
    const received = page.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const socket = globalThis.io('/tricast');
          socket.on('connect_error', reject);
          socket.on('metric', (metric) => resolve({ data: metric.data, transport: socket.io.engine.transport.name }));
          socket.on('connect', () => socket.emit('subscribe', { channels: ['metrics.a'] }));
          socket.io.engine.on('upgrade', () => fetch('/api/metrics', { method: 'POST', body: JSON.stringify({ channel: 'metrics.a', data: { x: 1 } }) }));
        }),
    );
    assert.deepEqual(await received, { data: { x: 1 }, transport: 'websocket' });
  });
});
