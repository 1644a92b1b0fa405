// What a page sees: values, events, gaps, requests, tokens, states.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TricastError, connect } from '../../static/client/index.js';
import { FakeServer, answer } from './fake-server.mjs';
import { begin, pass, settle } from './helpers.mjs';

const errorOf = (promise) =>
  promise.then(
    () => null,
    ({ code }) => code,
  );

describe('subscriptions', () => {
  test('names and intervals that can be none are refused at once', (t) => {
    const { client } = begin(t);
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

  test('after close there are none', (t) => {
    const { client } = begin(t);
    client.close();
    assert.throws(() => client.subscribe('a', () => {}), { name: 'TricastError', code: 'ENDED' });
  });

  test('outside a page an address has to be a whole one, and the error says so', () => {
    assert.throws(() => connect('/'), { name: 'TypeError', message: /not an address: \/ \(outside a page/ });
  });

  test('those made right behind connect are in the first message, with the shortest interval of each channel', async (t) => {
    const { server, client } = begin(t);
    client.subscribe('metrics.a', () => {}, { interval: '5s' });
    client.subscribe('metrics.a', () => {}, { interval: '1s' });
    client.subscribe('orders', () => {});
    await pass(100);
    const asked = server.seen.filter(({ type }) => type === 'subscribe');
    assert.deepEqual(
      asked.map(({ channels }) => channels),
      [[{ name: 'metrics.a', interval: 1_000 }, 'orders']],
    );
  });

  test('they are restored with their intervals after a cut, from the cursor', async (t) => {
    const { server, client } = begin(t);
    client.subscribe('metrics.a', () => {}, { interval: '1s' });
    client.subscribe('orders', () => {});
    await pass(100);
    server.event('orders', {});
    await pass(100);
    server.cut();
    await pass(2_000);
    const { channels, since } = server.seen.filter(({ type }) => type === 'subscribe').at(-1);
    assert.deepEqual([channels, since], [[{ name: 'metrics.a', interval: 1_000 }, 'orders'], 'e1:1']);
  });

  for (const transport of ['websocket', 'sse', 'long-poll']) {
    test(`over ${transport}: what is subscribed later comes, what is ended comes no more`, async (t) => {
      const { server, client } = begin(t, { transport });
      server.state('metrics.a', { n: 1 });
      server.state('metrics.b', { n: 2 });
      const [a, b] = [[], []];
      const off = client.subscribe('metrics.a', ({ n }) => a.push(n));
      await pass(500);
      client.subscribe('metrics.b', ({ n }) => b.push(n));
      await pass(500);
      assert.deepEqual([a, b], [[1], [2]]);
      off();
      off();
      server.state('metrics.a', { n: 3 });
      server.state('metrics.b', { n: 4 });
      await pass(500);
      assert.deepEqual([a, b], [[1], [2, 4]]);
      assert.equal(client.latest('metrics.a'), undefined);
      assert.deepEqual(client.latest('metrics.b'), { n: 4 });
    });
  }

  test('a second subscriber of a channel gets the newest value, though the server gives it once', async (t) => {
    const { server, client } = begin(t);
    server.state('metrics.a', { n: 1 });
    client.subscribe('metrics.*', () => {});
    await pass(100);
    const got = [];
    client.subscribe('metrics.a', ({ n }, { channel, timestamp }) => got.push([n, channel, timestamp]));
    assert.deepEqual(got, [], 'not before subscribe has returned');
    await pass(100);
    assert.deepEqual(got, [[1, 'metrics.a', 't1']]);
  });

  test('each subscriber has its own interval, and the newest value wins', async (t) => {
    const { server, client } = begin(t);
    const [fast, slow] = [[], []];
    client.subscribe('metrics.a', ({ n }) => fast.push(n));
    client.subscribe('metrics.a', ({ n }) => slow.push(n), { interval: '1s' });
    await pass(100);
    for (let n = 1; n <= 25; n += 1) {
      server.state('metrics.a', { n });
      await pass(100);
    }
    await pass(1_000);
    assert.equal(fast.length, 25);
    assert.ok(slow.length >= 3 && slow.length <= 5, `${slow}`);
    assert.equal(slow.at(-1), 25);
  });

  test('a subscriber that throws harms no other, and its error is not swallowed', async (t) => {
    const { server, client } = begin(t);
    const thrown = [];
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => thrown.push(error.message));
    t.after(() => {
      process.removeAllListeners('uncaughtException');
      others.forEach((listener) => process.on('uncaughtException', listener));
    });
    const got = [];
    client.subscribe('deploys', () => {
      throw new Error('mine');
    });
    client.subscribe('deploys', ({ n }) => got.push(n));
    await pass(100);
    server.event('deploys', { n: 1 });
    await pass(100);
    assert.deepEqual([got, thrown], [[1], ['mine']]);
  });

  test('a lost log is a gap, and what the new one has comes', async (t) => {
    for (const transport of ['websocket', 'sse', 'long-poll']) {
      const { server, client } = begin(t, { transport });
      const [events, gaps] = [[], []];
      client.subscribe('deploys', ({ n }) => events.push(n), { onGap: ({ reason }) => gaps.push(reason) });
      await pass(100);
      server.event('deploys', { n: 1 });
      await pass(500);
      server.cut();
      server.epoch = 'e2';
      server.log = [];
      server.event('deploys', { n: 2 });
      await pass(3_000);
      assert.deepEqual([events, gaps.length], [[1, 2], 1], transport);
    }
  });

  test('a channel that is refused is told to its subscriber alone', async (t) => {
    const { server, client } = begin(t);
    server.denied = ['orders'];
    const errors = [];
    client.subscribe('orders', () => {}, { onError: ({ code }) => errors.push(code) });
    client.subscribe('deploys', () => {}, { onError: () => assert.fail() });
    await pass(100);
    assert.deepEqual([errors, client.status.state], [['FORBIDDEN'], 'live']);
    // And is not asked for again and again.
    client.subscribe('more', () => {});
    await pass(100);
    assert.deepEqual(server.seen.filter(({ type }) => type === 'subscribe').at(-1).channels, ['more']);
  });

  for (const transport of ['websocket', 'sse', 'long-poll', 'poll']) {
    test(`over ${transport}: the past comes first, once, and ends where the live values begin`, async (t) => {
      const { server, client } = begin(t, { transport, pollInterval: 200 });
      server.state('metrics.a', { n: 1 });
      server.state('metrics.a', { n: 2 });
      client.subscribe('metrics.*', () => {}); // somebody has the values already
      await pass(500);
      let asked;
      let answer;
      server.past = () => new Promise((resolve) => (asked = (asked ?? 0) + 1) && (answer = resolve));
      const told = [];
      client.subscribe('metrics.a', ({ n }) => told.push(n), {
        backfill: '15m',
        onHistory: ({ channel, from, fields }) => told.push([channel, from, ...fields.n.map(({ last }) => last)]),
      });
      await pass(500);
      server.state('metrics.a', { n: 3 }); // after the question, and yet in the past that is told
      server.state('metrics.a', { n: 4 });
      await pass(500);
      assert.deepEqual(told, [], 'no value before its past');
      answer();
      await settle();
      server.state('metrics.a', { n: 5 });
      await pass(500);
      server.cut();
      await pass(3_000);
      server.state('metrics.a', { n: 6 });
      await pass(500);
      assert.deepEqual([told, asked], [[['metrics.a', '-15m', 1, 2, 3], 4, 5, 6], 1]);
    });
  }

  test('what the link brings late is not told again after its past, and each change meanwhile is kept', async (t) => {
    const { server, client } = begin(t);
    await pass(100);
    let answer;
    server.past = () => new Promise((resolve) => (answer = resolve));
    const told = [];
    const onHistory = ({ fields }) => told.push(fields.n.map(({ last }) => last));
    client.subscribe('metrics.a', ({ n }) => told.push(n), { backfill: '15m', onHistory });
    await pass(100);
    const [link] = server.links;
    const late = [];
    link.onmessage = ((hear) => (message) => late.push(() => hear(message)))(link.onmessage);
    for (const n of [1, 2, 3]) server.state('metrics.a', { n });
    await settle();
    answer();
    await settle();
    assert.deepEqual(told, [[1, 2]]);
    late.forEach((deliver) => deliver());
    assert.deepEqual(told, [[1, 2], 3]);
  });

  test('a past that can’t be had is an error, and the values come at once', async (t) => {
    for (const [status, code] of [[503, 'SERVER_ERROR'], [404, 'RESOURCE_NOT_FOUND']]) {
      const { server, client } = begin(t);
      server.past = () => answer(status, { code }, { 'Retry-After': '5' });
      server.state('metrics.a', { n: 1 });
      const told = [];
      const onError = ({ code }) => told.push(code);
      client.subscribe('metrics.a', ({ n }) => told.push(n), { backfill: '15m', onHistory: assert.fail, onError });
      await pass(300);
      assert.deepEqual(told, [code, 1]);
    }
  });

  test('a channel without a value may have a past', async (t) => {
    const { server, client } = begin(t);
    const told = [];
    client.subscribe('metrics.a', ({ n }) => told.push(n), { backfill: '1h', onHistory: ({ from }) => told.push(from) });
    await pass(300);
    server.state('metrics.a', { n: 1 });
    await pass(300);
    assert.deepEqual(told, ['-1h', 1]);
    assert.ok(server.seen.some(({ url }) => /backfill=1h&since=none%3A0/.test(url)));
  });

  test('after close nothing comes, nothing is tried, and time does nothing', async (t) => {
    const { server, client } = begin(t);
    const got = [];
    client.subscribe('metrics.a', ({ n }) => got.push(n), { interval: '1s' });
    await pass(100);
    server.state('metrics.a', { n: 1 });
    server.state('metrics.a', { n: 2 });
    await pass(50);
    client.close();
    client.close();
    const { length } = server.seen;
    server.state('metrics.a', { n: 3 });
    client.retry();
    client.use('sse');
    await pass(60_000, 1_000);
    assert.deepEqual(got, [1]);
    assert.equal(server.seen.length, length);
    assert.equal(server.links.size, 0);
    assert.equal(client.status.state, 'ended');
    assert.equal(await errorOf(client.request('list_channels')), 'ENDED');
  });
});

describe('requests', () => {
  test('by WebSocket each answer finds its question, and a refusal is an error with its code', async (t) => {
    const { server, client } = begin(t);
    await pass(100);
    const answers = [1, 2, 3].map((n) => client.request('get_order_details', { orderId: `${n}` }));
    await settle();
    assert.deepEqual(
      await Promise.all(answers),
      [1, 2, 3].map((n) => ({ orderId: `${n}` })),
    );
    server.request = ({ requestId }) => ({ type: 'error', requestId, code: 'FORBIDDEN', message: 'not yours' });
    const refused = await client.request('get_order_details', { orderId: '1' }).catch((error) => error);
    assert.ok(refused instanceof TricastError);
    assert.deepEqual([refused.code, refused.message], ['FORBIDDEN', 'not yours']);
  });

  test('otherwise each is the same call over HTTP', async (t) => {
    const { server, client } = begin(t, { transport: 'poll' });
    await pass(100);
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

  test('while there is no connection they wait, in order and up to the bound', async (t) => {
    const { server, client } = begin(t, { queue: 2 });
    Object.assign(server.mode, { websocket: 'refuse', sse: 'fail', poll: 'fail' });
    await pass(1_000);
    const [a, b, c] = [1, 2, 3].map((n) => client.request('get_order_details', { orderId: `${n}` }));
    assert.equal(await errorOf(c), 'QUEUE_FULL');
    server.mode.websocket = 'pass';
    client.use('auto');
    await pass(1_000);
    assert.deepEqual([await a, await b], [{ orderId: '1' }, { orderId: '2' }]);
  });

  test('one that was on its way when the connection ended is asked again', async (t) => {
    const { server, client } = begin(t);
    await pass(100);
    server.request = () => ({ type: 'nothing' });
    const answer = client.request('get_order_details', { orderId: '1' });
    await pass(100);
    server.request = undefined;
    server.cut();
    await pass(2_000);
    assert.deepEqual(await answer, { orderId: '1' });
  });

  test('a limit of the server is waited out, and a long queue is no flood', async (t) => {
    const { server, client } = begin(t);
    await pass(100);
    let refusals = 2;
    server.request = ({ requestId, params }) =>
      refusals-- > 0
        ? { type: 'error', requestId, code: 'RATE_LIMITED', details: { retryAfter: 300 } }
        : { type: 'response', requestId, data: params };
    const answer = client.request('get_order_details', { orderId: '1' });
    await pass(700);
    assert.deepEqual(await answer, { orderId: '1' });
    server.request = () => ({ type: 'nothing' });
    const many = Array.from({ length: 30 }, (_, n) =>
      errorOf(client.request('get_order_details', { orderId: `${n}` }, { timeout: 2_000 })),
    );
    await pass(100);
    assert.equal(server.seen.filter(({ type }) => type === 'request').length, 3 + 8);
    await pass(3_000);
    assert.ok((await Promise.all(many)).every((code) => code === 'TIMEOUT'));
  });

  test('they can be given up, by time and by a signal', async (t) => {
    const { server, client } = begin(t);
    server.mode.websocket = 'swallow';
    const stop = new AbortController();
    const aborted = errorOf(client.request('list_channels', {}, { signal: stop.signal }));
    const late = errorOf(client.request('list_channels', {}, { timeout: 500 }));
    await pass(600);
    assert.equal(await late, 'TIMEOUT');
    stop.abort();
    assert.equal(await aborted, 'ABORTED');
    assert.equal(await errorOf(client.request('list_channels', {}, { signal: stop.signal })), 'ABORTED');
  });
});

describe('tokens', () => {
  test('a refused token is replaced by the callback, a text that is refused ends it', async (t) => {
    for (const transport of ['websocket', 'sse', 'poll']) {
      const server = new FakeServer();
      server.token = 'second';
      const asked = [];
      const token = (refused) => (asked.push(refused), asked.length === 1 ? 'first' : 'second');
      const { client } = begin(t, { transport, token }, server);
      await pass(100);
      assert.equal(client.status.state, 'live', transport);
      assert.deepEqual(asked, [false, true]);
      const { client: other } = begin(t, { transport, token: 'first' }, server);
      await pass(100);
      assert.equal(other.status.state, 'ended', transport);
    }
  });

  test('a callback that always gives a bad token is not asked for ever', async (t) => {
    const server = new FakeServer();
    server.token = 'good';
    let asked = 0;
    const { client } = begin(t, { token: async () => `bad${(asked += 1)}` }, server);
    await pass(60_000, 1_000);
    assert.deepEqual([client.status.state, asked], ['ended', 3]);
  });

  test('a callback that fails is asked again later, one that gives nothing ends it', async (t) => {
    const server = new FakeServer();
    server.token = 'good';
    let broken = true;
    const token = async () => {
      if (broken) throw new Error('no network');
      return 'good';
    };
    const { client } = begin(t, { token, transport: 'websocket' }, server);
    await pass(3_000);
    assert.notEqual(client.status.state, 'ended');
    broken = false;
    await pass(20_000, 500);
    assert.equal(client.status.state, 'live');
    const { client: nobody } = begin(t, { token: () => null, transport: 'websocket' }, server);
    await pass(500);
    assert.equal(nobody.status.state, 'ended');
  });
});

describe('in any surroundings', () => {
  test('without a WebSocket, a storage or a document it works all the same', async (t) => {
    const { server, client } = begin(t, { WebSocket: null, storage: null });
    server.mode.websocket = 'throw';
    await pass(500);
    assert.deepEqual([client.status.state, client.status.transport], ['live', 'sse']);
  });

  test('a storage that is broken or full of something else does no harm', async (t) => {
    const fail = () => {
      throw new Error('denied');
    };
    for (const storage of [
      { getItem: fail, setItem: fail, removeItem: fail },
      { getItem: () => '{', setItem: fail, removeItem: fail },
      { getItem: () => '["no-such",9e15]', setItem() {}, removeItem() {} },
    ]) {
      const { client } = begin(t, { storage });
      await pass(100);
      assert.deepEqual([client.status.state, client.status.transport], ['live', 'websocket']);
    }
  });

  test('an address may be relative to nothing only if it is whole', () => {
    assert.throws(() => connect('/live/'), TypeError);
    connect('https://live.example/below/', { fetch: async () => assert.fail() }).close();
  });
});
