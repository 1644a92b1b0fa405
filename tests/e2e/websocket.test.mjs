// WebSocket with npm's ws.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Socket, TOGETHER, canonical, startServer } from './helpers.mjs';

const isMetric = (message) => message.type === 'metric';
const isEvent = (message) => message.type === 'event';

describe('websocket', TOGETHER, () => {
  for (const path of ['ws', 'v1/dashboard/ws']) {
    test(`a client at /${path} receives the greeting and, after subscribing, pushed values byte for byte`, async (t) => {
      const server = await startServer(t);
      const socket = await Socket.open(t, server, { path, protocols: ['other', 'tricast.v1'] });
      assert.equal(socket.client.protocol, 'tricast.v1');
      assert.equal(socket.greeting.heartbeatInterval, 25_000);
      assert.match(socket.greeting.cursor, /^[A-Za-z0-9_-]+:\d+$/);
      assert.deepEqual(socket.greeting.capabilities.toSorted(), ['alerts', 'metrics', 'orders', 'system']);

      const subscribed = await socket.subscribe(['metrics.checkout']);
      assert.deepEqual(subscribed.channels, [{ name: 'metrics.checkout', status: 'active' }]);
      assert.equal(subscribed.activeSubscriptions, 1);

      const data = { zeta: 1, alpha: { nested: [1, 2.5, null, true], 'ключ': 'ünï ✓ 😀 "quoted" \\ \n' }, n: -0.001 };
      const { cursor } = await server.push({ channel: 'metrics.checkout', data });
      const metric = await socket.inbox.next(isMetric);
      assert.ok(metric.raw.includes(`"data":${canonical(data)},`), metric.raw);
      assert.equal(metric.channel, 'metrics.checkout');
      assert.match(metric.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.ok(Number(metric.cursor.split(':')[1]) <= Number(cursor.split(':')[1]));
    });
  }

  test('a new subscriber receives the current value immediately', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.queue', data: { depth: 7 } });
    const socket = await Socket.open(t, server);
    await socket.subscribe(['metrics.queue', 'metrics']);
    assert.deepEqual((await socket.inbox.next(isMetric)).data, { depth: 7 });
    const snapshot = await socket.inbox.next((message) => message.type === 'metrics');
    assert.deepEqual(snapshot.data.custom.queue, { depth: 7 });
    assert.deepEqual(
      Object.keys(snapshot.data).filter((name) => name !== 'custom').sort(),
      ['api', 'business', 'database', 'infrastructure'],
    );
  });

  test('a pong has the requestId of its ping, also with unusual characters and numbers', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    for (const requestId of ['ż-✓-😀"\\', '', ' ', '</script>', 42, -1.5]) {
      const pong = await socket.request({ type: 'ping', requestId });
      assert.equal(pong.type, 'pong');
    }
  });

  test('a pong frame has the payload of its ping frame', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const payload = Buffer.from('any 125 bytes or less');
    const pong = new Promise((resolve) => socket.client.once('pong', resolve));
    socket.client.ping(payload);
    assert.deepEqual(await pong, payload);
  });

  test('a wildcard covers all channels below it, including later ones', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop.eu', data: { n: 1 } });
    const socket = await Socket.open(t, server);
    await socket.subscribe(['metrics.shop.*']);
    await server.push({ channel: 'metrics.other', data: { n: 0 } });
    await server.push({ channel: 'metrics.shop.us', data: { n: 2 } });
    await socket.inbox.next((message) => message.channel === 'metrics.shop.us');
    const channels = socket.inbox.all.filter(isMetric).map((message) => message.channel);
    assert.deepEqual(channels, ['metrics.shop.eu', 'metrics.shop.us']);
  });

  test('updates of a channel keep the interval, and the newest value arrives', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const startedAt = performance.now();
    const subscribed = await socket.subscribe([{ name: 'metrics.fast', interval: '300ms' }]);
    assert.equal(subscribed.channels[0].interval, '300ms');

    let pushed = 0;
    while (socket.received('metrics.fast').length < 5) await server.push({ channel: 'metrics.fast', data: { n: ++pushed } });
    await socket.inbox.next((message) => message.data?.n === pushed);

    const updates = socket.received('metrics.fast');
    assert.ok(pushed > 2 * updates.length, `${pushed} values made ${updates.length} updates`);
    // The times are the client's, which can read a message late but never early. A late message shortens the next gap, but no
    // update can arrive before its multiple of the interval, counted from before the subscription.
    const gaps = updates.slice(1).map((update, index) => update.at - updates[index].at);
    assert.ok(Math.min(...gaps) >= 150, `gaps in ms: ${gaps}`);
    for (const [index, { at }] of updates.entries()) {
      assert.ok(at - startedAt >= index * 300, `update ${index} arrived ${at - startedAt} ms after the subscription; gaps in ms: ${gaps}`);
    }
  });

  test('a paused subscription is silent and, when resumed, delivers the newest state and every missed event', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    await socket.subscribe(['metrics.level', 'deploys', 'metrics.fence']);
    const paused = await socket.request({ type: 'pause', channels: ['metrics.level', 'deploys'] });
    assert.equal(paused.type, 'paused');
    assert.deepEqual(paused.channels, ['metrics.level', 'deploys']);

    for (const n of [1, 2, 3]) {
      await server.push({ channel: 'metrics.level', data: { n } });
      await server.push({ channel: 'deploys', event: 'released', data: { n } });
    }
    await server.push({ channel: 'metrics.fence', data: { up: true } });
    await socket.inbox.next((message) => message.channel === 'metrics.fence');
    await socket.request({ type: 'ping' });
    assert.deepEqual([...socket.received('metrics.level'), ...socket.received('deploys')], []);

    assert.equal((await socket.request({ type: 'resume', channels: ['metrics.level', 'deploys'] })).type, 'resumed');
    await server.push({ channel: 'deploys', event: 'released', data: { n: 4 } });
    await socket.inbox.next((message) => message.channel === 'deploys' && message.data.n === 4);
    assert.deepEqual(socket.received('metrics.level').map((message) => message.data.n), [3]);
    assert.deepEqual(socket.received('deploys').map((message) => message.data.n), [1, 2, 3, 4]);
  });

  test('an invalid channel name is denied, and the other channels are active', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const { channels, activeSubscriptions } = await socket.subscribe(['no such name!', 'metrics.fine']);
    assert.deepEqual(channels.map(({ name, status, code }) => ({ name, status, code })), [
      { name: 'no such name!', status: 'denied', code: 'INVALID_MESSAGE' },
      { name: 'metrics.fine', status: 'active', code: undefined },
    ]);
    assert.equal(activeSubscriptions, 1);
    const error = await socket.request({ type: 'unsubscribe', channels: ['metrics.never'] });
    assert.deepEqual([error.type, error.code], ['error', 'RESOURCE_NOT_FOUND']);
  });

  test('an invalid message returns an error, and the connection stays open', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    for (const bad of ['{"type":', '[]', '"ping"', '{"type":"dance"}', '{"type":"subscribe"}', '']) {
      socket.send(bad);
      const error = await socket.inbox.next((message) => message.type === 'error');
      assert.equal(error.code, 'INVALID_MESSAGE', bad);
      assert.ok(error.message.length > 0);
    }
    assert.equal((await socket.request({ type: 'ping' })).type, 'pong');
  });

  test('a client that resumes from its cursor receives each missed event exactly once', async (t) => {
    const server = await startServer(t);
    const deploy = (n) => server.push({ channel: 'deploys', event: 'released', data: { n } });
    const first = await Socket.open(t, server);
    await first.subscribe(['deploys']);
    for (const n of [1, 2, 3]) await deploy(n);
    const { cursor } = await first.inbox.next((message) => isEvent(message) && message.data.n === 2);
    assert.equal((await first.close()).code, 1000);
    for (const n of [4, 5]) await deploy(n);

    const second = await Socket.open(t, server);
    assert.equal((await second.subscribe(['deploys'], { since: cursor })).resume, 'replayed');
    await deploy(6);
    await second.inbox.next((message) => isEvent(message) && message.data.n === 6);
    assert.deepEqual(second.received('deploys').map((message) => message.data.n), [3, 4, 5, 6]);

    const foreign = await Socket.open(t, server);
    const { resume, reason } = await foreign.subscribe(['deploys'], { since: 'elsewhere:3' });
    assert.deepEqual({ resume, reason }, { resume: 'reset', reason: 'epoch_changed' });
  });

  test('a binary message closes the connection with 1003', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    socket.client.send(Buffer.from([1, 2, 3]));
    assert.equal((await socket.closed).code, 1003);
  });

  test('a message of 64 KiB is accepted, and a longer one closes the connection with 1009', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const messageOf = (bytes) => {
      const head = '{"type":"ping","requestId":"long","padding":"';
      return `${head}${'x'.repeat(bytes - head.length - 2)}"}`;
    };
    socket.send(messageOf(65_536));
    assert.equal((await socket.inbox.next((message) => message.type === 'pong')).requestId, 'long');
    socket.send(messageOf(65_537));
    assert.equal((await socket.closed).code, 1009);
  });

  test('a foreign origin is refused with 403 instead of an upgrade', async (t) => {
    const server = await startServer(t);
    const opening = Socket.open(t, server, { origin: 'https://evil.example' });
    await assert.rejects(opening, /Unexpected server response: 403/);
  });

  test('a stopping server sends the reconnect delay, closes with 1001, and exits with code 0', async (t) => {
    const server = await startServer(t);
    const sockets = await Promise.all([1, 2, 3].map(() => Socket.open(t, server)));
    await sockets[0].subscribe(['metrics.*']);
    await server.stop();
    const delays = [];
    for (const socket of sockets) {
      const farewell = await socket.inbox.next((message) => message.type === 'disconnecting');
      assert.equal(farewell.reason, 'SERVER_MAINTENANCE');
      assert.ok(farewell.reconnectAfter > 0 && farewell.reconnectAfter <= 60, farewell.raw);
      assert.equal((await socket.closed).code, 1001);
      delays.push(farewell.reconnectAfter);
    }
    assert.equal(new Set(delays).size, delays.length, `delays differ between clients: ${delays}`);
  });
});
