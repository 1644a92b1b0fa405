// Consistency of several nodes behind nginx during a rolling restart and failures. The checker itself is tested first.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TOGETHER, curl } from './helpers.mjs';
import { CHANNEL, differences, faultsOf, startConsistencyCheck, startCluster, watchSocket, waitUpTo } from './cluster.mjs';

const LONG = { timeout: 240_000 };

describe('the checker', TOGETHER, () => {
  test('reports events that are lost, repeated, out of order or different between clients', () => {
    const pushed = [1, 2, 3, 4].map((n) => ({ by: 'a', n, outcome: n === 3 ? 'unknown' : 'accepted' }));
    const events = [1, 2, 3, 4].map((n) => ({ by: 'a', n, cursor: `e:${10 + n}` }));
    const pick = (...numbers) => ({ name: 'it', events: numbers.map((n) => events[n - 1]) });
    const faults = (...numbers) => faultsOf(pushed, pick(...numbers));
    assert.deepEqual(faults(1, 2, 3, 4), []);
    assert.deepEqual(faults(1, 2, 4), [], 'an event with an unknown outcome may be missing');
    assert.deepEqual(faults(1, 3, 4), ['it: a2 was lost']);
    assert.deepEqual(faults(1, 2, 2, 4), ['it: a2 was received twice', 'it: a2 at e:12 was received after e:12']);
    assert.deepEqual(faults(1, 4, 2), ['it: a2 was received after a4', 'it: a2 at e:12 was received after e:14']);
    assert.deepEqual(faultsOf(pushed.slice(0, 2), pick(1, 2, 4)), ['it: a4 was never pushed']);
    const back = { name: 'it', events: [], states: [{ n: 2 }, { n: 1 }] };
    assert.deepEqual(faultsOf([], back), ['it: the value went back from 2 to 1']);
    assert.deepEqual(faultsOf([], { name: 'it', events: [], faults: ['503'] }), ['it: 503']);

    assert.deepEqual(differences([pick(1, 2, 4), { ...pick(1, 2, 4), name: 'other' }]), []);
    assert.deepEqual(differences([pick(1, 2), { ...pick(1), name: 'other' }]), ['a2 was received by it, but not by other']);
    assert.deepEqual(differences([pick(1), { ...pick(1, 2), name: 'other' }]), ['a2 was received by other, but not by it']);
    assert.deepEqual(differences([pick(1, 2), { ...pick(2, 1), name: 'other' }]), ['a1 was received by other in another order']);
    const moved = { name: 'other', events: [{ ...events[0], cursor: 'e:12' }] };
    assert.deepEqual(differences([pick(1), moved]), ['a1 is e:12 for other, and e:11 for it']);
  });

  test('reports no fault for one node during a reload of nginx', async (t) => {
    const changes = { 'nginx.conf': [['worker_shutdown_timeout 60s', 'worker_shutdown_timeout 1s']] };
    const cluster = await startCluster(t, { nodes: 1, changes });
    const check = await startConsistencyCheck(t, cluster);
    await cluster.nginx.reload();
    const streams = check.watchers.filter(isStream);
    await waitUpTo(30, () => streams.every(({ connected }) => connected.length > 1), 'all streams to reconnect');
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });
});

/** Opens `size` WebSockets from many addresses, which reconnect after the announced delay. */
async function openManySockets(t, { url }, size) {
  const sockets = [];
  while (sockets.length < size) {
    const next = Array.from({ length: Math.min(25, size - sockets.length) }, (_, n) => sockets.length + n);
    const open = (n) => watchSocket(t, url, { address: `127.0.3.${1 + (n % 100)}`, channels: [CHANNEL], name: `client ${n}` });
    sockets.push(...(await Promise.all(next.map(open))));
  }
  return sockets;
}

/** Returns the largest number of times within one second. */
function peakPerSecond(times) {
  return Math.max(0, ...times.map((at) => times.filter((other) => other >= at && other < at + 1000).length));
}

const responses = ({ pushers }) => () => JSON.stringify(pushers.map(({ responses }) => responses));
const isStream = ({ name }) => /Socket|Source/.test(name);
const disconnected = (streams) => () => JSON.stringify(streams.filter(({ isConnected }) => !isConnected).map(({ name, refusals }) => [name, refusals]));

describe('three nodes behind nginx', () => {
  test('lose no event and fail no poll during a rolling restart', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startConsistencyCheck(t, cluster);
    const sockets = await openManySockets(t, cluster, 150);
    const streams = [...check.watchers.filter(isStream), ...sockets];
    await waitUpTo(20, async () => {
      const open = await Promise.all(cluster.nodes.map((node) => node.connections('websocket')));
      return open.every((count) => count >= 30);
    }, 'clients on each node');

    const startedAt = performance.now();
    for (const node of cluster.nodes) {
      await node.stop();
      await node.start();
      // Disconnected clients reconnect within their window.
      await waitUpTo(30, () => streams.every(({ isConnected }) => isConnected), 'all streams to reconnect', disconnected(streams));
    }
    assert.deepEqual(await check.stop(), []);
    // A push on a reused connection that is being closed returns 502, because nginx does not repeat non-idempotent requests.
    for (const { by, responses } of check.pushers) {
      assert.deepEqual(Object.keys(responses).filter((status) => !['202', '502'].includes(status)), [], `pushes of ${by}`);
    }
    // Polls through nginx have no failure at all.
    for (const { name, refusals } of [...check.watchers, ...check.tags]) {
      if (/poll|tag/.test(name) && !name.includes('in turn')) assert.deepEqual(refusals, {}, name);
    }

    const delays = streams.flatMap(({ reconnectDelays }) => reconnectDelays);
    const reconnects = sockets.flatMap(({ connected }) => connected).filter((at) => at > startedAt);
    t.diagnostic(`${delays.length} disconnects; at most ${peakPerSecond(reconnects)} reconnects within a second`);
    t.diagnostic(JSON.stringify(check.summary()));
    assert.ok(delays.length >= sockets.length, `${delays.length} disconnects`);
    assert.ok(delays.every((seconds) => seconds >= 1 && seconds <= 10), `within the window: ${delays}`);
    assert.ok(new Set(delays).size > delays.length * 0.9, `differs per client: ${delays}`);
    // Delays are spread over the whole window.
    for (const from of [1, 4, 7]) {
      assert.ok(delays.some((seconds) => seconds >= from && seconds <= from + 3), `no delay between ${from} s and ${from + 3} s`);
    }
    for (const watcher of sockets) assert.deepEqual(watcher.faults, [], watcher.name);
  });

  test('rebalance clients onto a new node by the maximum age of connections', LONG, async (t) => {
    const cluster = await startCluster(t, { started: 2, env: { TRICAST_MAX_CONNECTION_AGE: '6s' } });
    const check = await startConsistencyCheck(t, cluster);
    const sockets = await openManySockets(t, cluster, 90);
    await cluster.nodes[2].start();
    let open = [];
    await waitUpTo(60, async () => {
      open = await Promise.all(cluster.nodes.map((node) => node.connections('websocket')));
      // Some clients are always reconnecting.
      return Math.min(...open) >= 10 && Math.min(...open) >= 0.6 * Math.max(...open);
    }, 'balanced nodes', () => open);
    t.diagnostic(`WebSockets per node: ${open}`);
    assert.deepEqual(await check.stop(), []);
    for (const watcher of sockets) assert.deepEqual(watcher.faults, [], watcher.name);
  });

  test('keep all accepted events once and in order when each node is killed in turn', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startConsistencyCheck(t, cluster);
    for (const node of cluster.nodes) {
      const before = check.pushers.map(({ last }) => last);
      await node.kill();
      await waitUpTo(30, () => check.pushers.every(({ last }, n) => last > before[n] + 20), 'pushes to continue', responses(check));
      await node.start();
      await waitUpTo(30, check.caughtUp, 'all to catch up');
    }
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });

  test('recover from a crash of Redis', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startConsistencyCheck(t, cluster);
    await cluster.redis.kill();
    // Pushes in flight are held until their outcome is known; new pushes are refused.
    await Promise.all(cluster.nodes.map(async ({ url }) => {
      const push = () => curl('--json', '{"channel":"metrics.other","data":{"n":1}}', `${url}api/metrics`);
      await waitUpTo(60, async () => (await push()).status === 503, 'pushes to be refused');
      assert.equal((await curl(`${url}api/metrics/metrics.checked`)).status, 200, 'polls continue');
    }));
    await cluster.redis.start();
    const before = check.pushers.map(({ last }) => last);
    await waitUpTo(30, () => check.pushers.every(({ last }, n) => last > before[n] + 20), 'pushes to continue', responses(check));
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });

  test('recover from a crash of nginx workers', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startConsistencyCheck(t, cluster);
    const old = cluster.nginx.workers();
    old.forEach((pid) => process.kill(pid, 'SIGKILL'));
    const streams = check.watchers.filter(isStream);
    await waitUpTo(30, () => streams.every(({ connected, isConnected }) => isConnected && connected.length > 1), 'all streams to reconnect');
    // Polls in flight are cut with their worker. That is not a fault of the cluster.
    const cut = /ECONNRESET|socket hang up/;
    for (const watcher of [...check.watchers, ...check.tags]) watcher.faults = watcher.faults.filter((fault) => !cut.test(fault));
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });
});
