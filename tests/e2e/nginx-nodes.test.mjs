// Nodes that come and go, and nginx itself that reads its configuration again: nobody loses anything.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { WebSocketServer } from 'ws';
import { Socket, TOGETHER, atEnd, curl, openEvents, startServer, until } from './helpers.mjs';
import { startBoth, startNginx } from './nginx.mjs';

/** A stand-in for a node that says its name to everything. `on` changes what it does. */
async function startNode(t, name, on = (_, response) => response.end(name)) {
  const node = { asked: 0, on };
  const server = http.createServer((request, response) => {
    node.asked += 1;
    node.on(request, response);
  });
  new WebSocketServer({ server }).on('connection', (socket) => socket.send(JSON.stringify({ type: 'connected', name })));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => (server.closeAllConnections(), server.close()));
  return Object.assign(node, { port: server.address().port });
}

/** It waits for its clients longer than a test takes, and for slow ones, too. */
const PATIENT = { TRICAST_DRAIN_TIMEOUT: '60s', TRICAST_LIMITS__SLOW_AFTER: '0ms', TRICAST_TRUSTED_PROXIES: '127.0.0.1' };

/** Two real nodes and nginx in front of both. */
async function startTwo(t) {
  const nodes = await Promise.all([startServer(t, { env: PATIENT }), startServer(t, { env: PATIENT })]);
  const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
  return { nodes, nginx };
}

/** Tells a server to stop, and keeps it from leaving until the test is over: by a client that does not read. */
async function holdDraining(t, server) {
  const stays = net.connect(server.port, '127.0.0.1').pause();
  atEnd(t, () => stays.destroy());
  stays.write('GET /events?channels=metrics.big HTTP/1.1\r\nHost: tricast\r\nAccept: text/event-stream\r\n\r\n');
  await until(async () => (await server.connections('sse')) === 1, 'the stream');
  const padding = 'x'.repeat(900_000);
  for (let n = 0; n < 12; n += 1) await server.push({ channel: 'metrics.big', data: { n, padding } });
  server.child.kill('SIGTERM');
  await until(async () => (await curl(`${server.url}readyz`)).status === 503, 'the draining');
}

const epoch = ({ greeting }) => greeting.cursor.split(':')[0];

describe('a node that drains', TOGETHER, () => {
  test('refuses politely through nginx', async (t) => {
    const { server, nginx } = await startBoth(t, { env: PATIENT });
    await holdDraining(t, server);
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

  test('hands upgrades and streams over to another one', async (t) => {
    const { nodes, nginx } = await startTwo(t);
    const other = epoch(await Socket.open(t, nodes[1]));
    await holdDraining(t, nodes[0]);
    for (let n = 0; n < 8; n += 1) assert.equal(epoch(await Socket.open(t, nginx)), other);
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    await nodes[1].push({ channel: 'deploys', event: 'released', data: { n: 1 } });
    assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n: 1 });
  });
});

describe('several nodes', TOGETHER, () => {
  test('of which one is gone: every poll and every stream is answered', async (t) => {
    const { nodes, nginx } = await startTwo(t);
    const before = new Set();
    await until(async () => before.add(epoch(await Socket.open(t, nginx))).size === 2, 'streams at both');
    await nodes[0].kill();
    const left = epoch(await Socket.open(t, nodes[1]));
    for (let n = 1; n <= 12; n += 1) {
      assert.equal((await curl('--interface', `127.0.0.${n}`, `${nginx.url}api/metrics`)).status, 200);
      assert.equal(epoch(await Socket.open(t, nginx)), left);
    }
  });

  test('what could be done twice is not sent to a second one', async (t) => {
    const asked = [];
    const die = (request, response) => {
      if (request.url === '/healthz') return response.end();
      asked.push(request.method);
      request.resume().on('end', () => request.socket.destroy());
    };
    const nodes = await Promise.all(['a', 'b'].map((name) => startNode(t, name, die)));
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    const send = async (method) => {
      const { status, headers } = await curl('--request', method, '--data', '{}', `${nginx.url}api/orders/1`);
      assert.deepEqual([status, headers['content-type']], [502, 'application/problem+json']);
      return asked.includes(method);
    };
    // A node that failed is left alone for a second.
    for (const method of ['POST', 'PATCH']) await until(() => send(method), method);
    assert.deepEqual(asked, ['POST', 'PATCH']);
    await until(async () => (await send('GET'), asked.length >= 4), 'a read to be sent to both', () => asked);
    assert.deepEqual(asked.slice(2, 4), ['GET', 'GET']);
  });

  test('a message to an event stream finds the one that has it', async (t) => {
    const { nodes, nginx } = await startTwo(t);
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

  test('are not left alone for what only one way in is refused', async (t) => {
    const full = (request, response) => {
      const refused = /^\/(ws|events|api\/orders|readyz)/.test(request.url);
      response.writeHead(refused ? 503 : 200).end(request.url);
    };
    const nodes = await Promise.all(['a', 'b'].map((name) => startNode(t, name, full)));
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    for (const path of ['ws', 'events?strict=1', 'api/orders', 'readyz']) {
      // As often as would make nginx think that neither is there.
      for (let n = 0; n < 12; n += 1) await curl(nginx.url + path);
      for (const other of ['', 'api/metrics', 'static/js/main.js']) {
        assert.equal((await curl(nginx.url + other)).status, 200, `/${other} after refusals of /${path}`);
      }
    }
  });

  test('of which one is behind: its pollers are answered by another, and nothing else leaves it', async (t) => {
    const nodes = await Promise.all(['a', 'b'].map((name) => startNode(t, name)));
    const [behind] = nodes;
    const polls = { POST: 0, GET: 0, HEAD: 0 };
    behind.on = ({ method, url }, response) => {
      const isPoll = url.startsWith('/api/metrics');
      if (isPoll) polls[method] += 1;
      response.writeHead(isPoll ? 503 : 200, { 'retry-after': 1, 'x-of': 'a' }).end('a');
    };
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    const from = (n, path, ...more) => curl('--interface', `127.0.0.${n}`, ...more, nginx.url + path);
    const own = async (n) => (await from(n, '')).body;
    for (let n = 1; n <= 12; n += 1) {
      const before = await own(n);
      for (const path of ['api/metrics?since=x:1', 'api/metrics/metrics.a?wait=1']) {
        const { status, body } = await from(n, path);
        assert.deepEqual([status, body], [200, 'b'], path);
        assert.equal((await from(n, path, '--head')).status, 200);
      }
      assert.equal(await own(n), before, 'pages and orders stay with their node');
    }
    assert.ok(polls.GET >= 4 && polls.HEAD >= 4, 'the node was asked first, and never left alone');
    // A push is not carried out twice.
    const pushed = async (n) => (await from(n, 'api/metrics', '--request', 'POST', '--data', '{}')).body;
    const answers = new Set();
    for (let n = 1; n <= 12; n += 1) answers.add(await pushed(n));
    assert.deepEqual([...answers].sort(), ['a', 'b']);
  });

  test('all behind: a poller is told so by the server, and polls that can be answered are', async (t) => {
    const refuse = ({ url }, response) => {
      const status = { '/api/metrics?since=x:1': 503, '/api/metrics?since=x:2': 429, '/api/metrics?since=x:3': 400 }[url] ?? 200;
      response.writeHead(status, { 'retry-after': 7, 'content-type': 'application/problem+json' }).end(`{"code":"${status}"}`);
    };
    const nodes = await Promise.all(['a', 'b'].map((name) => startNode(t, name, refuse)));
    const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
    // As often as would make nginx think that neither is there.
    for (let n = 0; n < 12; n += 1) {
      const { status, headers, body } = await curl(`${nginx.url}api/metrics?since=x:1`);
      assert.deepEqual([status, headers['retry-after'], body], [503, '7', '{"code":"503"}']);
    }
    for (const [since, expected] of [['2', 429], ['3', 400], ['4', 200]]) {
      const { status, body } = await curl(`${nginx.url}api/metrics?since=x:${since}`);
      assert.deepEqual([status, body], [expected, `{"code":"${expected}"}`], 'as the server said it');
    }
  });

  test('polls of an address stay with one', async (t) => {
    const nodes = await Promise.all(['a', 'b'].map((name) => startNode(t, name)));
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
    assert.equal(used.size, 2, 'and both have some');
  });
});

describe('nginx', TOGETHER, () => {
  test('reads its configuration again without an event lost or seen twice', async (t) => {
    const changes = { 'nginx.conf': [['worker_shutdown_timeout 60s', 'worker_shutdown_timeout 1s']] };
    const { server, nginx } = await startBoth(t, { changes });
    const old = nginx.workers();
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    const socket = await follow(t, nginx, 'deploys');
    const polls = pollOn(nginx, 'deploys', await server.push({ channel: 'metrics.begin', data: { n: 0 } }));
    await polls.asked();

    let n = 0;
    const push = () => server.push({ channel: 'deploys', event: 'released', data: { n: (n += 1) } });
    for (let k = 0; k < 20; k += 1) await push();
    await nginx.reload();
    // Old workers go on with their streams, then leave; clients come back to new ones. All the while something happens.
    await until(async () => (await push(), stream.opened >= 2 && socket.opened() >= 2), 'all to come back');
    await until(async () => (await push(), !nginx.workers().some((pid) => old.includes(pid))), 'the old workers to leave');
    for (let k = 0; k < 20; k += 1) await push();
    const all = Array.from({ length: n }, (_, k) => k + 1);
    const seen = () => stream.of('released').map(({ data }) => JSON.parse(data).data.n);
    await until(() => [seen(), socket.seen(), polls.seen()].every((list) => list.at(-1) === n), 'the last event');
    await polls.stop();
    assert.deepEqual(seen(), all, 'event stream');
    assert.deepEqual(socket.seen(), all, 'WebSocket');
    assert.deepEqual(polls.seen(), all, 'polls');
  });

  test('holds no event back: each is there before the next one is sent', async (t) => {
    const { server, nginx } = await startBoth(t);
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    const socket = await Socket.open(t, nginx);
    await socket.subscribe(['deploys']);
    for (let n = 1; n <= 50; n += 1) {
      await server.push({ channel: 'deploys', event: 'released', data: { n } });
      // Nothing else is sent meanwhile that could push it out of a buffer: where nginx buffers and compresses, this waits in vain.
      assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n });
      assert.deepEqual((await socket.inbox.next(({ type }) => type === 'event')).data, { n });
    }
    assert.deepEqual([stream.opened, stream.of('released').length, socket.of('deploys').length], [1, 50, 50]);
  });
});

/** A WebSocket that goes on from its cursor when it was cut. */
async function follow(t, nginx, channel) {
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
  return { opened: () => opened, seen: () => events };
}

/** Polls from a cursor on, each over a connection of its own. Any answer but 200 and 304 ends it. */
function pollOn(nginx, channel, { cursor }) {
  const events = [];
  let asked = 0;
  let on = true;
  const run = async () => {
    while (on) {
      const { status, body } = await curl(`${nginx.url}api/metrics?channels=${channel}&since=${cursor}`);
      asked += 1;
      assert.ok([200, 304].includes(status), `${status}: ${body}`);
      if (status === 304) continue;
      const answer = JSON.parse(body);
      assert.notEqual(answer.gap, true);
      events.push(...answer.events.map(({ data }) => data.n));
      cursor = answer.cursor;
    }
  };
  const running = run();
  running.catch(() => {});
  return {
    seen: () => events,
    asked: () => until(() => asked > 0, 'a poll'),
    stop: () => ((on = false), running),
  };
}
