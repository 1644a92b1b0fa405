// Choice of the transport, fallback, and reconnects without loss.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { advance, moveClock, settle, startClient } from './helpers.mjs';

const TRANSPORTS = ['websocket', 'sse', 'long-poll', 'poll'];

describe('transports', () => {
  for (const transport of TRANSPORTS) {
    test(`over ${transport}: values and events arrive, including those of an interruption, each event once`, async (t) => {
      const { server, client } = startClient(t, { transport });
      server.state('metrics.a', { n: 0 });
      const [values, events] = [[], []];
      client.subscribe('metrics.*', ({ n }, { channel, event }) => values.push([channel, event, n]));
      client.subscribe('deploys', ({ n }, { event }) => events.push([event, n]));
      await advance(200);
      assert.deepEqual([client.status.state, client.status.transport], ['live', transport]);
      assert.deepEqual(values, [['metrics.a', undefined, 0]]);
      server.event('deploys', { n: 1 });
      server.state('metrics.a', { n: 1 });
      await advance(3_000);
      server.cut();
      server.event('deploys', { n: 2 });
      server.state('metrics.a', { n: 2 });
      await advance(3_000);
      server.event('deploys', { n: 3 });
      await advance(3_000);
      assert.deepEqual(
        events,
        [1, 2, 3].map((n) => ['happened', n]),
      );
      assert.deepEqual(
        values.map(([, , n]) => n),
        [0, 1, 2],
      );
      assert.equal(client.status.state, 'live');
    });

    test(`over ${transport}: the end of a channel is delivered once, without a value, also after a reconnect`, async (t) => {
      const { server, client } = startClient(t, { transport });
      server.state('metrics.a', { n: 0 });
      server.state('metrics.b', { n: 0 });
      const seen = [];
      client.subscribe('metrics.*', (value, { channel, gone }) => seen.push([channel, value?.n ?? value, gone]));
      await advance(200);
      server.end('metrics.a', 'deleted');
      await advance(3_000);
      assert.equal(client.latest('metrics.a'), undefined);
      server.cut();
      server.end('metrics.b', 'expired');
      await advance(3_000);
      server.state('metrics.a', { n: 1 });
      await advance(3_000);
      assert.deepEqual(seen, [
        ['metrics.a', 0, undefined],
        ['metrics.b', 0, undefined],
        ['metrics.a', null, 'deleted'],
        ['metrics.b', null, 'expired'],
        ['metrics.a', 1, undefined],
      ]);
      assert.deepEqual(client.latest('metrics.a'), { n: 1 });
    });

    test(`over ${transport}: channels that a new log does not have end, and the others keep their values`, async (t) => {
      const { server, client } = startClient(t, { transport });
      for (const name of ['a', 'b', 'c']) server.state(`metrics.${name}`, { n: 0 });
      const seen = [];
      client.subscribe('metrics.*', (value, { channel, gone }) => seen.push([channel, value?.n ?? value, gone]));
      await advance(500);
      seen.length = 0;
      server.epoch = 'e2';
      server.log = [];
      server.state('metrics.b', { n: 0 });
      server.state('metrics.c', { n: 1 });
      server.cut();
      await advance(1_000);
      assert.deepEqual(client.latest('metrics.a'), { n: 0 }, 'not before the server could send it again');
      await advance(6_000);
      assert.deepEqual(seen, [
        ['metrics.c', 1, undefined],
        ['metrics.a', null, 'unknown'],
      ]);
      assert.deepEqual(['a', 'b', 'c'].map((name) => client.latest(`metrics.${name}`)), [undefined, { n: 0 }, { n: 1 }]);
    });

    test(`over ${transport}: no channel ends while there is no connection`, async (t) => {
      const { server, client } = startClient(t, { transport });
      for (const name of ['a', 'b']) server.state(`metrics.${name}`, { n: 0 });
      client.subscribe('metrics.*', () => {});
      await advance(500);
      server.epoch = 'e2';
      server.log = [];
      server.state('metrics.b', { n: 1 });
      server.cut();
      // The link ends again as soon as it has sent something.
      for (let n = 0; n < 60 && client.latest('metrics.b').n === 0; n += 1) await advance(100);
      server.mode = { websocket: 'refuse', sse: 'refuse', poll: 'refuse' };
      server.cut();
      await advance(10_000);
      assert.deepEqual([client.latest('metrics.a'), client.latest('metrics.b')], [{ n: 0 }, { n: 1 }]);
      server.mode = { websocket: 'pass', sse: 'pass', poll: 'pass' };
      await advance(20_000);
      assert.deepEqual([client.latest('metrics.a'), client.latest('metrics.b')], [undefined, { n: 1 }]);
    });

    test(`over ${transport}: switching to and from it neither loses nor repeats an event`, async (t) => {
      const { server, client } = startClient(t, { transport: TRANSPORTS[(TRANSPORTS.indexOf(transport) + 1) % 4] });
      const events = [];
      client.subscribe('deploys', ({ n }) => events.push(n));
      await advance(200);
      for (let n = 1; n <= 30; n += 1) {
        server.event('deploys', { n });
        if (n % 5 === 0) client.use(n % 10 === 0 ? 'auto' : transport);
        await advance(n % 3 === 0 ? 50 : 0);
      }
      await advance(3_000);
      assert.deepEqual(
        events,
        Array.from({ length: 30 }, (_, n) => n + 1),
      );
      assert.equal(client.status.transport, 'websocket');
    });
  }

  test('a refused transport is replaced by the next one immediately', async (t) => {
    const { server, client } = startClient(t);
    server.mode.websocket = 'refuse';
    await advance(100);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'sse']);
    server.mode.sse = 'refuse';
    server.cut();
    await advance(1_000);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'long-poll']);
  });

  test('a WebSocket or event stream that opens and stays silent is replaced by the next transport after 4 s', async (t) => {
    const { server, client } = startClient(t);
    Object.assign(server.mode, { websocket: 'swallow', sse: 'swallow' });
    await advance(3_900);
    assert.equal(client.status.transport, 'websocket');
    await advance(200);
    assert.deepEqual([client.status.state, client.status.transport], ['connecting', 'sse']);
    await advance(4_100);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'long-poll']);
  });

  test('the transport that worked is stored for the next page, and removed when the best one works', async (t) => {
    const first = startClient(t);
    first.server.mode.websocket = 'refuse';
    await advance(100);
    first.client.close();
    const second = startClient(t, { storage: first.storage }, first.server);
    await advance(100);
    assert.equal(second.states.find(({ state }) => state === 'live').transport, 'sse');
    assert.ok(!second.states.some(({ transport }) => transport === 'websocket'));
    first.server.mode.websocket = 'pass';
    await advance(31_000);
    assert.equal(second.client.status.transport, 'websocket');
    assert.equal(first.storage.entries.size, 0);
  });

  test('a better transport is tried in parallel after 30 s, then less often, without an interruption', async (t) => {
    const { server, client, states } = startClient(t);
    const events = [];
    client.subscribe('deploys', ({ n }) => events.push(n));
    server.mode.websocket = 'swallow';
    await advance(5_000);
    assert.equal(client.status.transport, 'sse');
    const tries = () => server.seen.filter(({ url }) => url?.startsWith('ws')).length;
    for (let n = 1; n <= 100; n += 1) {
      server.event('deploys', { n });
      await advance(1_000, 500);
    }
    assert.equal(tries(), 3, 'at the start, after 30 s, after 60 s more');
    assert.ok(states.slice(states.findIndex(({ state }) => state === 'live')).every(({ state }) => state === 'live'));
    server.mode.websocket = 'pass';
    for (let n = 101; n <= 240; n += 1) {
      server.event('deploys', { n });
      await advance(1_000, 500);
    }
    assert.equal(client.status.transport, 'websocket');
    assert.deepEqual(
      events,
      Array.from({ length: 240 }, (_, n) => n + 1),
    );
  });

  test('a silent link is stale since its last message, then dead', async (t) => {
    const { server, client } = startClient(t);
    await advance(1_000);
    const since = Date.now();
    server.mode.websocket = 'swallow';
    await advance(16_000, 500);
    assert.equal(client.status.state, 'stale');
    assert.ok(client.status.since >= since - 1_000 && client.status.since <= since + 1_000);
    await advance(60_000, 500);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'sse']);
  });

  for (const minutes of [-20, 20]) {
    test(`a clock change of ${minutes} minutes neither delays values nor closes the link`, async (t) => {
      const { server, client } = startClient(t);
      const values = [];
      client.subscribe('metrics.a', ({ n }) => values.push(n));
      client.subscribe('metrics.b', ({ n }) => values.push(n), { interval: '1s' });
      server.state('metrics.a', { n: 1 });
      server.state('metrics.b', { n: 2 });
      await advance(5_000);
      moveClock(minutes * 60_000);
      server.state('metrics.a', { n: 3 });
      server.state('metrics.b', { n: 4 });
      await advance(3_000);
      assert.deepEqual(values, [1, 2, 3, 4]);
      assert.equal(client.status.state, 'live');
      // Silence is still detected, by the monotonic clock.
      server.mode.websocket = 'swallow';
      await advance(16_000, 500);
      assert.equal(client.status.state, 'stale');
      const ago = Date.now() - client.status.since;
      assert.ok(ago > 10_000 && ago < 30_000, `${ago}`);
    });
  }

  test('a new link is opened after the computer has slept, because the old one rarely survives', async (t) => {
    const { server } = startClient(t);
    await advance(5_000);
    const before = server.seen.filter(({ type }) => type === 'subscribe').length;
    moveClock(3_600_000);
    await advance(2_000);
    assert.equal(server.seen.filter(({ type }) => type === 'subscribe').length, before + 1);
  });

  test('a chosen transport is the only one that is tried', async (t) => {
    const { server, client } = startClient(t, { transport: 'sse' });
    server.mode.sse = 'refuse';
    await advance(5_000);
    assert.ok(server.seen.every(({ url }) => url.includes('/events')));
    assert.equal(client.status.transport ?? 'sse', 'sse');
  });

  test('while the server is down the delays grow to 5 s in the first minute and then to 20 s, and nextTryAt has the next attempt', async (t) => {
    t.mock.method(Math, 'random', () => 1);
    const { server, client } = startClient(t);
    Object.assign(server.mode, { websocket: 'refuse', sse: 'fail', poll: 'fail' });
    const waits = [];
    client.onStatus(({ state, nextTryAt }) => state === 'offline' && nextTryAt && waits.push(nextTryAt - Date.now()));
    await advance(120_000, 500);
    assert.deepEqual(waits.slice(0, 6), [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    assert.deepEqual([waits.at(-1), Math.max(...waits)], [20_000, 20_000]);
    assert.ok(waits.every((wait, at) => wait <= 5_000 || waits.slice(0, at).reduce((a, b) => a + b, 0) > 40_000), `${waits}`);
    Object.assign(server.mode, { websocket: 'pass', sse: 'pass', poll: 'pass' });
    client.retry();
    await settle();
    assert.equal(client.status.state, 'live');
  });

  test('Retry-After of a busy server is respected', async (t) => {
    t.mock.method(Math, 'random', () => 0);
    const { server, client } = startClient(t, { transport: 'sse' });
    server.mode.sse = { status: 503, headers: { 'Retry-After': '7' }, body: { detail: 'full' } };
    await advance(100);
    assert.equal(client.status.reason, 'full');
    assert.equal(server.seen.length, 1);
    server.mode.sse = 'pass';
    await advance(6_700);
    assert.equal(server.seen.length, 1);
    await advance(400);
    assert.equal(client.status.state, 'live');
  });

  test('the client leaves a node that is behind, and keeps its transport and cursor', async (t) => {
    for (const [transport, behind] of [
      ['websocket', ({ mode }) => (mode.websocket = 'behind')],
      ['sse', ({ mode }) => (mode.sse = { status: 503, headers: { 'Retry-After': '1' }, body: { detail: 'behind' } })],
    ]) {
      const { server, client } = startClient(t, transport === 'sse' ? { transport } : {});
      const events = [];
      client.subscribe('deploys', ({ n }) => events.push(n));
      await advance(200);
      server.event('deploys', { n: 1 });
      await advance(6_000);
      behind(server);
      server.cut();
      server.event('deploys', { n: 2 });
      await advance(6_000);
      assert.equal(client.status.state === 'live', false, transport);
      Object.assign(server.mode, { websocket: 'pass', sse: 'pass' });
      await advance(30_000, 500);
      assert.deepEqual([client.status.state, client.status.transport], ['live', transport]);
      assert.deepEqual(events, [1, 2], transport);
    }
  });

  test('close codes and statuses that forbid reconnecting end the connection until retry is called', async (t) => {
    for (const [transport, end] of [
      ['websocket', (server) => server.cut(4503)],
      ['sse', (server) => ((server.mode.sse = { status: 204 }), server.cut())],
    ]) {
      const { server, client } = startClient(t, { transport });
      await advance(100);
      end(server);
      await advance(30_000, 1_000);
      assert.equal(client.status.state, 'ended', transport);
      assert.equal(client.status.nextTryAt, null);
      server.mode.sse = 'pass';
      client.retry();
      await settle();
      assert.equal(client.status.state, 'live', transport);
    }
  });

  test('the snapshot alone is polled with its ETag', async (t) => {
    const { server, client } = startClient(t, { transport: 'long-poll' });
    server.state('metrics', { api: 1 });
    const values = [];
    client.subscribe('metrics', (value) => values.push(value));
    await advance(500);
    server.state('metrics', { api: 2 });
    await advance(500);
    assert.deepEqual(values, [{ api: 1 }, { api: 2 }]);
    await advance(60_000, 500);
    const polls = server.seen.filter(({ headers }) => headers?.Prefer);
    assert.ok(
      polls.length >= 3 &&
        polls.every(({ headers, url }) => headers['If-None-Match'] && url === 'http://fake/api/metrics'),
      JSON.stringify(polls),
    );
  });
});
