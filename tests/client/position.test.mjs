// Exactly-once delivery across disconnects, replays and duplicates.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { backoff } from '../../static/client/backoff.js';
import { Liveness } from '../../static/client/liveness.js';
import { Position, isBefore, withoutStates } from '../../static/client/position.js';
import { advance, startClient } from './helpers.mjs';

/** Returns a seeded random number generator (mulberry32) of integers below `n`. */
function randomBelow(seed) {
  return (n) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % n;
  };
}

describe('position', () => {
  test('overlapping replays deliver each event once and in order', () => {
    for (let seed = 0; seed < 500; seed += 1) {
      const roll = randomBelow(seed);
      const log = Array.from({ length: 50 }, (_, n) => [`c${roll(3)}`, n + 1]);
      const position = new Position();
      const delivered = [];
      let reached = 0;
      while (reached < log.length) {
        // A link starts at or before the position reached so far, and is cut at a random later point.
        const from = reached - roll(Math.min(reached, 8) + 1);
        const until = from + roll(log.length - from + 1);
        for (const [channel, offset] of log.slice(from, until)) {
          if (position.admits(channel, `e:${offset}`)) delivered.push([channel, offset]);
        }
        reached = Math.max(reached, until);
      }
      assert.deepEqual(delivered, log, `seed ${seed}`);
    }
  });

  test('events of another epoch and events without a cursor are admitted, and the state part of a cursor is ignored', () => {
    const position = new Position();
    assert.equal(position.admits('a', 'e:9'), true);
    assert.equal(position.admits('a', 'e:9.3'), false);
    assert.equal(position.admits('b', 'e:9'), true);
    assert.equal(position.admits('a', 'f:1'), true);
    assert.equal(position.admits('a', null), true);
    assert.equal(position.admits('a', null), true);
  });

  test('a stored event that the server sends again in its next log is a duplicate', () => {
    const position = new Position();
    const admits = (cursor, n, channel = 'orders') => position.admits(channel, cursor, ['order_created', { n }]);
    assert.deepEqual([admits('e:1', 1), admits('e:2', 2), admits('e:3', 2)], [true, true, true]);
    assert.deepEqual([admits('f:7', 2), admits('f:8', 3), admits('g:1', 2), admits('g:2', 3)], [false, true, false, false]);
    assert.deepEqual([admits('e:1', 1, 'deploys'), admits('f:1', 1, 'deploys')], [true, true], 'pushed events may be equal');
    for (let n = 10; n < 1_000; n += 1) assert.equal(admits(`g:${n}`, n), true);
    assert.equal(admits('h:1', 1), true, 'only the newest ones are kept');
  });

  test('cursors are compared within their epoch', () => {
    assert.equal(isBefore('e:9', 'e:10'), true);
    assert.equal(isBefore('e:10.2', 'e:10'), false);
    assert.equal(isBefore('e:11', 'e:10'), false);
    assert.equal(isBefore('f:11', 'e:10'), true);
    assert.equal(isBefore(null, 'e:1'), false);
    assert.equal(withoutStates('e:10.4'), 'e:10.0');
  });

  for (let seed = 1; seed <= 20; seed += 1) {
    test(`random disconnects, faults and transport changes deliver every event once and in order, seed ${seed}`, async (t) => {
      const roll = randomBelow(seed);
      t.mock.method(Math, 'random', () => roll(1000) / 1000);
      const { server, client } = startClient(t, { pollInterval: 300 });
      const [events, values] = [[], []];
      client.subscribe('deploys', ({ n }) => events.push(n));
      client.subscribe('metrics.*', ({ n }) => values.push(n));
      await advance(100);
      let n = 0;
      let extra = () => {};
      for (let turn = 0; turn < 120; turn += 1) {
        for (let count = roll(4); count > 0; count -= 1) {
          server.event('deploys', { n: ++n });
          server.state(`metrics.${roll(2)}`, { n });
        }
        const kind = ['websocket', 'sse', 'poll'][roll(3)];
        const fault = {
          websocket: ['pass', 'pass', 'refuse', 'swallow'],
          sse: ['pass', 'pass', 'refuse', 'swallow', 'fail'],
          poll: ['pass', 'pass', 'refuse', 'fail'],
        }[kind];
        switch (roll(9)) {
          case 0:
          case 1:
            server.cut();
            break;
          case 2:
            server.mode[kind] = fault[roll(fault.length)];
            break;
          case 3:
            client.use(['auto', 'websocket', 'sse', 'long-poll', 'poll'][roll(5)]);
            break;
          case 4:
            extra();
            extra = client.subscribe(`metrics.extra${roll(2)}`, () => {});
            break;
          default:
        }
        await advance(roll(3) ? roll(400) : roll(9_000), 300);
      }
      Object.assign(server.mode, { websocket: 'pass', sse: 'pass', poll: 'pass' });
      client.use('auto');
      client.retry();
      await advance(40_000, 1_000);
      assert.deepEqual(
        events,
        Array.from({ length: n }, (_, i) => i + 1),
      );
      assert.equal(client.status.state, 'live');
      assert.equal(
        Math.max(...values.slice(-2)),
        Math.max(...server.log.filter(({ event }) => !event).map(({ data }) => data.n)),
      );
    });
  }
});

describe('back-off', () => {
  test('the delay is random below a bound that doubles from 0.5 s, up to 5 s in the first minute and up to 20 s after it', (t) => {
    for (const [since, random, expected] of [
      [0, 1, [500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]],
      [60_000, 1, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000]],
      [60_000, 0, [0, 0, 0, 0, 0, 0, 0]],
    ]) {
      const mocked = t.mock.method(Math, 'random', () => random);
      assert.deepEqual(
        [1, 2, 3, 4, 5, 6, 1_000].map((failures) => backoff(failures, since)),
        expected,
      );
      mocked.mock.restore();
    }
  });
});

describe('liveness', () => {
  test('a silent link becomes stale, then dead', () => {
    const life = new Liveness({ quiet: 20_000, dead: 40_000 }, 0);
    assert.equal(life.isStale(20_000), false);
    assert.equal(life.isStale(20_001), true);
    life.beat(10_000);
    assert.equal(life.isStale(30_000), false);
    assert.equal(life.isDead(50_000), false);
    assert.equal(life.isDead(50_001), true);
  });
});
