// Several nodes behind nginx while everybody watches: the rolling restart, and parts that are killed.
// What the checker itself is worth is shown first.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TOGETHER, curl } from './helpers.mjs';
import { CHANNEL, differences, faultsOf, startChecking, startCluster, watchSocket, within } from './cluster.mjs';

const LONG = { timeout: 240_000 };

describe('the checker', TOGETHER, () => {
  test('sees what is lost, doubled, out of order, or not the same for all', () => {
    const pushed = [1, 2, 3, 4].map((n) => ({ by: 'a', n, fate: n === 3 ? 'unknown' : 'accepted' }));
    const events = [1, 2, 3, 4].map((n) => ({ by: 'a', n, cursor: `e:${10 + n}` }));
    const pick = (...numbers) => ({ name: 'it', events: numbers.map((n) => events[n - 1]) });
    const faults = (...numbers) => faultsOf(pushed, pick(...numbers));
    assert.deepEqual(faults(1, 2, 3, 4), []);
    assert.deepEqual(faults(1, 2, 4), [], 'whose fate is unknown may be missing');
    assert.deepEqual(faults(1, 3, 4), ['it: a2 was lost']);
    assert.deepEqual(faults(1, 2, 2, 4), ['it: a2 came twice', 'it: a2 at e:12 came after e:12']);
    assert.deepEqual(faults(1, 4, 2), ['it: a2 came after a4', 'it: a2 at e:12 came after e:14']);
    assert.deepEqual(faultsOf(pushed.slice(0, 2), pick(1, 2, 4)), ['it: a4 was never pushed']);
    const back = { name: 'it', events: [], states: [{ n: 2 }, { n: 1 }] };
    assert.deepEqual(faultsOf([], back), ['it: the value went back from 2 to 1']);
    assert.deepEqual(faultsOf([], { name: 'it', events: [], faults: ['503'] }), ['it: 503']);

    assert.deepEqual(differences([pick(1, 2, 4), { ...pick(1, 2, 4), name: 'other' }]), []);
    assert.deepEqual(differences([pick(1, 2), { ...pick(1), name: 'other' }]), ['a2 was given to it, and not to other']);
    assert.deepEqual(differences([pick(1), { ...pick(1, 2), name: 'other' }]), ['a2 was given to other, and not to it']);
    assert.deepEqual(differences([pick(1, 2), { ...pick(2, 1), name: 'other' }]), ['a1 came to other in another order']);
    const moved = { name: 'other', events: [{ ...events[0], cursor: 'e:12' }] };
    assert.deepEqual(differences([pick(1), moved]), ['a1 is e:12 for other, and e:11 for it']);
  });

  test('finds nothing wrong with one node, whatever comes between the streams and it', async (t) => {
    const changes = { 'nginx.conf': [['worker_shutdown_timeout 60s', 'worker_shutdown_timeout 1s']] };
    const cluster = await startCluster(t, { nodes: 1, changes });
    const check = await startChecking(t, cluster);
    await cluster.nginx.reload();
    const streams = check.watchers.filter(isStream);
    await within(30, () => streams.every(({ connected }) => connected.length > 1), 'all streams to come back');
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });
});

/** Clients that only listen, from many addresses, and come back when they were told to. */
async function startCrowd(t, { url }, size) {
  const crowd = [];
  while (crowd.length < size) {
    const next = Array.from({ length: Math.min(25, size - crowd.length) }, (_, n) => crowd.length + n);
    const open = (n) => watchSocket(t, url, { address: `127.0.3.${1 + (n % 100)}`, channels: [CHANNEL], name: `client ${n}` });
    crowd.push(...(await Promise.all(next.map(open))));
  }
  return crowd;
}

/** How many came in the second in which most came. */
function mostInASecond(times) {
  return Math.max(0, ...times.map((at) => times.filter((other) => other >= at && other < at + 1000).length));
}

const answers = ({ pushers }) => () => JSON.stringify(pushers.map(({ answers }) => answers));
const isStream = ({ name }) => /Socket|Source/.test(name);
const away = (streams) => () => JSON.stringify(streams.filter(({ here }) => !here).map(({ name, refusals }) => [name, refusals]));

describe('three nodes behind nginx', () => {
  test('are restarted one after the other: nothing is lost, no poll is answered with an error', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startChecking(t, cluster);
    const crowd = await startCrowd(t, cluster, 150);
    const streams = [...check.watchers.filter(isStream), ...crowd];
    await within(20, async () => {
      const open = await Promise.all(cluster.nodes.map((node) => node.connections('websocket')));
      return open.every((count) => count >= 30);
    }, 'clients on each node');

    const began = performance.now();
    for (const node of cluster.nodes) {
      await node.stop();
      await node.start();
      // Those that were sent away come back within their window.
      await within(30, () => streams.every(({ here }) => here), 'all to be back', away(streams));
    }
    assert.deepEqual(await check.stop(), []);
    // A push over a kept connection that is closed just then is answered 502, for nginx sends nothing twice that counts twice.
    for (const { by, answers } of check.pushers) {
      assert.deepEqual(Object.keys(answers).filter((status) => !['202', '502'].includes(status)), [], `pushes of ${by}`);
    }
    // Whoever polls through nginx has noticed nothing at all.
    for (const { name, refusals } of [...check.watchers, ...check.tags]) {
      if (/poll|tag/.test(name) && !name.includes('in turn')) assert.deepEqual(refusals, {}, name);
    }

    const told = streams.flatMap(({ sentAway }) => sentAway);
    const came = crowd.flatMap(({ connected }) => connected).filter((at) => at > began);
    t.diagnostic(`${told.length} were sent away; ${mostInASecond(came)} came back in the fullest second`);
    t.diagnostic(JSON.stringify(check.summary()));
    assert.ok(told.length >= crowd.length, `${told.length} were sent away`);
    assert.ok(told.every((seconds) => seconds >= 1 && seconds <= 10), `within the window: ${told}`);
    assert.ok(new Set(told).size > told.length * 0.9, `differs per client: ${told}`);
    // All over the window, and not at one end of it.
    for (const from of [1, 4, 7]) {
      assert.ok(told.some((seconds) => seconds >= from && seconds <= from + 3), `nobody between ${from} s and ${from + 3} s`);
    }
    for (const watcher of crowd) assert.deepEqual(watcher.faults, [], watcher.name);
  });

  test('share their clients out again when one comes, by the age of connections', LONG, async (t) => {
    const cluster = await startCluster(t, { started: 2, env: { TRICAST_MAX_CONNECTION_AGE: '6s' } });
    const check = await startChecking(t, cluster);
    const crowd = await startCrowd(t, cluster, 90);
    await cluster.nodes[2].start();
    let open = [];
    await within(60, async () => {
      open = await Promise.all(cluster.nodes.map((node) => node.connections('websocket')));
      // Some are always on their way back.
      return Math.min(...open) >= 10 && Math.min(...open) >= 0.6 * Math.max(...open);
    }, 'each to have its share', () => open);
    t.diagnostic(`WebSockets of each: ${open}`);
    assert.deepEqual(await check.stop(), []);
    for (const watcher of crowd) assert.deepEqual(watcher.faults, [], watcher.name);
  });

  test('are killed one after the other: what was accepted is there, once and in order', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startChecking(t, cluster);
    for (const node of cluster.nodes) {
      const before = check.pushers.map(({ last }) => last);
      await node.kill();
      await within(30, () => check.pushers.every(({ last }, n) => last > before[n] + 20), 'pushes to go on', answers(check));
      await node.start();
      await within(30, check.caughtUp, 'all to catch up');
    }
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });

  test('outlive Redis that is killed and comes back', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startChecking(t, cluster);
    await cluster.redis.kill();
    // What was on its way is held until it is known what became of it; what comes now is refused.
    await Promise.all(cluster.nodes.map(async ({ url }) => {
      const push = () => curl('--json', '{"channel":"metrics.other","data":{"n":1}}', `${url}api/metrics`);
      await within(60, async () => (await push()).status === 503, 'pushes to be refused');
      assert.equal((await curl(`${url}api/metrics/metrics.checked`)).status, 200, 'polls go on');
    }));
    await cluster.redis.start();
    const before = check.pushers.map(({ last }) => last);
    await within(30, () => check.pushers.every(({ last }, n) => last > before[n] + 20), 'pushes to go on', answers(check));
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });

  test('outlive workers of nginx that are killed', LONG, async (t) => {
    const cluster = await startCluster(t);
    const check = await startChecking(t, cluster);
    const old = cluster.nginx.workers();
    old.forEach((pid) => process.kill(pid, 'SIGKILL'));
    const streams = check.watchers.filter(isStream);
    await within(30, () => streams.every(({ connected, here }) => here && connected.length > 1), 'all streams to come back');
    // A poll that was on its way was cut with its worker: that is no answer of the cluster.
    const cut = /ECONNRESET|socket hang up/;
    for (const watcher of [...check.watchers, ...check.tags]) watcher.faults = watcher.faults.filter((fault) => !cut.test(fault));
    assert.deepEqual(await check.stop(), []);
    t.diagnostic(JSON.stringify(check.summary()));
  });
});
