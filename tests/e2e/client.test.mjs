// The client library in Chromium, against the server, directly and through a proxy with faults.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { connect } from '../../static/client/index.js';
import { startBadProxy } from './bad-proxy.mjs';
import { launch } from './browser.mjs';
import { BINARY, TIMEOUT_MS, TOGETHER, onTestEnd, startServer, until } from './helpers.mjs';

const TRANSPORTS = ['websocket', 'sse', 'long-poll', 'poll'];
const numbers = (count) => Array.from({ length: count }, (_, n) => n + 1);

describe('client library', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  async function newContext(t) {
    const context = await browser.newContext();
    onTestEnd(t, () => context.close());
    context.setDefaultTimeout(TIMEOUT_MS);
    return context;
  }

  /** Opens a page of the server with a client that records `events`, `values`, `gaps` and `states`. */
  async function openClient(t, url, options = {}, { context, clock, file = 'index.js', path = 'healthz' } = {}) {
    const page = await (context ?? (await newContext(t))).newPage();
    if (clock) await page.clock.install();
    await page.goto(url + path);
    await page.evaluate(
      async ({ options, file }) => {
        const { connect } = await import(`/static/client/${file}`);
        const w = window;
        Object.assign(w, { events: [], values: [], gaps: [], states: [] });
        w.client = connect('/', { pollInterval: 100, ...options });
        w.client.onStatus((status) => w.states.push({ ...status, at: Date.now() }));
        w.client.subscribe('deploys', ({ n }) => w.events.push(n), { onGap: (gap) => w.gaps.push(gap.reason) });
        w.client.subscribe('metrics.level', ({ n }) => w.values.push(n));
      },
      { options, file },
    );
    const read = (name) => page.evaluate((name) => window[name], name);
    return Object.assign(page, {
      read,
      status: () => page.evaluate(() => ({ ...window.client.status })),
      waitForLive: (transport) =>
        page.waitForFunction(
          (name) => window.client.status.state === 'live' && (!name || window.client.status.transport === name),
          transport,
        ),
      waitForEvents: (count) => page.waitForFunction((count) => window.events.length >= count, count),
    });
  }

  /** Number of events pushed to each server. */
  const pushed = new WeakMap();
  /** Pushes the next `count` events and as many values. Returns the number of the last one. */
  async function push(server, count = 1) {
    const from = pushed.get(server) ?? 0;
    pushed.set(server, from + count);
    const lines = numbers(count).flatMap((n) => [
      { channel: 'deploys', event: 'released', data: { n: from + n } },
      { channel: 'metrics.level', data: { n: from + n } },
    ]);
    await server.push(lines);
    return from + count;
  }

  for (const transport of TRANSPORTS) {
    test(`over ${transport}: values, events and responses arrive, and close ends the connection`, async (t) => {
      const server = await startServer(t);
      // /docs has the strict content security policy that the server sends with its pages.
      const page = await openClient(t, server.url, { transport }, { path: 'docs' });
      await page.waitForLive(transport);
      await push(server, 3);
      await page.waitForEvents(3);
      await page.waitForFunction(() => window.values.at(-1) === 3);
      assert.deepEqual(await page.read('events'), [1, 2, 3]);
      const { orderId } = await server.order('Ada');
      const done = await page.evaluate(
        ([orderId]) => window.client.request('mark_order_priority', { orderId, priority: 'urgent' }),
        [orderId],
      );
      assert.deepEqual([done.orderId, done.priority], [orderId, 'urgent']);
      const refused = await page.evaluate(() =>
        window.client
          .request('get_order_details', { orderId: 'ord-99999999' })
          .catch(({ name, code }) => ({ name, code })),
      );
      assert.deepEqual(refused, { name: 'TricastError', code: 'RESOURCE_NOT_FOUND' });
      const { cursor, latency } = await page.status();
      assert.ok(/^[a-z0-9]+:\d+/.test(cursor) && latency >= 0, `${cursor} ${latency}`);
      await page.evaluate(() => window.client.close());
      assert.equal((await page.status()).state, 'ended');
      await until(
        async () => (await server.connections('websocket')) === 0 && (await server.connections('sse')) === 0,
        'the end of the stream',
      );
      await push(server);
      assert.equal((await page.read('events')).length, 3);
    });

    test(`over ${transport}: fifty random disconnects neither lose, repeat nor reorder an event`, async (t) => {
      const server = await startServer(t);
      const proxy = await startBadProxy(t, server.port);
      const context = await newContext(t);
      // Removes the jitter: fifty backoff delays would take too long.
      await context.addInitScript(() => (Math.random = () => 0.001));
      const page = await openClient(t, proxy.url, { transport, share: false }, { context });
      await page.waitForLive(transport);
      let last = 0;
      for (let cut = 0; cut < 50; cut += 1) {
        last = await push(server, 1 + Math.floor(Math.random() * 5));
        if (Math.random() < 0.5) await page.waitForEvents(last - Math.floor(Math.random() * 4));
        proxy.cut();
        if (Math.random() < 0.3) last = await push(server);
      }
      await page.waitForEvents(last);
      assert.deepEqual(await page.read('events'), numbers(last));
      await page.waitForFunction((last) => window.values.at(-1) === last, last);
      const values = await page.read('values');
      assert.deepEqual(
        values,
        [...values].sort((a, b) => a - b),
        'a value never goes back',
      );
      assert.deepEqual(await page.read('gaps'), []);
    });
  }

  test('disconnects during transport changes neither lose nor repeat an event', async (t) => {
    const server = await startServer(t);
    const proxy = await startBadProxy(t, server.port);
    const context = await newContext(t);
    await context.addInitScript(() => (Math.random = () => 0.001));
    const page = await openClient(t, proxy.url, {}, { context });
    await page.waitForLive();
    let last = 0;
    for (let turn = 0; turn < 60; turn += 1) {
      const choice = ['auto', ...TRANSPORTS][Math.floor(Math.random() * 5)];
      await page.evaluate((choice) => window.client.use(choice), choice);
      last = await push(server, 2);
      if (Math.random() < 0.5) proxy.cut();
      if (Math.random() < 0.3) await page.waitForEvents(last);
    }
    await page.waitForEvents(last);
    assert.deepEqual(await page.read('events'), numbers(last));
    assert.deepEqual(await page.read('gaps'), []);
  });

  test('a refused upgrade causes an immediate fallback, and the next page starts with the transport that worked', async (t) => {
    const server = await startServer(t);
    const proxy = await startBadProxy(t, server.port, { websocket: 'refuse' });
    const context = await newContext(t);
    const page = await openClient(t, proxy.url, {}, { context });
    await page.waitForLive('sse');
    await push(server, 2);
    await page.waitForEvents(2);
    const before = proxy.seen.websocket;
    await page.close();
    const next = await openClient(t, proxy.url, {}, { context });
    await next.waitForLive('sse');
    assert.equal(proxy.seen.websocket, before);
  });

  test('the client falls back to polling behind a proxy that swallows frames and buffers streams', async (t) => {
    const server = await startServer(t);
    const proxy = await startBadProxy(t, server.port, { websocket: 'swallow', sse: 'buffer' });
    const page = await openClient(t, proxy.url, {}, { clock: true });
    await until(() => proxy.seen.websocket === 1, 'the WebSocket');
    await page.clock.fastForward(4_100);
    await until(() => proxy.seen.sse === 1, 'the event stream');
    await page.clock.fastForward(4_100);
    await page.waitForLive('long-poll');
    await push(server, 2);
    await page.clock.fastForward(200);
    await page.waitForEvents(2);
  });

  test('a connection that goes silent becomes stale, is replaced, and loses no event', async (t) => {
    const server = await startServer(t);
    const proxy = await startBadProxy(t, server.port);
    const page = await openClient(t, proxy.url, {}, { clock: true });
    await page.waitForLive('websocket');
    await push(server, 2);
    await page.waitForEvents(2);
    proxy.mode.websocket = 'swallow';
    await push(server, 2);
    await page.clock.runFor(17_000);
    assert.equal((await page.status()).state, 'stale');
    // Advances the clock in small steps, and stops when the next transport is tried, because opening it takes real time.
    await until(async () => {
      await page.clock.runFor(250);
      return proxy.seen.sse > 0;
    }, 'the event stream');
    await page.waitForLive('sse');
    await page.waitForEvents(4);
    assert.deepEqual(await page.read('events'), [1, 2, 3, 4]);
  });

  test('the client returns to a better transport without an interruption, a lost or a repeated event', async (t) => {
    const server = await startServer(t);
    const proxy = await startBadProxy(t, server.port, { websocket: 'refuse' });
    const page = await openClient(t, proxy.url, {}, { clock: true });
    await page.waitForLive('sse');
    proxy.mode.websocket = 'pass';
    let going = true;
    const pushing = (async () => {
      while (going) await push(server);
    })();
    await page.clock.fastForward(31_000);
    await page.waitForLive('websocket');
    going = false;
    await pushing;
    const last = pushed.get(server);
    await page.waitForEvents(last);
    assert.deepEqual(await page.read('events'), numbers(last));
    const states = (await page.read('states')).map(({ state }) => state);
    // `stale` is possible, because the clock jumps by half a minute.
    assert.ok(
      states.slice(states.indexOf('live')).every((state) => state === 'live' || state === 'stale'),
      `${states}`,
    );
  });

  test('a stopping server announces the reconnect delay, and its successor is reported as a gap', async (t) => {
    const first = await startServer(t);
    for (const transport of ['websocket', 'sse']) {
      const page = await openClient(t, first.url, { transport });
      await page.waitForLive(transport);
      first[transport] = page;
    }
    await push(first, 2);
    await Promise.all(['websocket', 'sse'].map((transport) => first[transport].waitForEvents(2)));
    await first.stop();
    for (const transport of ['websocket', 'sse']) {
      const page = first[transport];
      await page.waitForFunction(() => window.states.some(({ state }) => state === 'offline'));
      const { reason, nextTryAt, at } = (await page.read('states')).find(({ state }) => state === 'offline');
      assert.ok(reason === 'SERVER_MAINTENANCE' && nextTryAt > at, `${transport} ${reason} ${nextTryAt} ${at}`);
    }
    const second = await startServer(t, { port: first.port });
    pushed.set(second, 2);
    await push(second, 1);
    for (const transport of ['websocket', 'sse']) {
      const page = first[transport];
      await page.evaluate(() => window.client.retry());
      await page.waitForEvents(3);
      assert.deepEqual(await page.read('events'), [1, 2, 3]);
      assert.deepEqual(await page.read('gaps'), ['epoch_changed']);
    }
  });

  test('requests made while offline wait in a bounded queue, and are sent when the server is back', async (t) => {
    const server = await startServer(t);
    const proxy = await startBadProxy(t, server.port);
    const { orderId } = await server.order('Ada');
    const page = await openClient(t, proxy.url, { queue: 2 });
    await page.waitForLive();
    Object.assign(proxy.mode, { websocket: 'refuse', sse: 'refuse', poll: 'refuse' });
    proxy.cut();
    await page.waitForFunction(() => window.client.status.state === 'offline');
    await page.evaluate((orderId) => {
      const request = (priority) =>
        window.client.request('mark_order_priority', { orderId, priority }).then(
          ({ priority }) => priority,
          ({ code }) => code,
        );
      window.results = Promise.all(['low', 'high', 'urgent'].map(request));
    }, orderId);
    Object.assign(proxy.mode, { websocket: 'pass', sse: 'pass', poll: 'pass' });
    await page.evaluate(() => window.client.retry());
    assert.deepEqual(await page.evaluate(() => window.results), ['low', 'high', 'QUEUE_FULL']);
  });

  test('tabs share one connection, and lose no event when the leading tab is closed', async (t) => {
    const server = await startServer(t);
    const context = await newContext(t);
    const tabs = [];
    for (let n = 0; n < 3; n += 1) {
      tabs.push(await openClient(t, server.url, { pauseWhenHidden: false }, { context }));
      await tabs[n].waitForLive('websocket');
    }
    assert.equal(await server.connections('websocket'), 1);
    await push(server, 5);
    for (const tab of tabs) await tab.waitForEvents(5);
    // A follower subscribes to a channel that no other tab has.
    await server.push({ channel: 'metrics.other', data: { n: 7 } });
    await tabs[2].evaluate(() => {
      window.other = [];
      window.client.subscribe('metrics.other', ({ n }) => window.other.push(n));
    });
    await tabs[2].waitForFunction(() => window.other[0] === 7);
    // A later subscriber receives the value that the other tab already has.
    await tabs[1].evaluate(() => {
      window.other = [];
      window.client.subscribe('metrics.other', ({ n }) => window.other.push(n));
    });
    await tabs[1].waitForFunction(() => window.other[0] === 7);
    const response = await tabs[1].evaluate(() => window.client.request('list_channels'));
    assert.ok(response.channels.length > 0);

    let going = true;
    const pushing = (async () => {
      while (going) await push(server);
    })();
    await tabs[0].close({ runBeforeUnload: false });
    await tabs[1].waitForFunction((n) => window.events.length > n, (await tabs[1].read('events')).length + 20);
    going = false;
    await pushing;
    const last = pushed.get(server);
    for (const tab of tabs.slice(1)) {
      await tab.waitForEvents(last);
      assert.deepEqual(await tab.read('events'), numbers(last));
      assert.deepEqual(await tab.read('gaps'), []);
    }
    assert.equal(await server.connections('websocket'), 1);
    assert.deepEqual(await tabs[1].read('other'), [7]);
  });

  test('a hidden page closes its connection and resumes from its cursor when it is shown again', async (t) => {
    const server = await startServer(t);
    const page = await openClient(t, server.url, {}, { clock: true });
    await page.waitForLive();
    await push(server, 2);
    await page.waitForEvents(2);
    const setHidden = (hidden) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    await setHidden(true);
    await page.clock.fastForward(4_000);
    assert.equal((await page.status()).state, 'live');
    await page.clock.fastForward(7_000);
    await until(async () => (await server.connections('websocket')) === 0, 'the connection to end');
    const { state, reason, nextTryAt } = await page.status();
    assert.deepEqual({ state, reason, nextTryAt }, { state: 'offline', reason: 'hidden', nextTryAt: null });
    await push(server, 3);
    await setHidden(false);
    await page.waitForEvents(5);
    assert.deepEqual(await page.read('events'), [1, 2, 3, 4, 5]);
    assert.deepEqual(await page.read('gaps'), []);
  });

  test('a network outage makes the client offline, and it resumes without a lost event', async (t) => {
    const server = await startServer(t);
    const proxy = await startBadProxy(t, server.port);
    const page = await openClient(t, proxy.url);
    await page.waitForLive();
    await push(server, 1);
    await page.waitForEvents(1);
    await page.context().setOffline(true);
    proxy.cut();
    await page.waitForFunction(() => window.client.status.state === 'offline');
    await push(server, 2);
    await page.context().setOffline(false);
    await page.waitForEvents(3);
    assert.deepEqual(await page.read('events'), [1, 2, 3]);
  });

  test('history is delivered once, and the live values continue where it ends', async (t) => {
    const server = await startServer(t, { env: { TRICAST_HISTORY__RESOLUTION: '100ms' } });
    let n = 0;
    let going = true;
    const pushing = (async () => {
      while (going) await server.push({ channel: 'metrics.count', data: { n: (n += 1) } });
    })();
    for (const transport of TRANSPORTS) {
      const page = await openClient(t, server.url, { transport });
      await page.waitForLive(transport);
      await page.evaluate(() => {
        window.received = [];
        window.client.subscribe('metrics.count', ({ n }, { timestamp }) => window.received.push([n, timestamp]), {
          backfill: '15m',
          onHistory: (history) => window.received.push(history),
        });
      });
      await page.waitForFunction(() => window.received.length > 5);
      const [{ channel, interval, to, fields }, ...values] = await page.read('received');
      assert.deepEqual([channel, interval], ['metrics.count', 'raw'], transport);
      const live = values.map(([n]) => n);
      assert.deepEqual(live, [...new Set(live)].sort((a, b) => a - b), `${transport} repeats a value or goes back`);
      const past = fields.n.map(({ last }) => last);
      assert.ok(past.length > 0 && past.at(-1) < live[0], `${transport}: ${past.at(-1)}, then ${live[0]}`);
      assert.ok(values[0][1] >= to, `${transport}: ${values[0][1]} is before ${to}`);
      await page.close();
    }
    going = false;
    await pushing;
  });

  test('the minified file delivers events', async (t) => {
    const server = await startServer(t);
    const page = await openClient(t, server.url, {}, { file: 'index.min.js' });
    await page.waitForLive('websocket');
    await push(server, 3);
    await page.waitForEvents(3);
    assert.deepEqual(await page.read('events'), [1, 2, 3]);
  });

  test('the client works in Node.js, with the WebSocket of a package and without any', async (t) => {
    const server = await startServer(t);
    for (const [Socket, transport] of [
      [WebSocket, 'websocket'],
      [
        class {
          constructor() {
            throw new Error('none here');
          }
        },
        'sse',
      ],
    ]) {
      const client = connect(server.url, { WebSocket: Socket });
      onTestEnd(t, () => client.close());
      const events = [];
      client.subscribe('deploys', ({ n }) => events.push(n));
      await until(
        () => client.status.state === 'live',
        'the connection',
        () => JSON.stringify(client.status),
      );
      assert.equal(client.status.transport, transport);
      await push(server, 2);
      await until(
        () => events.length === 2,
        'the events',
        () => `${events}`,
      );
    }
  });

  describe('with tokens', () => {
    const SECRET = 'a secret of at least thirty-two bytes';
    const env = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: SECRET, TRICAST_AUTH__LEEWAY: '0ms' };
    const createToken = (user, seconds, permissions = 'read:metrics') =>
      execFileSync(BINARY, ['token', '--user', user, '--permissions', permissions, '--expires', `${seconds}s`], {
        env: { PATH: process.env.PATH, ...env },
      })
        .toString()
        .trim();

    for (const transport of TRANSPORTS) {
      test(`over ${transport}: an expiring token is replaced without a lost event, and no URL contains a token`, async (t) => {
        const server = await startServer(t, { env });
        const proxy = await startBadProxy(t, server.port);
        const context = await newContext(t);
        const tokens = [createToken('ada', 6), createToken('ada', 600, 'read:metrics,write:metrics')];
        let calls = 0;
        await context.exposeFunction('token', () => tokens[Math.min(calls++, 1)]);
        const page = await context.newPage();
        await page.goto(`${proxy.url}healthz`);
        await page.evaluate(async (transport) => {
          const { connect } = await import('/static/client/index.js');
          Object.assign(window, { events: [], states: [] });
          window.client = connect('/', { transport, token: () => window.token(), pollInterval: 200 });
          window.client.onStatus(({ state, reason }) => window.states.push([state, reason]));
          window.client.subscribe('deploys', ({ n }) => window.events.push(n));
        }, transport);
        await page.waitForFunction(() => window.client.status.state === 'live');
        const headers = { Authorization: `Bearer ${tokens[1]}`, 'Content-Type': 'application/json' };
        let n = 0;
        for (let after = 0; after < 5; after += calls > 1) {
          const body = JSON.stringify({ channel: 'deploys', event: 'released', data: { n: ++n } });
          assert.equal((await fetch(`${server.url}api/metrics`, { method: 'POST', headers, body })).status, 202);
          await page.waitForTimeout(100);
        }
        await page.waitForFunction((n) => window.events.length >= n, n);
        assert.deepEqual(await page.evaluate(() => window.events), numbers(n));
        assert.ok(
          proxy.seen.urls.length > 0 && !proxy.seen.urls.some((url) => /[?&](token|ticket)=|eyJ/.test(url)),
          `${proxy.seen.urls}`,
        );
        await page.evaluate(() => window.client.close());
      });
    }

    test('a channel that the token does not permit is refused, and the other channels are delivered', async (t) => {
      const server = await startServer(t, { env });
      const token = createToken('ada', 600, 'read:metrics,write:metrics');
      for (const transport of TRANSPORTS) {
        const context = await newContext(t);
        const page = await context.newPage();
        await page.goto(`${server.url}healthz`);
        await page.evaluate(
          async ({ transport, token }) => {
            const { connect } = await import('/static/client/index.js');
            Object.assign(window, { events: [], errors: [] });
            window.client = connect('/', { transport, token });
            window.client.subscribe('orders', () => {}, { onError: ({ code }) => window.errors.push(code) });
            window.client.subscribe('deploys', ({ n }) => window.events.push(n));
          },
          { transport, token },
        );
        await page.waitForFunction(() => window.client.status.state === 'live');
        await page.waitForFunction(() => window.errors[0] === 'FORBIDDEN');
        const headers = { Authorization: `Bearer ${token}` };
        const body = JSON.stringify({ channel: 'deploys', event: 'released', data: { n: 1 } });
        await fetch(`${server.url}api/metrics`, { method: 'POST', headers, body });
        await page.waitForFunction(() => window.events[0] === 1);
        await context.close();
      }
    });

    test('an invalid token ends the connection with a reason', async (t) => {
      const server = await startServer(t, { env });
      for (const transport of [...TRANSPORTS, 'auto']) {
        const page = await (await newContext(t)).newPage();
        await page.goto(`${server.url}healthz`);
        await page.evaluate(async (transport) => {
          const { connect } = await import('/static/client/index.js');
          window.client = connect('/', { transport, token: 'nonsense' });
        }, transport);
        await page.waitForFunction(() => window.client.status.state === 'ended');
        assert.ok((await page.evaluate(() => window.client.status.reason)).length > 0);
      }
    });
  });
});
