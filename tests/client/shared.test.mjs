// Tabs that share one connection, and tabs that are hidden.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fakeBrowser } from './browser.mjs';
import { FakeServer } from './fake-server.mjs';
import { advance, startClient } from './helpers.mjs';

const numbers = (count) => Array.from({ length: count }, (_, n) => n + 1);

/** Opens `count` tabs on one server, each of which subscribes to `deploys`. */
async function openTabs(t, count, options = {}, server = new FakeServer()) {
  const tabs = [];
  t.after(() => tabs.forEach(({ client }) => client.close()));
  const browser = fakeBrowser(t);
  const open = async (more = {}) => {
    browser.tab = tabs.length;
    const tab = { ...startClient(t, { ...options, ...more }, server), events: [], gaps: [] };
    tab.client.subscribe('deploys', ({ n }) => tab.events.push(n), { onGap: ({ reason }) => tab.gaps.push(reason) });
    tabs.push(tab);
    await advance(200);
    return tab;
  };
  for (let n = 0; n < count; n += 1) await open();
  let last = 0;
  const push = async (many = 1) => {
    for (const end = last + many; last < end;) server.event('deploys', { n: ++last });
    await advance(100);
  };
  return { browser, server, tabs, open, push };
}

describe('tabs', () => {
  test('tabs share one link, and each receives every event', async (t) => {
    const { server, tabs, push } = await openTabs(t, 4);
    assert.equal(server.links.size, 1);
    await push(3);
    for (const { client, events } of tabs) {
      assert.deepEqual([client.status.state, client.status.transport, events], ['live', 'websocket', [1, 2, 3]]);
    }
  });

  test('the link subscribes once per channel, and unsubscribes when no tab needs the channel', async (t) => {
    const { server, tabs } = await openTabs(t, 2);
    server.state('metrics.a', { n: 1 });
    const received = [[], []];
    const offs = [];
    for (const n of [1, 0]) {
      offs.push(tabs[n].client.subscribe('metrics.a', (value) => received[n].push(value.n)));
      await advance(100);
    }
    assert.deepEqual(received, [[1], [1]]);
    const subscribes = () =>
      server.seen.filter(({ type, channels }) => type === 'subscribe' && channels.includes('metrics.a')).length;
    assert.equal(subscribes(), 1);
    offs[0]();
    await advance(100);
    server.state('metrics.a', { n: 2 });
    await advance(100);
    assert.deepEqual(received, [[1, 2], [1]]);
    offs[1]();
    await advance(100);
    assert.ok(server.seen.some(({ type, channels }) => type === 'unsubscribe' && channels.includes('metrics.a')));
  });

  for (const [how, end] of [
    ['is closed', ({ tabs }) => tabs[0].client.close()],
    ['crashes', ({ browser, server }) => (browser.crash(0), [...server.links].forEach((link) => link.close()))],
  ]) {
    test(`another tab takes over from its own cursor when the leader ${how}, without a lost or repeated event`, async (t) => {
      const all = await openTabs(t, 3);
      const { server, tabs, push } = all;
      await push(5);
      await end(all);
      await push(5); // while no tab is connected
      await advance(2_000);
      await push(5);
      for (const { events, gaps, client } of tabs.slice(1)) {
        assert.deepEqual([events, gaps, client.status.state], [numbers(15), [], 'live']);
      }
      assert.equal(server.links.size, 1);
    });
  }

  test('a tab that was suspended receives the missed events, and the other tabs receive no event twice', async (t) => {
    const { browser, server, tabs, push } = await openTabs(t, 3);
    await push(3);
    browser.frozen.add(2);
    await push(3);
    await advance(100);
    browser.frozen.delete(2);
    // It leaves, and joins again with its old cursor.
    tabs[2].client.use('poll');
    tabs[2].client.use('auto');
    await advance(1_000);
    await push(2);
    for (const { events, gaps } of tabs) assert.deepEqual([events, gaps], [numbers(8), []]);
    assert.equal(server.links.size, 1);
  });

  test('a replay for another tab does not deliver events from before a subscription', async (t) => {
    const { browser, server, tabs, push } = await openTabs(t, 2);
    await push(1);
    browser.frozen.add(1);
    server.event('late', { n: 1 });
    await push(2);
    const late = [];
    tabs[0].client.subscribe('late', ({ n }) => late.push(n));
    await advance(100);
    browser.frozen.delete(1);
    tabs[1].client.use('poll');
    tabs[1].client.use('auto');
    await advance(1_000);
    server.event('late', { n: 2 });
    await advance(100);
    assert.deepEqual([late, tabs[0].events, tabs[1].events], [[2], numbers(3), numbers(3)]);
  });

  test('the subscriptions of a crashed tab end', async (t) => {
    const { browser, server, tabs } = await openTabs(t, 2);
    tabs[1].client.subscribe('metrics.a', () => {});
    await advance(100);
    browser.crash(1);
    await advance(100);
    const unsubscribed = server.seen.filter(({ type }) => type === 'unsubscribe').flatMap(({ channels }) => channels);
    assert.deepEqual(unsubscribed, ['metrics.a']);
  });

  test('a suspended leader is replaced by another tab', async (t) => {
    const { browser, server, tabs, push } = await openTabs(t, 3);
    await push(2);
    browser.frozen.add(0);
    await push(2);
    await advance(30_000, 1_000);
    await push(2);
    for (const { events, client } of tabs.slice(1))
      assert.deepEqual([events, client.status.state], [numbers(6), 'live']);
    browser.frozen.delete(0);
    await advance(10_000, 1_000);
    await push(1);
    for (const { events } of tabs) assert.deepEqual(events, numbers(7));
    assert.equal(server.links.size, 1);
  });

  test('a tab with a chosen transport has its own link, and shares again when it switches to auto', async (t) => {
    const { server, tabs, push } = await openTabs(t, 2);
    tabs[1].client.use('sse');
    await push(1);
    await advance(500);
    assert.deepEqual(
      tabs.map(({ client }) => client.status.transport),
      ['websocket', 'sse'],
    );
    assert.equal(server.links.size, 2);
    await push(1);
    tabs[0].client.use('long-poll'); // the leader, which has no followers
    await advance(500);
    await push(1);
    for (const { client } of tabs) client.use('auto');
    await advance(500);
    await push(1);
    for (const { events, client } of tabs)
      assert.deepEqual([events, client.status.transport], [numbers(4), 'websocket']);
    assert.equal(server.links.size, 1);
  });

  test('tabs of different users do not share a link, tabs with two tokens of one user do', async (t) => {
    const server = new FakeServer();
    const token = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;
    const { open } = await openTabs(t, 0, {}, server);
    await open({ token: token({ sub: 'ada', exp: 1 }) });
    await open({ token: token({ sub: 'ada', exp: 2, iat: 7 }) });
    assert.equal(server.links.size, 1);
    await open({ token: token({ sub: 'bob', exp: 1 }) });
    assert.equal(server.links.size, 2);
  });

  test('a follower sends its requests over HTTP', async (t) => {
    const { server, tabs } = await openTabs(t, 2);
    server.call = (method, path) => ({ body: { method, path } });
    assert.deepEqual(await tabs[1].client.request('list_channels'), { method: 'GET', path: '/api/channels' });
  });

  test('retry in a follower makes the leader reconnect immediately', async (t) => {
    t.mock.method(Math, 'random', () => 0.99);
    const { server, tabs } = await openTabs(t, 2);
    Object.assign(server.mode, { websocket: 'refuse', sse: 'fail', poll: 'fail' });
    server.cut();
    await advance(20_000, 500);
    assert.equal(tabs[1].client.status.state, 'offline');
    Object.assign(server.mode, { websocket: 'pass', sse: 'pass', poll: 'pass' });
    tabs[1].client.retry();
    await advance(100);
    for (const { client } of tabs) assert.equal(client.status.state, 'live');
  });
});

describe('a hidden page', () => {
  for (const share of [true, false]) {
    test(`disconnects after some seconds and resumes when it is shown again, ${share ? 'with' : 'without'} sharing`, async (t) => {
      const { browser, server, tabs, push } = await openTabs(t, 1, { share });
      await push(1);
      browser.setHidden(true);
      await advance(9_000, 500);
      browser.setHidden(false);
      await advance(9_000, 500);
      assert.equal(server.links.size, 1, 'hidden for a shorter time');
      browser.setHidden(true);
      await advance(11_000, 500);
      assert.equal(server.links.size, 0);
      const { state, reason, nextTryAt } = tabs[0].client.status;
      assert.deepEqual({ state, reason, nextTryAt }, { state: 'offline', reason: 'hidden', nextTryAt: null });
      const { length } = server.seen;
      await push(3);
      await advance(120_000, 1_000);
      assert.equal(server.seen.length, length, 'nothing is tried while it is hidden');
      browser.setHidden(false);
      await advance(500);
      assert.deepEqual([tabs[0].events, tabs[0].gaps], [numbers(4), []]);
    });
  }

  test('does not reconnect after a permanent close, neither when it is shown nor when the network returns', async (t) => {
    const { browser, server, tabs } = await openTabs(t, 1);
    server.cut(4503);
    await advance(100);
    const { length } = server.seen;
    browser.setHidden(true);
    await advance(11_000, 500);
    browser.setHidden(false);
    await advance(11_000, 500);
    assert.deepEqual([tabs[0].client.status.state, server.seen.length], ['ended', length]);
  });

  test('keeps its connection with pauseWhenHidden: false', async (t) => {
    const { browser, server } = await openTabs(t, 1, { pauseWhenHidden: false });
    browser.setHidden(true);
    await advance(60_000, 1_000);
    assert.equal(server.links.size, 1);
  });

  test('in every tab the channels end that a new log does not have', async (t) => {
    const { server, tabs, open } = await openTabs(t, 2);
    for (const name of ['a', 'b']) server.state(`metrics.${name}`, { n: 0 });
    tabs.forEach(({ client }) => client.subscribe('metrics.*', () => {}));
    await advance(500);
    server.epoch = 'e2';
    server.log = [];
    server.state('metrics.b', { n: 1 });
    server.cut();
    await advance(6_000);
    const later = await open();
    later.client.subscribe('metrics.*', () => {});
    await advance(500);
    for (const { client } of [...tabs, later])
      assert.deepEqual(['a', 'b'].map((name) => client.latest(`metrics.${name}`)), [undefined, { n: 1 }]);
  });

  test('a tab that continues from a lost log receives a gap and the events of the new one', async (t) => {
    const { server, tabs, open, push } = await openTabs(t, 1);
    server.epoch = 'e2';
    server.log = [];
    server.cut();
    await advance(3_000);
    await push(3);
    // Two at once, of which one is further back in the present log.
    const [lost, present] = await Promise.all([open({ since: 'e1:1' }), open({ since: 'e2:1' })]);
    await advance(1_000);
    assert.deepEqual([lost.events, lost.gaps], [numbers(3), ['epoch_changed']]);
    assert.deepEqual([present.events, tabs[0].events], [[2, 3], numbers(3)]);
  });
});
