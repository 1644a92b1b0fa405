// nginx with draining, failed and lagging nodes, and during a reload of its configuration.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { WebSocketServer } from 'ws';
import { Socket, TOGETHER, onTestEnd, curl, openEvents, startServer, until } from './helpers.mjs';
import { startServerWithNginx, startNginx } from './nginx.mjs';

/** Starts a fake node that responds with its name, or as `handle` does. */
async function startFakeNode(t, name, handle = (_, response) => response.end(name)) {
  const node = { requests: 0, handle };
  const server = http.createServer((request, response) => {
    node.requests += 1;
    node.handle(request, response);
  });
  new WebSocketServer({ server }).on('connection', (socket) => socket.send(JSON.stringify({ type: 'connected', name })));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(t, () => (server.closeAllConnections(), server.close()));
  return Object.assign(node, { port: server.address().port });
}

/** Settings of a server whose drain lasts longer than a test, also with slow clients. */
const LONG_DRAIN = { TRICAST_DRAIN_TIMEOUT: '60s', TRICAST_LIMITS__SLOW_AFTER: '0ms', TRICAST_TRUSTED_PROXIES: '127.0.0.1' };

/** Starts two nodes and nginx in front of them. */
async function startTwoNodes(t) {
  const nodes = await Promise.all([startServer(t, { env: LONG_DRAIN }), startServer(t, { env: LONG_DRAIN })]);
  const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
  return { nodes, nginx };
}

/** Starts the drain of a server, which a client that does not read keeps running until the test ends. */
async function startDrain(t, server) {
  const client = net.connect(server.port, '127.0.0.1').pause();
  onTestEnd(t, () => client.destroy());
  client.write('GET /events?channels=metrics.big HTTP/1.1\r\nHost: tricast\r\nAccept: text/event-stream\r\n\r\n');
  await until(async () => (await server.connections('sse')) === 1, 'the stream');
  const padding = 'x'.repeat(900_000);
  for (let n = 0; n < 12; n += 1) await server.push({ channel: 'metrics.big', data: { n, padding } });
  server.child.kill('SIGTERM');
  await until(async () => (await curl(`${server.url}readyz`)).status === 503, 'the drain');
}

const epoch = ({ greeting }) => greeting.cursor.split(':')[0];

describe('a node that drains', TOGETHER, () => {
  test('refuses new connections with Retry-After through nginx', async (t) => {
    const { server, nginx } = await startServerWithNginx(t, { env: LONG_DRAIN });
    await startDrain(t, server);
    const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dHJpY2FzdCByZWFkeSEhIQ=='];
    for (const path of ['ws', 'v1/dashboard/ws']) {
      const { status, headers, body } = await curl(...upgrade.flatMap((field) => ['--header', field]), nginx.url + path);
      assert.deepEqual([status, headers['content-type']], [503, 'application/problem+json'], body);
      assert.ok(Number(headers['retry-after']) >= 1 && JSON.parse(body).code === 'SERVER_ERROR', body);
      assert.equal(JSON.parse(body).instance, headers['x-request-id']);
    }
    const stream = await curl('--header', 'Accept: text/event-stream', `${nginx.url}events`);
    assert.equal(stream.status, 200);
    assert.match(stream.body, /retry: ?\d+[^]*event: ?error\ndata: ?\{.*"status":503/);
    assert.equal((await curl(`${nginx.url}readyz`)).status, 503);
  });

  test('receives no new upgrades and streams while another node is available', async (t) => {
    const { nodes, nginx } = await startTwoNodes(t);
    const other = epoch(await Socket.open(t, nodes[1]));
    await startDrain(t, nodes[0]);
    for (let n = 0; n < 8; n += 1) assert.equal(epoch(await Socket.open(t, nginx)), other);
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    await nodes[1].push({ channel: 'deploys', event: 'released', data: { n: 1 } });
    assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n: 1 });
  });
});

describe('several nodes', TOGETHER, () => {
  test('serve every poll and stream when one of them is down', async (t) => {
    const { nodes, nginx } = await startTwoNodes(t);
    const before = new Set();
    await until(async () => before.add(epoch(await Socket.open(t, nginx))).size === 2, 'streams at both');
    await nodes[0].kill();
    const remaining = epoch(await Socket.open(t, nodes[1]));
    for (let n = 1; n <= 12; n += 1) {
      assert.equal((await curl('--interface', `127.0.0.${n}`, `${nginx.url}api/metrics`)).status, 200);
      assert.equal(epoch(await Socket.open(t, nginx)), remaining);
    }
  });

  test('do not receive a repeated non-idempotent request', async (t) => {
    const methods = [];
    const fail = (request, response) => {
      if (request.url === '/healthz') return response.end();
      methods.push(request.method);
      request.resume().on('end', () => request.socket.destroy());
    };
    const nodes = await Promise.all(['a', 'b'].map((name) => startFakeNode(t, name, fail)));
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    const send = async (method) => {
      const { status, headers } = await curl('--request', method, '--data', '{}', `${nginx.url}api/orders/1`);
      assert.deepEqual([status, headers['content-type']], [502, 'application/problem+json']);
      return methods.includes(method);
    };
    // A node that failed is skipped for a second.
    for (const method of ['POST', 'PATCH']) await until(() => send(method), method);
    assert.deepEqual(methods, ['POST', 'PATCH']);
    await until(async () => (await send('GET'), methods.length >= 4), 'a GET to be sent to both', () => methods);
    assert.deepEqual(methods.slice(2, 4), ['GET', 'GET']);
  });

  test('receive the control messages of their own event streams', async (t) => {
    const { nodes, nginx } = await startTwoNodes(t);
    for (const node of nodes) {
      const inbox = openEvents(t, `${node.url}events?channels=deploys`, []);
      const { session } = JSON.parse((await inbox.next('connected')).data);
      const message = ['--json', '{"type":"subscribe","channels":["metrics"]}'];
      for (let n = 1; n <= 4; n += 1) {
        const { status, body } = await curl('--interface', `127.0.0.${n}`, ...message, `${nginx.url}api/sessions/${session}`);
        assert.equal(status, 200, body);
      }
    }
    assert.equal((await curl('--json', '{"type":"subscribe","channels":["metrics"]}', `${nginx.url}api/sessions/nobody`)).status, 404);
  });

  test('are not skipped after refusals of a single path', async (t) => {
    const full = (request, response) => {
      const refused = /^\/(ws|events|api\/orders|readyz)/.test(request.url);
      response.writeHead(refused ? 503 : 200).end(request.url);
    };
    const nodes = await Promise.all(['a', 'b'].map((name) => startFakeNode(t, name, full)));
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    for (const path of ['ws', 'events?strict=1', 'api/orders', 'readyz']) {
      // Often enough that nginx could take both nodes for unavailable.
      for (let n = 0; n < 12; n += 1) await curl(nginx.url + path);
      for (const other of ['', 'api/metrics', 'static/js/main.js']) {
        assert.equal((await curl(nginx.url + other)).status, 200, `/${other} after refusals of /${path}`);
      }
    }
  });

  test('serve the polls of a node that is behind, while its other requests stay with it', async (t) => {
    const nodes = await Promise.all(['a', 'b'].map((name) => startFakeNode(t, name)));
    const [behind] = nodes;
    const polls = { POST: 0, GET: 0, HEAD: 0 };
    behind.handle = ({ method, url }, response) => {
      const isPoll = url.startsWith('/api/metrics');
      if (isPoll) polls[method] += 1;
      response.writeHead(isPoll ? 503 : 200, { 'retry-after': 1, 'x-of': 'a' }).end('a');
    };
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    const from = (n, path, ...more) => curl('--interface', `127.0.0.${n}`, ...more, nginx.url + path);
    const pageOf = async (n) => (await from(n, '')).body;
    for (let n = 1; n <= 12; n += 1) {
      const before = await pageOf(n);
      for (const path of ['api/metrics?since=x:1', 'api/metrics/metrics.a?wait=1']) {
        const { status, body } = await from(n, path);
        assert.deepEqual([status, body], [200, 'b'], path);
        assert.equal((await from(n, path, '--head')).status, 200);
      }
      assert.equal(await pageOf(n), before, 'pages and orders stay with their node');
    }
    assert.ok(polls.GET >= 4 && polls.HEAD >= 4, 'the node was tried first each time');
    // A push is not repeated on another node.
    const pushed = async (n) => (await from(n, 'api/metrics', '--request', 'POST', '--data', '{}')).body;
    const names = new Set();
    for (let n = 1; n <= 12; n += 1) names.add(await pushed(n));
    assert.deepEqual([...names].sort(), ['a', 'b']);
  });

  test('return their 503 when all are behind, and serve all other polls', async (t) => {
    const refuse = ({ url }, response) => {
      const status = { '/api/metrics?since=x:1': 503, '/api/metrics?since=x:2': 429, '/api/metrics?since=x:3': 400 }[url] ?? 200;
      response.writeHead(status, { 'retry-after': 7, 'content-type': 'application/problem+json' }).end(`{"code":"${status}"}`);
    };
    const nodes = await Promise.all(['a', 'b'].map((name) => startFakeNode(t, name, refuse)));
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    // As often as would make nginx think that neither is there.
    for (let n = 0; n < 12; n += 1) {
      const { status, headers, body } = await curl(`${nginx.url}api/metrics?since=x:1`);
      assert.deepEqual([status, headers['retry-after'], body], [503, '7', '{"code":"503"}']);
    }
    for (const [since, expected] of [['2', 429], ['3', 400], ['4', 200]]) {
      const { status, body } = await curl(`${nginx.url}api/metrics?since=x:${since}`);
      assert.deepEqual([status, body], [expected, `{"code":"${expected}"}`], 'the response of the server');
    }
  });

  test('serve all requests of an address on the same node', async (t) => {
    const nodes = await Promise.all(['a', 'b'].map((name) => startFakeNode(t, name)));
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    const used = new Set();
    for (let n = 1; n <= 16; n += 1) {
      const address = `127.0.0.${n}`;
      const names = new Set();
      for (const path of ['api/metrics', 'api/metrics?wait=1', 'api/orders', 'api/metrics/metrics.a', '']) {
        names.add((await curl('--interface', address, nginx.url + path)).body);
      }
      assert.equal(names.size, 1, `${address}: ${[...names]}`);
      used.add([...names][0]);
    }
    assert.equal(used.size, 2, 'both nodes have some addresses');
  });
});

describe('nginx', TOGETHER, () => {
  test('reloads its configuration without a lost or repeated event', async (t) => {
    const changes = { 'nginx.conf': [['worker_shutdown_timeout 60s', 'worker_shutdown_timeout 1s']] };
    const { server, nginx } = await startServerWithNginx(t, { changes });
    const old = nginx.workers();
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    const socket = await openResumingSocket(t, nginx, 'deploys');
    const polls = startPolling(nginx, 'deploys', await server.push({ channel: 'metrics.begin', data: { n: 0 } }));
    await polls.started();

    let n = 0;
    const push = () => server.push({ channel: 'deploys', event: 'released', data: { n: (n += 1) } });
    for (let k = 0; k < 20; k += 1) await push();
    await nginx.reload();
    // Old workers continue their streams, then exit, and clients reconnect to new ones. Events are pushed all the time.
    await until(async () => (await push(), stream.opened >= 2 && socket.opened() >= 2), 'all clients to reconnect');
    await until(async () => (await push(), !nginx.workers().some((pid) => old.includes(pid))), 'the old workers to exit');
    for (let k = 0; k < 20; k += 1) await push();
    const all = Array.from({ length: n }, (_, k) => k + 1);
    const received = () => stream.received('released').map(({ data }) => JSON.parse(data).data.n);
    await until(() => [received(), socket.received(), polls.received()].every((list) => list.at(-1) === n), 'the last event');
    await polls.stop();
    assert.deepEqual(received(), all, 'event stream');
    assert.deepEqual(socket.received(), all, 'WebSocket');
    assert.deepEqual(polls.received(), all, 'polls');
  });

  test('forwards each event without waiting for the next one', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    const socket = await Socket.open(t, nginx);
    await socket.subscribe(['deploys']);
    for (let n = 1; n <= 50; n += 1) {
      await server.push({ channel: 'deploys', event: 'released', data: { n } });
      // Nothing else is sent that could flush a buffer: if nginx buffers or compresses the stream, this times out.
      assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n });
      assert.deepEqual((await socket.inbox.next(({ type }) => type === 'event')).data, { n });
    }
    assert.deepEqual([stream.opened, stream.received('released').length, socket.received('deploys').length], [1, 50, 50]);
  });
});

/** Opens a WebSocket that reconnects and resumes from its cursor. */
async function openResumingSocket(t, nginx, channel) {
  const events = [];
  let opened = 0;
  let since;
  const open = async () => {
    const socket = await Socket.open(t, nginx);
    opened += 1;
    socket.client.on('message', (data) => {
      const message = JSON.parse(data);
      if (message.type === 'event') events.push(message.data.n);
      since = message.cursor ?? since;
    });
    await socket.subscribe([channel], since === undefined ? {} : { since });
    socket.closed.then(() => open().catch(() => {}));
  };
  await open();
  return { opened: () => opened, received: () => events };
}

/** Polls from a cursor, each time over a new connection. Fails after any status but 200 and 304. */
function startPolling(nginx, channel, { cursor }) {
  const events = [];
  let polls = 0;
  let on = true;
  const run = async () => {
    while (on) {
      const { status, body } = await curl(`${nginx.url}api/metrics?channels=${channel}&since=${cursor}`);
      polls += 1;
      assert.ok([200, 304].includes(status), `${status}: ${body}`);
      if (status === 304) continue;
      const response = JSON.parse(body);
      assert.notEqual(response.gap, true);
      events.push(...response.events.map(({ data }) => data.n));
      cursor = response.cursor;
    }
  };
  const running = run();
  running.catch(() => {});
  return {
    received: () => events,
    started: () => until(() => polls > 0, 'a poll'),
    stop: () => ((on = false), running),
  };
}
