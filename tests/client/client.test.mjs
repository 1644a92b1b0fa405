// The public interface: values, events, gaps, requests, tokens and states.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TricastError, connect } from '../../static/client/index.js';
import { FakeServer, respond } from './fake-server.mjs';
import { advance, settle, startClient } from './helpers.mjs';

const errorOf = (promise) =>
  promise.then(
    () => null,
    ({ code }) => code,
  );

describe('subscriptions', () => {
  test('invalid channel names, intervals and backfills throw immediately', (t) => {
    const { client } = startClient(t);
    for (const name of ['', 'a b', '*', 'a*', '.*'.repeat(80), 'ä'])
      assert.throws(() => client.subscribe(name, () => {}), TypeError, name);
    for (const interval of ['5', '1m', 250, '500ms', '2h']) client.subscribe('a', () => {}, { interval })();
    for (const interval of ['', 'soon', '1d', -1, NaN, '1.5s'])
      assert.throws(() => client.subscribe('a', () => {}, { interval }), TypeError, `${interval}`);
    for (const name of [null, undefined, 5, ['a']])
      assert.throws(() => client.subscribe(name, () => {}), { name: 'TypeError', message: `not a channel: ${name}` });
    for (const backfill of ['15m', '1d', '90s']) client.subscribe('a', () => {}, { backfill })();
    for (const backfill of ['soon', '0s', '15', 15, '-5m'])
      assert.throws(() => client.subscribe('a', () => {}, { backfill }), /not a backfill/, `${backfill}`);
  });

  test('subscribing after close throws', (t) => {
    const { client } = startClient(t);
    client.close();
    assert.throws(() => client.subscribe('a', () => {}), { name: 'TricastError', code: 'ENDED' });
  });

  test('outside a page a relative URL throws an error that asks for an absolute one', () => {
    assert.throws(() => connect('/'), { name: 'TypeError', message: /not an address: \/ \(outside a page/ });
  });

  test('subscriptions made right after connect are in the first message, with the shortest interval of each channel', async (t) => {
    const { server, client } = startClient(t);
    client.subscribe('metrics.a', () => {}, { interval: '5s' });
    client.subscribe('metrics.a', () => {}, { interval: '1s' });
    client.subscribe('orders', () => {});
    await advance(100);
    const subscribes = server.seen.filter(({ type }) => type === 'subscribe');
    assert.deepEqual(
      subscribes.map(({ channels }) => channels),
      [[{ name: 'metrics.a', interval: 1_000 }, 'orders']],
    );
  });

  test('subscriptions are restored after a reconnect with their intervals, from the cursor', async (t) => {
    const { server, client } = startClient(t);
    client.subscribe('metrics.a', () => {}, { interval: '1s' });
    client.subscribe('orders', () => {});
    await advance(100);
    server.event('orders', {});
    await advance(100);
    server.cut();
    await advance(2_000);
    const { channels, since } = server.seen.filter(({ type }) => type === 'subscribe').at(-1);
    assert.deepEqual([channels, since], [[{ name: 'metrics.a', interval: 1_000 }, 'orders'], 'e1:1']);
  });

  for (const transport of ['websocket', 'sse', 'long-poll']) {
    test(`over ${transport}: a later subscription receives values, an ended one receives none`, async (t) => {
      const { server, client } = startClient(t, { transport });
      server.state('metrics.a', { n: 1 });
      server.state('metrics.b', { n: 2 });
      const [a, b] = [[], []];
      const off = client.subscribe('metrics.a', ({ n }) => a.push(n));
      await advance(500);
      client.subscribe('metrics.b', ({ n }) => b.push(n));
      await advance(500);
      assert.deepEqual([a, b], [[1], [2]]);
      off();
      off();
      server.state('metrics.a', { n: 3 });
      server.state('metrics.b', { n: 4 });
      await advance(500);
      assert.deepEqual([a, b], [[1], [2, 4]]);
      assert.equal(client.latest('metrics.a'), undefined);
      assert.deepEqual(client.latest('metrics.b'), { n: 4 });
    });
  }

  test('a second subscriber of a channel receives the newest value, although the server sends it once', async (t) => {
    const { server, client } = startClient(t);
    server.state('metrics.a', { n: 1 });
    client.subscribe('metrics.*', () => {});
    await advance(100);
    const received = [];
    client.subscribe('metrics.a', ({ n }, { channel, timestamp }) => received.push([n, channel, timestamp]));
    assert.deepEqual(received, [], 'not before subscribe has returned');
    await advance(100);
    assert.deepEqual(received, [[1, 'metrics.a', 't1']]);
  });

  test('each subscriber has its own interval and receives the newest value', async (t) => {
    const { server, client } = startClient(t);
    const [fast, slow] = [[], []];
    client.subscribe('metrics.a', ({ n }) => fast.push(n));
    client.subscribe('metrics.a', ({ n }) => slow.push(n), { interval: '1s' });
    await advance(100);
    for (let n = 1; n <= 25; n += 1) {
      server.state('metrics.a', { n });
      await advance(100);
    }
    await advance(1_000);
    assert.equal(fast.length, 25);
    assert.ok(slow.length >= 3 && slow.length <= 5, `${slow}`);
    assert.equal(slow.at(-1), 25);
  });

  test('an exception of one subscriber is reported and does not affect the others', async (t) => {
    const { server, client } = startClient(t);
    const thrown = [];
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => thrown.push(error.message));
    t.after(() => {
      process.removeAllListeners('uncaughtException');
      others.forEach((listener) => process.on('uncaughtException', listener));
    });
    const received = [];
    client.subscribe('deploys', () => {
      throw new Error('mine');
    });
    client.subscribe('deploys', ({ n }) => received.push(n));
    await advance(100);
    server.event('deploys', { n: 1 });
    await advance(100);
    assert.deepEqual([received, thrown], [[1], ['mine']]);
  });

  test('a lost log is reported as a gap, and the events of the new one arrive', async (t) => {
    for (const transport of ['websocket', 'sse', 'long-poll']) {
      const { server, client } = startClient(t, { transport });
      const [events, gaps] = [[], []];
      client.subscribe('deploys', ({ n }) => events.push(n), { onGap: ({ reason }) => gaps.push(reason) });
      await advance(100);
      server.event('deploys', { n: 1 });
      await advance(500);
      server.cut();
      server.epoch = 'e2';
      server.log = [];
      server.event('deploys', { n: 2 });
      await advance(3_000);
      assert.deepEqual([events, gaps.length], [[1, 2], 1], transport);
    }
  });

  test('a refused channel is reported to its subscriber only', async (t) => {
    const { server, client } = startClient(t);
    server.denied = ['orders'];
    const errors = [];
    client.subscribe('orders', () => {}, { onError: ({ code }) => errors.push(code) });
    client.subscribe('deploys', () => {}, { onError: () => assert.fail() });
    await advance(100);
    assert.deepEqual([errors, client.status.state], [['FORBIDDEN'], 'live']);
    // The refused channel is not requested again.
    client.subscribe('more', () => {});
    await advance(100);
    assert.deepEqual(server.seen.filter(({ type }) => type === 'subscribe').at(-1).channels, ['more']);
  });

  test('each of many refused channels is reported, also those that the server only counts', async (t) => {
    const { server, client } = startClient(t);
    server.denied = Array.from({ length: 150 }, (_, n) => `secret.${n}`);
    const refused = new Set();
    for (const name of server.denied) client.subscribe(name, () => {}, { onError: () => refused.add(name) });
    client.subscribe('deploys', () => {}, { onError: () => assert.fail() });
    await advance(100);
    assert.deepEqual([refused.size, client.status.state], [150, 'live']);
    client.subscribe('more', () => {});
    await advance(100);
    assert.deepEqual(server.seen.filter(({ type }) => type === 'subscribe').at(-1).channels, ['more']);
  });

  for (const transport of ['websocket', 'sse', 'long-poll', 'poll']) {
    test(`over ${transport}: history is delivered first, once, and ends where the live values start`, async (t) => {
      const { server, client } = startClient(t, { transport, pollInterval: 200 });
      server.state('metrics.a', { n: 1 });
      server.state('metrics.a', { n: 2 });
      client.subscribe('metrics.*', () => {}); // the values are already known to the client
      await advance(500);
      let requests;
      let release;
      server.backfill = () => new Promise((resolve) => (requests = (requests ?? 0) + 1) && (release = resolve));
      const received = [];
      client.subscribe('metrics.a', ({ n }) => received.push(n), {
        backfill: '15m',
        onHistory: ({ channel, from, fields }) => received.push([channel, from, ...fields.n.map(({ last }) => last)]),
      });
      await advance(500);
      server.state('metrics.a', { n: 3 }); // after the request, and still part of its history
      server.state('metrics.a', { n: 4 });
      await advance(500);
      assert.deepEqual(received, [], 'no value before its history');
      release();
      await settle();
      server.state('metrics.a', { n: 5 });
      await advance(500);
      server.cut();
      await advance(3_000);
      server.state('metrics.a', { n: 6 });
      await advance(500);
      assert.deepEqual([received, requests], [[['metrics.a', '-15m', 1, 2, 3], 4, 5, 6], 1]);
    });
  }

  test('values that arrive late are not repeated after the history, and newer ones are kept', async (t) => {
    const { server, client } = startClient(t);
    await advance(100);
    let release;
    server.backfill = () => new Promise((resolve) => (release = resolve));
    const received = [];
    const onHistory = ({ fields }) => received.push(fields.n.map(({ last }) => last));
    client.subscribe('metrics.a', ({ n }) => received.push(n), { backfill: '15m', onHistory });
    await advance(100);
    const [link] = server.links;
    const late = [];
    link.onmessage = ((handle) => (message) => late.push(() => handle(message)))(link.onmessage);
    for (const n of [1, 2, 3]) server.state('metrics.a', { n });
    await settle();
    release();
    await settle();
    assert.deepEqual(received, [[1, 2]]);
    late.forEach((deliver) => deliver());
    assert.deepEqual(received, [[1, 2], 3]);
  });

  test('unavailable history is reported as an error, and the values arrive immediately', async (t) => {
    for (const [status, code] of [[503, 'SERVER_ERROR'], [404, 'RESOURCE_NOT_FOUND']]) {
      const { server, client } = startClient(t);
      server.backfill = () => respond(status, { code }, { 'Retry-After': '5' });
      server.state('metrics.a', { n: 1 });
      const received = [];
      const onError = ({ code }) => received.push(code);
      client.subscribe('metrics.a', ({ n }) => received.push(n), { backfill: '15m', onHistory: assert.fail, onError });
      await advance(300);
      assert.deepEqual(received, [code, 1]);
    }
  });

  test('a channel without a value can have a history', async (t) => {
    const { server, client } = startClient(t);
    const received = [];
    client.subscribe('metrics.a', ({ n }) => received.push(n), { backfill: '1h', onHistory: ({ from }) => received.push(from) });
    await advance(300);
    server.state('metrics.a', { n: 1 });
    await advance(300);
    assert.deepEqual(received, ['-1h', 1]);
    assert.ok(server.seen.some(({ url }) => /backfill=1h&since=none%3A0/.test(url)));
  });

  test('after close no value arrives, no connection is attempted, and no timer runs', async (t) => {
    const { server, client } = startClient(t);
    const received = [];
    client.subscribe('metrics.a', ({ n }) => received.push(n), { interval: '1s' });
    await advance(100);
    server.state('metrics.a', { n: 1 });
    server.state('metrics.a', { n: 2 });
    await advance(50);
    client.close();
    client.close();
    const { length } = server.seen;
    server.state('metrics.a', { n: 3 });
    client.retry();
    client.use('sse');
    await advance(60_000, 1_000);
    assert.deepEqual(received, [1]);
    assert.equal(server.seen.length, length);
    assert.equal(server.links.size, 0);
    assert.equal(client.status.state, 'ended');
    assert.equal(await errorOf(client.request('list_channels')), 'ENDED');
  });
});

describe('requests', () => {
  test('over WebSocket each response is matched to its request, and an error rejects with its code', async (t) => {
    const { server, client } = startClient(t);
    await advance(100);
    const responses = [1, 2, 3].map((n) => client.request('get_order_details', { orderId: `${n}` }));
    await settle();
    assert.deepEqual(
      await Promise.all(responses),
      [1, 2, 3].map((n) => ({ orderId: `${n}` })),
    );
    server.request = ({ requestId }) => ({ type: 'error', requestId, code: 'FORBIDDEN', message: 'not yours' });
    const refused = await client.request('get_order_details', { orderId: '1' }).catch((error) => error);
    assert.ok(refused instanceof TricastError);
    assert.deepEqual([refused.code, refused.message], ['FORBIDDEN', 'not yours']);
  });

  test('without a WebSocket each action is the equivalent HTTP call', async (t) => {
    const { server, client } = startClient(t, { transport: 'poll' });
    await advance(100);
    const calls = [];
    server.call = (method, path, body) => (calls.push([method, path, body]), { body: { done: true } });
    for (const [action, params] of [
      ['get_order_details', { orderId: 'a/b' }],
      ['mark_order_priority', { orderId: '1', priority: 'high' }],
      ['list_orders', { limit: 5, status: undefined }],
      ['get_history', { channel: 'a', field: 'f' }],
      ['list_channels', {}],
    ]) {
      assert.deepEqual(await client.request(action, params), { done: true });
    }
    assert.deepEqual(calls, [
      ['GET', '/api/orders/a%2Fb', undefined],
      ['PATCH', '/api/orders/1', '{"priority":"high"}'],
      ['GET', '/api/orders?limit=5', undefined],
      ['GET', '/api/history?channel=a&field=f', undefined],
      ['GET', '/api/channels', undefined],
    ]);
    assert.equal(await errorOf(client.request('no_such_action')), 'INVALID_MESSAGE');
    server.call = () => ({ status: 404, body: { code: 'RESOURCE_NOT_FOUND', detail: 'none' } });
    assert.equal(await errorOf(client.request('list_channels')), 'RESOURCE_NOT_FOUND');
  });

  test('requests wait in order while there is no connection, up to the queue bound', async (t) => {
    const { server, client } = startClient(t, { queue: 2 });
    Object.assign(server.mode, { websocket: 'refuse', sse: 'fail', poll: 'fail' });
    await advance(1_000);
    const [a, b, c] = [1, 2, 3].map((n) => client.request('get_order_details', { orderId: `${n}` }));
    assert.equal(await errorOf(c), 'QUEUE_FULL');
    server.mode.websocket = 'pass';
    client.use('auto');
    await advance(1_000);
    assert.deepEqual([await a, await b], [{ orderId: '1' }, { orderId: '2' }]);
  });

  test('a request in flight is repeated when the connection ends', async (t) => {
    const { server, client } = startClient(t);
    await advance(100);
    server.request = () => ({ type: 'nothing' });
    const response = client.request('get_order_details', { orderId: '1' });
    await advance(100);
    server.request = undefined;
    server.cut();
    await advance(2_000);
    assert.deepEqual(await response, { orderId: '1' });
  });

  test('a rate-limited request is repeated after the delay, and a long queue is sent in small groups', async (t) => {
    const { server, client } = startClient(t);
    await advance(100);
    let refusals = 2;
    server.request = ({ requestId, params }) =>
      refusals-- > 0
        ? { type: 'error', requestId, code: 'RATE_LIMITED', details: { retryAfter: 300 } }
        : { type: 'response', requestId, data: params };
    const response = client.request('get_order_details', { orderId: '1' });
    await advance(700);
    assert.deepEqual(await response, { orderId: '1' });
    server.request = () => ({ type: 'nothing' });
    const many = Array.from({ length: 30 }, (_, n) =>
      errorOf(client.request('get_order_details', { orderId: `${n}` }, { timeout: 2_000 })),
    );
    await advance(100);
    assert.equal(server.seen.filter(({ type }) => type === 'request').length, 3 + 8);
    await advance(3_000);
    assert.ok((await Promise.all(many)).every((code) => code === 'TIMEOUT'));
  });

  test('a request can be ended by a timeout or a signal', async (t) => {
    const { server, client } = startClient(t);
    server.mode.websocket = 'swallow';
    const stop = new AbortController();
    const aborted = errorOf(client.request('list_channels', {}, { signal: stop.signal }));
    const late = errorOf(client.request('list_channels', {}, { timeout: 500 }));
    await advance(600);
    assert.equal(await late, 'TIMEOUT');
    stop.abort();
    assert.equal(await aborted, 'ABORTED');
    assert.equal(await errorOf(client.request('list_channels', {}, { signal: stop.signal })), 'ABORTED');
  });
});

describe('tokens', () => {
  test('the callback replaces a refused token, and a refused fixed token ends the connection', async (t) => {
    for (const transport of ['websocket', 'sse', 'poll']) {
      const server = new FakeServer();
      server.token = 'second';
      const calls = [];
      const token = (refused) => (calls.push(refused), calls.length === 1 ? 'first' : 'second');
      const { client } = startClient(t, { transport, token }, server);
      await advance(100);
      assert.equal(client.status.state, 'live', transport);
      assert.deepEqual(calls, [false, true]);
      const { client: other } = startClient(t, { transport, token: 'first' }, server);
      await advance(100);
      assert.equal(other.status.state, 'ended', transport);
    }
  });

  test('a callback that always returns an invalid token is called a limited number of times', async (t) => {
    const server = new FakeServer();
    server.token = 'good';
    let calls = 0;
    const { client } = startClient(t, { token: async () => `bad${(calls += 1)}` }, server);
    await advance(60_000, 1_000);
    assert.deepEqual([client.status.state, calls], ['ended', 3]);
  });

  test('a callback that throws is called again later, and one that returns null ends the connection', async (t) => {
    const server = new FakeServer();
    server.token = 'good';
    let broken = true;
    const token = async () => {
      if (broken) throw new Error('no network');
      return 'good';
    };
    const { client } = startClient(t, { token, transport: 'websocket' }, server);
    await advance(3_000);
    assert.notEqual(client.status.state, 'ended');
    broken = false;
    await advance(20_000, 500);
    assert.equal(client.status.state, 'live');
    const { client: anonymous } = startClient(t, { token: () => null, transport: 'websocket' }, server);
    await advance(500);
    assert.equal(anonymous.status.state, 'ended');
  });
});

describe('environments', () => {
  test('the client works without a WebSocket, a storage or a document', async (t) => {
    const { server, client } = startClient(t, { WebSocket: null, storage: null });
    server.mode.websocket = 'throw';
    await advance(500);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'sse']);
  });

  test('the client works with a storage that throws or has invalid contents', async (t) => {
    const fail = () => {
      throw new Error('denied');
    };
    for (const storage of [
      { getItem: fail, setItem: fail, removeItem: fail },
      { getItem: () => '{', setItem: fail, removeItem: fail },
      { getItem: () => '["no-such",9e15]', setItem() {}, removeItem() {} },
    ]) {
      const { client } = startClient(t, { storage });
      await advance(100);
      assert.deepEqual([client.status.state, client.status.transport], ['live', 'websocket']);
    }
  });

  test('without a page the URL has to be absolute', () => {
    assert.throws(() => connect('/live/'), TypeError);
    connect('https://live.example/below/', { fetch: async () => assert.fail() }).close();
  });
});
