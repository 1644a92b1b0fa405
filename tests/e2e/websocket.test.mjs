// WebSocket as npm's ws sees it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Socket, TOGETHER, canonical, startServer } from './helpers.mjs';

const isMetric = (message) => message.type === 'metric';
const isEvent = (message) => message.type === 'event';

describe('websocket', TOGETHER, () => {
  for (const path of ['ws', 'v1/dashboard/ws']) {
    test(`a client at /${path} is greeted, subscribes, and gets byte for byte what was pushed`, async (t) => {
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

  test('a new subscriber gets the current value at once', async (t) => {
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

  test('a ping is answered with the same requestId, however odd it is', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    for (const requestId of ['ż-✓-😀"\\', '', ' ', '</script>', 42, -1.5]) {
      const pong = await socket.ask({ type: 'ping', requestId });
      assert.equal(pong.type, 'pong');
    }
  });

  test('a ping frame is answered with a pong frame of the same payload', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const payload = Buffer.from('any 125 bytes or less');
    const pong = new Promise((resolve) => socket.client.once('pong', resolve));
    socket.client.ping(payload);
    assert.deepEqual(await pong, payload);
  });

  test('a wildcard follows every channel below it, also those that come later', async (t) => {
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

  test('two updates of a channel are never closer than the interval, and the newest value arrives', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const begin = performance.now();
    const subscribed = await socket.subscribe([{ name: 'metrics.fast', interval: '300ms' }]);
    assert.equal(subscribed.channels[0].interval, '300ms');

    let pushed = 0;
    while (socket.of('metrics.fast').length < 5) await server.push({ channel: 'metrics.fast', data: { n: ++pushed } });
    await socket.inbox.next((message) => message.data?.n === pushed);

    const updates = socket.of('metrics.fast');
    assert.ok(pushed > 2 * updates.length, `${pushed} values made ${updates.length} updates`);
    // The clock is the client's, which reads a message late but never early: one that it read late makes the next gap
    // look shorter, and none can come before its turn, counted from before the first.
    const gaps = updates.slice(1).map((update, index) => update.at - updates[index].at);
    assert.ok(Math.min(...gaps) >= 150, `gaps in ms: ${gaps}`);
    for (const [turn, { at }] of updates.entries()) {
      assert.ok(at - begin >= turn * 300, `update ${turn} came ${at - begin} ms after the subscription; gaps in ms: ${gaps}`);
    }
  });

  test('what is paused is silent; resumed, it brings the newest state and every event that was missed', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    await socket.subscribe(['metrics.level', 'deploys', 'metrics.fence']);
    const paused = await socket.ask({ type: 'pause', channels: ['metrics.level', 'deploys'] });
    assert.equal(paused.type, 'paused');
    assert.deepEqual(paused.channels, ['metrics.level', 'deploys']);

    for (const n of [1, 2, 3]) {
      await server.push({ channel: 'metrics.level', data: { n } });
      await server.push({ channel: 'deploys', event: 'released', data: { n } });
    }
    await server.push({ channel: 'metrics.fence', data: { up: true } });
    await socket.inbox.next((message) => message.channel === 'metrics.fence');
    await socket.ask({ type: 'ping' });
    assert.deepEqual([...socket.of('metrics.level'), ...socket.of('deploys')], []);

    assert.equal((await socket.ask({ type: 'resume', channels: ['metrics.level', 'deploys'] })).type, 'resumed');
    await server.push({ channel: 'deploys', event: 'released', data: { n: 4 } });
    await socket.inbox.next((message) => message.channel === 'deploys' && message.data.n === 4);
    assert.deepEqual(socket.of('metrics.level').map((message) => message.data.n), [3]);
    assert.deepEqual(socket.of('deploys').map((message) => message.data.n), [1, 2, 3, 4]);
  });

  test('an impossible channel name is denied by itself, the others are active', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const { channels, activeSubscriptions } = await socket.subscribe(['no such name!', 'metrics.fine']);
    assert.deepEqual(channels.map(({ name, status, code }) => ({ name, status, code })), [
      { name: 'no such name!', status: 'denied', code: 'INVALID_MESSAGE' },
      { name: 'metrics.fine', status: 'active', code: undefined },
    ]);
    assert.equal(activeSubscriptions, 1);
    const error = await socket.ask({ type: 'unsubscribe', channels: ['metrics.never'] });
    assert.deepEqual([error.type, error.code], ['error', 'RESOURCE_NOT_FOUND']);
  });

  test('a bad message is answered and the connection lives on', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    for (const bad of ['{"type":', '[]', '"ping"', '{"type":"dance"}', '{"type":"subscribe"}', '']) {
      socket.say(bad);
      const error = await socket.inbox.next((message) => message.type === 'error');
      assert.equal(error.code, 'INVALID_MESSAGE', bad);
      assert.ok(error.message.length > 0);
    }
    assert.equal((await socket.ask({ type: 'ping' })).type, 'pong');
  });

  test('a client that comes back with its cursor gets each missed event exactly once', async (t) => {
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
    assert.deepEqual(second.of('deploys').map((message) => message.data.n), [3, 4, 5, 6]);

    const stranger = await Socket.open(t, server);
    const { resume, reason } = await stranger.subscribe(['deploys'], { since: 'elsewhere:3' });
    assert.deepEqual({ resume, reason }, { resume: 'reset', reason: 'epoch_changed' });
  });

  test('a binary message closes with 1003', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    socket.client.send(Buffer.from([1, 2, 3]));
    assert.equal((await socket.closed).code, 1003);
  });

  test('a message of 64 KiB is read, and a longer one closes with 1009', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    const ofBytes = (bytes) => {
      const head = '{"type":"ping","requestId":"long","padding":"';
      return `${head}${'x'.repeat(bytes - head.length - 2)}"}`;
    };
    socket.say(ofBytes(65_536));
    assert.equal((await socket.inbox.next((message) => message.type === 'pong')).requestId, 'long');
    socket.say(ofBytes(65_537));
    assert.equal((await socket.closed).code, 1009);
  });

  test('a page of a foreign origin is refused with 403 before any upgrade', async (t) => {
    const server = await startServer(t);
    const opening = Socket.open(t, server, { origin: 'https://evil.example' });
    await assert.rejects(opening, /Unexpected server response: 403/);
  });

  test('a server that is told to stop says when to come back, closes with 1001, and leaves with exit code 0', async (t) => {
    const server = await startServer(t);
    const sockets = await Promise.all([1, 2, 3].map(() => Socket.open(t, server)));
    await sockets[0].subscribe(['metrics.*']);
    await server.stop();
    const waits = [];
    for (const socket of sockets) {
      const farewell = await socket.inbox.next((message) => message.type === 'disconnecting');
      assert.equal(farewell.reason, 'SERVER_MAINTENANCE');
      assert.ok(farewell.reconnectAfter > 0 && farewell.reconnectAfter <= 60, farewell.raw);
      assert.equal((await socket.closed).code, 1001);
      waits.push(farewell.reconnectAfter);
    }
    assert.equal(new Set(waits).size, waits.length, `all come back at different times: ${waits}`);
  });
});
