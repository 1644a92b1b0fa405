// Server-Sent Events with npm's eventsource, which follows the standard.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Socket, TOGETHER, canonical, curl, openEvents, startCuttingProxy, startServer, until } from './helpers.mjs';

const offset = (cursor) => Number(/^[A-Za-z0-9_-]+:(\d+)/.exec(cursor)?.[1]);

describe('sse', TOGETHER, () => {
  for (const path of ['events', 'api/events']) {
    test(`a stream at /${path} starts with connected and continues with named events`, async (t) => {
      const server = await startServer(t);
      const names = ['metrics', 'metric', 'released', 'order_created'];
      const stream = openEvents(t, `${server.url}${path}?channels=metrics,metrics.checkout,deploys,orders`, names);
      await stream.next('connected');
      assert.equal(stream.inbox.all[0].name, 'connected');
      const { session, cursor, heartbeatInterval } = JSON.parse(stream.inbox.all[0].data);
      assert.ok(session.length > 0 && heartbeatInterval === 25_000 && offset(cursor) >= 0);

      const data = { z: 'ünï ✓ 😀', a: [1, { b: null, a: 2 }] };
      await server.push({ channel: 'metrics.checkout', data });
      const metric = await stream.next('metric');
      assert.ok(metric.data.endsWith(`"data":${canonical(data)}}`), metric.data);
      assert.equal(JSON.parse(metric.data).channel, 'metrics.checkout');

      const snapshot = await stream.next('metrics');
      assert.ok(snapshot.data.includes(`"checkout":${canonical(data)}`), snapshot.data);

      await server.push({ channel: 'deploys', event: 'released', data: { version: '1.2' } });
      const released = JSON.parse((await stream.next('released')).data);
      assert.deepEqual([released.channel, released.data], ['deploys', { version: '1.2' }]);

      await server.order('Ada');
      assert.equal(JSON.parse((await stream.next('order_created')).data).channel, 'orders');
      assert.deepEqual([stream.received('gap'), stream.received('bye'), stream.opened], [[], [], 1]);
    });
  }

  test('event ids are increasing cursors that other transports accept', async (t) => {
    const server = await startServer(t);
    const stream = openEvents(t, `${server.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    for (const n of [1, 2, 3]) await server.push({ channel: 'deploys', event: 'released', data: { n } });
    const second = (await stream.next('released'), await stream.next('released'));
    await stream.next('released');
    const offsets = stream.received('released').map((event) => offset(event.id));
    assert.ok(offsets[0] < offsets[1] && offsets[1] < offsets[2], `${offsets}`);

    const socket = await Socket.open(t, server);
    await socket.subscribe(['deploys'], { since: second.id });
    assert.deepEqual((await socket.inbox.next((message) => message.type === 'event')).data, { n: 3 });
    const polled = await curl(`${server.url}api/metrics?channels=deploys&since=${second.id}`);
    assert.deepEqual(JSON.parse(polled.body).events.map((event) => event.data), [{ n: 3 }]);
  });

  test('a disconnected client reconnects and receives every event exactly once, in order', async (t) => {
    const server = await startServer(t);
    const proxy = await startCuttingProxy(t, server.port);
    const stream = openEvents(t, `${proxy.url}events?channels=deploys,metrics.level`, ['released', 'metric']);
    await stream.next('connected');
    let pushed = 0;
    const push = async (count) => {
      for (const end = pushed + count; pushed < end; ) {
        pushed += 1;
        await server.push([
          { channel: 'deploys', event: 'released', data: { n: pushed } },
          { channel: 'metrics.level', data: { n: pushed } },
        ]);
      }
    };
    const waitForEvent = (n) =>
      stream.inbox.next(({ name, data }) => name === 'released' && JSON.parse(data).data.n === n, `event ${n}`);

    await push(20);
    await waitForEvent(20);
    proxy.cut();
    await push(20);
    await until(() => stream.opened === 2, 'the client to reconnect');
    await waitForEvent(40);

    proxy.cutMidway(); // the client discards the partial event and has to receive the whole one
    await push(20);
    await until(() => stream.opened === 3, 'the client to reconnect again');
    await push(5);
    await waitForEvent(65);

    const seen = stream.received('released').map(({ data }) => JSON.parse(data).data.n);
    assert.deepEqual(seen, Array.from({ length: 65 }, (_, index) => index + 1));
    await stream.inbox.next(() => stream.received('metric').some(({ data }) => JSON.parse(data).data.n === 65), 'the newest state');
    const levels = stream.received('metric').map(({ data }) => JSON.parse(data).data.n);
    assert.deepEqual(levels, [...new Set(levels)].sort((a, b) => a - b), 'a state never goes back');
    const outcomes = stream.received('connected').map(({ data }) => JSON.parse(data).resume);
    assert.deepEqual(outcomes.slice(1), ['replayed', 'replayed']);
    assert.deepEqual(stream.received('gap'), []);
  });

  test('a cursor of another epoch causes a gap and fresh state', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.level', data: { n: 1 } });
    const stream = openEvents(t, `${server.url}events?channels=metrics.level,deploys&since=elsewhere:7`, ['metric']);
    const gap = JSON.parse((await stream.next('gap')).data);
    assert.deepEqual(gap.channels, ['metrics.level', 'deploys']);
    const { resume, reason } = JSON.parse((await stream.next('connected')).data);
    assert.deepEqual({ resume, reason }, { resume: 'reset', reason: 'epoch_changed' });
    assert.deepEqual(JSON.parse((await stream.next('metric')).data).data, { n: 1 });
  });

  test('a stopping server sends bye with the reconnect delay and exits with code 0', async (t) => {
    const server = await startServer(t);
    const stream = openEvents(t, `${server.url}events`, []);
    await stream.next('connected');
    await server.stop();
    const { reason, reconnectAfter } = JSON.parse((await stream.next('bye')).data);
    assert.equal(reason, 'SERVER_MAINTENANCE');
    assert.ok(reconnectAfter > 0 && reconnectAfter <= 60, `${reconnectAfter}`);
  });
});
