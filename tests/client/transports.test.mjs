// Which transport is used, when it is given up, and what is lost by it: nothing.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { begin, pass, setClock, settle } from './helpers.mjs';

const TRANSPORTS = ['websocket', 'sse', 'long-poll', 'poll'];

describe('transports', () => {
  for (const transport of TRANSPORTS) {
    test(`over ${transport} values and events come, those missed during a cut included, each event once`, async (t) => {
      const { server, client } = begin(t, { transport });
      server.state('metrics.a', { n: 0 });
      const [values, events] = [[], []];
      client.subscribe('metrics.*', ({ n }, { channel, event }) => values.push([channel, event, n]));
      client.subscribe('deploys', ({ n }, { event }) => events.push([event, n]));
      await pass(200);
      assert.deepEqual([client.status.state, client.status.transport], ['live', transport]);
      assert.deepEqual(values, [['metrics.a', undefined, 0]]);
      server.event('deploys', { n: 1 });
      server.state('metrics.a', { n: 1 });
      await pass(3_000);
      server.cut();
      server.event('deploys', { n: 2 });
      server.state('metrics.a', { n: 2 });
      await pass(3_000);
      server.event('deploys', { n: 3 });
      await pass(3_000);
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

    test(`over ${transport} the end of a channel is told once, without a value, also after a cut`, async (t) => {
      const { server, client } = begin(t, { transport });
      server.state('metrics.a', { n: 0 });
      server.state('metrics.b', { n: 0 });
      const seen = [];
      client.subscribe('metrics.*', (value, { channel, gone }) => seen.push([channel, value?.n ?? value, gone]));
      await pass(200);
      server.end('metrics.a', 'deleted');
      await pass(3_000);
      assert.equal(client.latest('metrics.a'), undefined);
      server.cut();
      server.end('metrics.b', 'expired');
      await pass(3_000);
      server.state('metrics.a', { n: 1 });
      await pass(3_000);
      assert.deepEqual(seen, [
        ['metrics.a', 0, undefined],
        ['metrics.b', 0, undefined],
        ['metrics.a', null, 'deleted'],
        ['metrics.b', null, 'expired'],
        ['metrics.a', 1, undefined],
      ]);
      assert.deepEqual(client.latest('metrics.a'), { n: 1 });
    });

    test(`over ${transport} a change from and to it keeps every event and repeats none`, async (t) => {
      const { server, client } = begin(t, { transport: TRANSPORTS[(TRANSPORTS.indexOf(transport) + 1) % 4] });
      const events = [];
      client.subscribe('deploys', ({ n }) => events.push(n));
      await pass(200);
      for (let n = 1; n <= 30; n += 1) {
        server.event('deploys', { n });
        if (n % 5 === 0) client.use(n % 10 === 0 ? 'auto' : transport);
        await pass(n % 3 === 0 ? 50 : 0);
      }
      await pass(3_000);
      assert.deepEqual(
        events,
        Array.from({ length: 30 }, (_, n) => n + 1),
      );
      assert.equal(client.status.transport, 'websocket');
    });
  }

  test('a refused WebSocket gives way to the event stream at once, and that to the long poll, and that to the poll', async (t) => {
    const { server, client } = begin(t);
    server.mode.websocket = 'refuse';
    await pass(100);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'sse']);
    server.mode.sse = 'refuse';
    server.cut();
    await pass(1_000);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'long-poll']);
  });

  test('a WebSocket that is accepted and swallowed gives way after 4 s, and a stream that is held back too', async (t) => {
    const { server, client } = begin(t);
    Object.assign(server.mode, { websocket: 'swallow', sse: 'swallow' });
    await pass(3_900);
    assert.equal(client.status.transport, 'websocket');
    await pass(200);
    assert.deepEqual([client.status.state, client.status.transport], ['connecting', 'sse']);
    await pass(4_100);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'long-poll']);
  });

  test('what worked is remembered for the next page, and forgotten when the best works', async (t) => {
    const first = begin(t);
    first.server.mode.websocket = 'refuse';
    await pass(100);
    first.client.close();
    const second = begin(t, { storage: first.storage }, first.server);
    await pass(100);
    assert.equal(second.states.find(({ state }) => state === 'live').transport, 'sse');
    assert.ok(!second.states.some(({ transport }) => transport === 'websocket'));
    first.server.mode.websocket = 'pass';
    await pass(31_000);
    assert.equal(second.client.status.transport, 'websocket');
    assert.equal(first.storage.kept.size, 0);
  });

  test('a better transport is tried behind the running link after 30 s, then ever later, without a break', async (t) => {
    const { server, client, states } = begin(t);
    const events = [];
    client.subscribe('deploys', ({ n }) => events.push(n));
    server.mode.websocket = 'swallow';
    await pass(5_000);
    assert.equal(client.status.transport, 'sse');
    const tries = () => server.seen.filter(({ url }) => url?.startsWith('ws')).length;
    for (let n = 1; n <= 100; n += 1) {
      server.event('deploys', { n });
      await pass(1_000, 500);
    }
    assert.equal(tries(), 3, 'at the start, after 30 s, after 60 s more');
    assert.ok(states.slice(states.findIndex(({ state }) => state === 'live')).every(({ state }) => state === 'live'));
    server.mode.websocket = 'pass';
    for (let n = 101; n <= 240; n += 1) {
      server.event('deploys', { n });
      await pass(1_000, 500);
    }
    assert.equal(client.status.transport, 'websocket');
    assert.deepEqual(
      events,
      Array.from({ length: 240 }, (_, n) => n + 1),
    );
  });

  test('a link that goes silent is stale, then dead, and the silence is told from its beginning', async (t) => {
    const { server, client } = begin(t);
    await pass(1_000);
    const since = Date.now();
    server.mode.websocket = 'swallow';
    await pass(16_000, 500);
    assert.equal(client.status.state, 'stale');
    assert.ok(client.status.since >= since - 1_000 && client.status.since <= since + 1_000);
    await pass(60_000, 500);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'sse']);
  });

  for (const minutes of [-20, 20]) {
    test(`a clock that is set by ${minutes} minutes holds no value back, and the link lives on`, async (t) => {
      const { server, client } = begin(t);
      const values = [];
      client.subscribe('metrics.a', ({ n }) => values.push(n));
      client.subscribe('metrics.b', ({ n }) => values.push(n), { interval: '1s' });
      server.state('metrics.a', { n: 1 });
      server.state('metrics.b', { n: 2 });
      await pass(5_000);
      setClock(minutes * 60_000);
      server.state('metrics.a', { n: 3 });
      server.state('metrics.b', { n: 4 });
      await pass(3_000);
      assert.deepEqual(values, [1, 2, 3, 4]);
      assert.equal(client.status.state, 'live');
      // And silence is seen, whatever the clock says.
      server.mode.websocket = 'swallow';
      await pass(16_000, 500);
      assert.equal(client.status.state, 'stale');
      const ago = Date.now() - client.status.since;
      assert.ok(ago > 10_000 && ago < 30_000, `${ago}`);
    });
  }

  test('after a sleep a new link is opened, for the old one rarely lives on', async (t) => {
    const { server } = begin(t);
    await pass(5_000);
    const before = server.seen.filter(({ type }) => type === 'subscribe').length;
    setClock(3_600_000);
    await pass(2_000);
    assert.equal(server.seen.filter(({ type }) => type === 'subscribe').length, before + 1);
  });

  test('one transport only is tried when one was chosen', async (t) => {
    const { server, client } = begin(t, { transport: 'sse' });
    server.mode.sse = 'refuse';
    await pass(5_000);
    assert.ok(server.seen.every(({ url }) => url.includes('/events')));
    assert.equal(client.status.transport ?? 'sse', 'sse');
  });

  test('while the server is away the waits grow to 5 s for a minute and then to 20 s, with the next try told', async (t) => {
    t.mock.method(Math, 'random', () => 1);
    const { server, client } = begin(t);
    Object.assign(server.mode, { websocket: 'refuse', sse: 'fail', poll: 'fail' });
    const waits = [];
    client.onStatus(({ state, nextTryAt }) => state === 'offline' && nextTryAt && waits.push(nextTryAt - Date.now()));
    await pass(120_000, 500);
    assert.deepEqual(waits.slice(0, 6), [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    assert.deepEqual([waits.at(-1), Math.max(...waits)], [20_000, 20_000]);
    assert.ok(waits.every((wait, at) => wait <= 5_000 || waits.slice(0, at).reduce((a, b) => a + b, 0) > 40_000), `${waits}`);
    Object.assign(server.mode, { websocket: 'pass', sse: 'pass', poll: 'pass' });
    client.retry();
    await settle();
    assert.equal(client.status.state, 'live');
  });

  test('a busy server is given the time it asks for', async (t) => {
    t.mock.method(Math, 'random', () => 0);
    const { server, client } = begin(t, { transport: 'sse' });
    server.mode.sse = { status: 503, headers: { 'Retry-After': '7' }, body: { detail: 'full' } };
    await pass(100);
    assert.equal(client.status.reason, 'full');
    assert.equal(server.seen.length, 1);
    server.mode.sse = 'pass';
    await pass(6_700);
    assert.equal(server.seen.length, 1);
    await pass(400);
    assert.equal(client.status.state, 'live');
  });

  test('a node that is behind is left for another one, over the same transport and from the same cursor', async (t) => {
    for (const [transport, behind] of [
      ['websocket', ({ mode }) => (mode.websocket = 'behind')],
      ['sse', ({ mode }) => (mode.sse = { status: 503, headers: { 'Retry-After': '1' }, body: { detail: 'behind' } })],
    ]) {
      const { server, client } = begin(t, transport === 'sse' ? { transport } : {});
      const events = [];
      client.subscribe('deploys', ({ n }) => events.push(n));
      await pass(200);
      server.event('deploys', { n: 1 });
      await pass(6_000);
      behind(server);
      server.cut();
      server.event('deploys', { n: 2 });
      await pass(6_000);
      assert.equal(client.status.state === 'live', false, transport);
      Object.assign(server.mode, { websocket: 'pass', sse: 'pass' });
      await pass(30_000, 500);
      assert.deepEqual([client.status.state, client.status.transport], ['live', transport]);
      assert.deepEqual(events, [1, 2], transport);
    }
  });

  test('codes that say "do not come back" end it, and a person may try again', async (t) => {
    for (const [transport, end] of [
      ['websocket', (server) => server.cut(4503)],
      ['sse', (server) => ((server.mode.sse = { status: 204 }), server.cut())],
    ]) {
      const { server, client } = begin(t, { transport });
      await pass(100);
      end(server);
      await pass(30_000, 1_000);
      assert.equal(client.status.state, 'ended', transport);
      assert.equal(client.status.nextTryAt, null);
      server.mode.sse = 'pass';
      client.retry();
      await settle();
      assert.equal(client.status.state, 'live', transport);
    }
  });

  test('a snapshot alone is polled by its tag', async (t) => {
    const { server, client } = begin(t, { transport: 'long-poll' });
    server.state('metrics', { api: 1 });
    const values = [];
    client.subscribe('metrics', (value) => values.push(value));
    await pass(500);
    server.state('metrics', { api: 2 });
    await pass(500);
    assert.deepEqual(values, [{ api: 1 }, { api: 2 }]);
    await pass(60_000, 500);
    const asked = server.seen.filter(({ headers }) => headers?.Prefer);
    assert.ok(
      asked.length >= 3 &&
        asked.every(({ headers, url }) => headers['If-None-Match'] && url === 'http://fake/api/metrics'),
      JSON.stringify(asked),
    );
  });
});
