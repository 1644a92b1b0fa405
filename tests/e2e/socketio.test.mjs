// Socket.IO as its own clients see it: socket.io-client 4, an older 4.0 and 3, in Node.js and in Chromium, and python-socketio.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { io } from 'socket.io-client';
import { io as io40 } from 'socket.io-client-4-0';
import { io as io3 } from 'socket.io-client-3';
import { useBrowser } from './browser.mjs';
import { startRedis, waitUpTo } from './cluster.mjs';
import { startNginx } from './nginx.mjs';
import { TIMEOUT_MS, TOGETHER, startServer, until } from './helpers.mjs';
import { TRANSPORTS, ask, connect } from './socketio.mjs';

const CLIENTS = { 'socket.io-client 4': io, 'socket.io-client 4.0': io40, 'socket.io-client 3': io3 };

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

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
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
    const folder = fileURLToPath(new URL('../../target/foreign-python', import.meta.url));
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
