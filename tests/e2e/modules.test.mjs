// Unit tests of the dashboard's pure modules, run in Chromium.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { useModules } from './browser.mjs';
import { TOGETHER } from './helpers.mjs';

describe('modules', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const runInModule = useModules();

  test('a ring keeps its newest rows in order', async (t) => {
    const [times, values, length] = await runInModule(t, 'charts/ring.js', ({ Ring }) => {
      const ring = new Ring(1, 5, 0);
      for (let i = 0; i < 1003; i += 1) ring.push(i * 10, [i]);
      const view = ring.view(null);
      return [[...view.times], [...view.values[0]], ring.length];
    });
    assert.deepEqual(times, [9980, 9990, 10000, 10010, 10020]);
    assert.deepEqual(values, [998, 999, 1000, 1001, 1002]);
    assert.equal(length, 5);
  });

  test('a ring ends the line of one field at a given time and keeps those of the others', async (t) => {
    const [held, between, after] = await runInModule(t, 'charts/ring.js', ({ Ring }) => {
      const rowsOf = ({ times, values: [a, b] }) => [...times].map((time, i) => [time, a[i], b[i]]);
      const ring = new Ring(2, 100, 500);
      for (const time of [1_000, 2_000, 3_000]) ring.push(time, [time, 7]);
      ring.endField(1, 1_500);
      ring.endField(1, 1_500); // has no effect after the first end
      ring.push(4_000, [4_000, NaN]);
      const held = rowsOf(ring.view(5_000)).at(-1);
      ring.push(5_000, [5_000, 8]);
      const between = rowsOf(ring.view(null));
      ring.endField(0, 8_000);
      ring.endField(1, 9_000);
      return [held, between, rowsOf(ring.view(20_000)).slice(-4)];
    });
    assert.deepEqual(held, [5_000, 4_000, NaN]);
    assert.deepEqual(between, [[1_000, 1_000, 7], [1_500, 1_500, 7], [2_000, 2_000, NaN], [3_000, 3_000, NaN], [4_000, 4_000, NaN], [5_000, 5_000, 8]]);
    assert.deepEqual(after, [[5_000, 5_000, 8], [8_000, 5_000, 8], [9_000, NaN, 8], [9_000, NaN, NaN]]);
  });

  test('a ring stores one row for a gap, however many rows without a value follow', async (t) => {
    const rows = await runInModule(t, 'charts/ring.js', ({ Ring }) => {
      const ring = new Ring(1, 10, 0);
      ring.push(1_000, [7]);
      for (let time = 2_000; time < 200_000; time += 1_000) ring.push(time, [NaN]);
      ring.push(200_000, [8]);
      const { times, values } = ring.view(null);
      return [...times].map((time, i) => [time, values[0][i]]);
    });
    assert.deepEqual(rows, [[1_000, 7], [2_000, NaN], [200_000, 8]]);
  });

  /**
   * Runs steps on a track of `fields` whose server has `points` ({field: [[seconds ago, value], ...]}) and was unavailable in
   * `outage` ([from, to], seconds ago). Returns the rows until now, in seconds ago.
   */
  const runTrack = (t, fields, steps, { points = {}, outage = [0, 0] } = {}) =>
    runInModule(
      t,
      'charts/track.js',
      async ({ Track }, { fields, steps, points, outage }) => {
        const { now } = await import(new URL('static/js/time.js', document.baseURI));
        const stopped = performance.now();
        performance.now = () => stopped;
        const start = now();
        const at = (ago) => start - ago * 1_000;
        const bucket = ([ago, value]) => ({ period: new Date(at(ago)).toISOString(), average: value, last: value });
        const beats = Array.from({ length: 100 }, (_, i) => [500 - 5 * i, i]).filter(([ago]) => ago > outage[0] || ago <= outage[1]);
        const request = async (_, { query }) => {
          const known = query.channel === 'metrics.infrastructure' ? { [query.field[0]]: beats } : points;
          return { data: { interval: 'raw', fields: Object.fromEntries(Object.entries(known).map(([field, list]) => [field, list.map(bucket)])) } };
        };
        let receive;
        let loaded = () => {};
        const context = {
          rest: { request, skew: 0 },
          range: { length: 300_000 },
          subscriptions: { subscribe: (_, { onUpdate }) => ((receive = onUpdate), () => {}) },
          redraw: () => loaded(),
        };
        const track = new Track(context, 'metrics.shop', fields, undefined, 100);
        for (const [step, argument, ago] of steps) {
          if (step === 'receive') receive({ event: null, data: argument, timestamp: new Date(at(ago)).toISOString() });
          if (step === 'stop') track.sourceStopped(new Map(Object.entries(argument).map(([field, since]) => [field, at(since)])));
          if (step === 'restart') track.restart();
          if (step === 'load') await new Promise((resolve) => (loaded = resolve));
        }
        const { times, values } = track.view(start + 1, true);
        track.close();
        return [...times].map((time, i) => [Math.round((start - time) / 1_000) || 0, ...values.map((list) => list[i])]);
      },
      { fields, steps, points, outage },
    );

  test('a ring has a gap for the time without a connection, and holds unchanged values', async (t) => {
    const rows = await runInModule(t, 'charts/ring.js', ({ Ring }) => {
      const ring = new Ring(1, 100, 500);
      ring.push(1_000, [7]);
      ring.push(1_100, [8]);
      ring.push(10_000, [9]); // the value 8 held until then
      ring.end(12_000);
      ring.end(12_500); // has no effect after the first end
      ring.push(20_000, [3]);
      const { times, values } = ring.view(21_000);
      return [...times].map((time, i) => [time, values[0][i]]);
    });
    assert.deepEqual(rows, [[1_000, 7], [1_100, 8], [9_999, 8], [10_000, 9], [12_000, 9], [12_000, NaN], [20_000, 3], [21_000, 3]]);
  });

  test('a ring inserts history before its rows, up to its capacity', async (t) => {
    const [all, few] = await runInModule(t, 'charts/ring.js', ({ Ring }) =>
      [10, 3].map((capacity) => {
        const ring = new Ring(1, capacity, 0);
        ring.push(100, [1]);
        ring.push(200, [2]);
        const values = [[5, 9, 10, 15]];
        ring.precede({ times: [50, 90, 100, 150], values, lows: values, highs: values });
        const view = ring.view(null);
        return [...view.times].map((time, i) => [time, view.values[0][i]]);
      }),
    );
    assert.deepEqual(all, [[50, 5], [90, 9], [100, 1], [200, 2]]);
    assert.deepEqual(few, [[90, 9], [100, 1], [200, 2]]);
  });

  test('a value of history holds until the first row of a ring that replaces the next value of history', async (t) => {
    const rows = await runInModule(t, 'charts/ring.js', ({ Ring }) => {
      const ring = new Ring(1, 10, 0);
      ring.push(10_000, [1]);
      const values = [[5, 5, 1]];
      ring.precede({ times: [2_000, 10_100, 10_101], values, lows: values, highs: values });
      const { times, values: [list] } = ring.view(null);
      return [...times].map((time, i) => [time, list[i]]);
    });
    assert.deepEqual(rows, [[2_000, 5], [9_999, 5], [10_000, 1]]);
  });

  test('history holds a value until the next one, and has a gap where the server was unavailable', async (t) => {
    const at = (seconds) => new Date(1_000_000 + seconds * 1_000).toISOString();
    const pulse = { interval: 'raw', fields: { cpu: [0, 5, 10, 60, 65].map((seconds) => ({ period: at(seconds) })) } };
    const buckets = [[0, 1], [4, 2], [62, 3]].map(([seconds, last]) => ({ period: at(seconds), average: last, last }));
    const [outages, past] = await runInModule(
      t,
      'charts/history.js',
      ({ rows, silences }, { pulse, buckets }) => {
        const outages = silences(pulse, { from: 1_000_000, to: 1_070_000 });
        return [outages, rows([buckets], outages, 0)];
      },
      { pulse, buckets },
    );
    assert.deepEqual(outages, [{ from: 1_010_000, to: 1_060_000 }]);
    const rows = past.times.map((time, i) => [(time - 1_000_000) / 1_000, past.values[0][i]]);
    assert.deepEqual(rows, [[0, 1], [3.999, 1], [4, 2], [10, 2], [10, NaN], [62, 3]]);
  });

  test('a ring keeps short peaks when it merges values into one row', async (t) => {
    const [rows, newest] = await runInModule(t, 'charts/ring.js', ({ Ring }) => {
      const ring = new Ring(1, 100, 1_000);
      for (let i = 0; i < 100; i += 1) ring.push(i * 100, [i % 10 === 7 ? 5_000 : 100]);
      const { times, values, lows, highs } = ring.view(20_000);
      const rows = [...times].map((time, i) => [time, values[0][i], lows[0][i], highs[0][i]]);
      return [rows.slice(1, -1), rows.at(-1)];
    });
    assert.ok(rows.length > 5 && rows.every(([, , low, high]) => low === 100 && high === 5_000), JSON.stringify(rows));
    assert.ok(rows.every(([, average]) => average > 500 && average < 650), JSON.stringify(rows));
    assert.deepEqual(newest, [20_000, 100, 100, 100]); // the newest value holds, not the average
  });

  test('a ring merges history that exceeds its capacity, and keeps the extremes', async (t) => {
    const [count, high, last] = await runInModule(t, 'charts/ring.js', ({ Ring }) => {
      const ring = new Ring(1, 50, 100);
      ring.push(5_000, [1]);
      const times = Array.from({ length: 500 }, (_, i) => i * 10);
      const values = [times.map((time) => (time === 1_230 ? 99 : 1))];
      ring.precede({ times, values, lows: values, highs: values });
      ring.push(5_200, [2]);
      const view = ring.view(null);
      return [view.times.length, Math.max(...view.highs[0]), view.values[0].at(-1)];
    });
    assert.ok(count >= 48 && count <= 51, `${count}`);
    assert.deepEqual([high, last], [99, 2]);
  });

  test('the line of a field ends when its source stops, whatever other sources write', async (t) => {
    const rows = await runTrack(t, ['v'], [
      ['receive', { v: 5, w: 1 }, 60],
      ['load'],
      ['stop', { v: 30 }],
      ['receive', { v: 5, w: 2 }, 0],
      ['stop', { v: 31 }],
      ['receive', { v: 5, w: 3 }, 0],
    ]);
    assert.deepEqual(rows, [[60, 5], [30, 5], [30, NaN]]);
  });

  test('each line of a chart ends when its own source stops, and continues when it writes again', async (t) => {
    const stops = [['receive', { a: 1, b: 2 }, 60], ['load'], ['stop', { b: 40 }], ['stop', { a: 20, b: 40 }]];
    const ended = [[60, 1, 2], [40, 1, 2]];
    assert.deepEqual((await runTrack(t, ['a', 'b'], stops)).filter(([ago]) => ago > 20), ended);
    const again = await runTrack(t, ['a', 'b'], [...stops, ['receive', { a: 1, b: 3 }, 0], ['stop', { a: 20 }]]);
    assert.deepEqual(again.filter(([ago]) => ago > 20), ended);
    assert.deepEqual(again.at(-1), [0, NaN, 3]);
    assert.ok(again.every(([ago, a]) => (ago >= 20 || Number.isNaN(a))), JSON.stringify(again));
  });

  test('the line of a stopped source ends at the same time after the clock was set', async (t) => {
    const hour = 3_600;
    for (const shift of [-hour, hour]) {
      const rows = await runTrack(t, ['v'], [
        ['receive', { v: 5 }, 60],
        ['load'],
        ['stop', { v: 30 + shift }], // in the old clock
        ['restart'],
        ['stop', { v: 30 }],
        ['load'],
      ]);
      assert.deepEqual(rows, [[60, 5], [30, 5], [30, NaN]]);
    }
  });

  test('a value that was old before a restart is not drawn up to the outage, nor after it', async (t) => {
    const old = { points: { v: [[200, 42]] }, outage: [60, 20] };
    for (const steps of [[['load'], ['stop', { v: 150 }]], [['stop', { v: 150 }], ['load']]]) {
      const rows = await runTrack(t, ['v'], [['receive', { v: 42 }, 200], ...steps], old);
      assert.deepEqual(rows.filter(([, v]) => !Number.isNaN(v)), [[200, 42], [150, 42]]);
    }
  });

  test('a number whose source has stopped has no change over the range', async (t) => {
    const texts = await runInModule(t, 'tiles/number.js', async ({ mountNumber }) => {
      let receive;
      let loaded = () => {};
      const context = {
        rest: { request: async () => ({ data: { interval: 'raw', fields: {} } }), skew: 0 },
        range: { length: 60_000, name: '1m', end: (now) => now },
        subscriptions: { subscribe: (_, { onUpdate }) => ((receive = onUpdate), () => {}) },
        currency: () => '',
        redraw: () => loaded(),
      };
      const body = document.createElement('div');
      const view = mountNumber({ type: 'number', channel: 'metrics.shop', field: 'v' }, body, context);
      const text = () => {
        view.draw({ now: Date.now(), live: true, lines: true, calm: false, palette: {} });
        return body.querySelector('.number-trend').textContent;
      };
      receive({ event: null, data: { v: 5, w: 1 }, timestamp: new Date(Date.now() - 90_000).toISOString() });
      await new Promise((resolve) => (loaded = resolve));
      const texts = [text()];
      view.sourceStopped(new Map([['v', Date.now() - 30_000]]));
      texts.push(text());
      view.sourceStopped(new Map());
      receive({ event: null, data: { v: null, w: 2 }, timestamp: new Date().toISOString() });
      texts.push(text());
      view.close();
      return texts;
    });
    assert.deepEqual(texts, ['→ steady over 1m', '', '']);
  });

  /** Returns the ages of a tile after each of the responses of `GET api/channels`, which arrive `minutes` after the one before. */
  const agesOf = (t, tile, responses, minutes = 0) =>
    runInModule(
      t,
      'freshness.js',
      async ({ Freshness }, { tile, responses, minutes }) => {
        const { now } = await import(new URL('static/js/time.js', document.baseURI));
        let time = performance.now();
        performance.now = () => time;
        const request = async () => ({ data: { channels: responses.shift() } });
        const freshness = new Freshness({ request, skew: 0 }, () => [tile], () => {});
        const ages = [];
        for (let count = responses.length; count > 0; count -= 1) {
          await freshness.refresh();
          const { text, stopped, silent } = freshness.ageOf(tile);
          ages.push([text, stopped, [...silent].map(([field, since]) => [field, (now() - since) / 1_000])]);
          time += minutes * 60_000 + 31_000; // each channel is queried again by then
        }
        return ages;
      },
      { tile, responses, minutes },
    );
  const shop = (idle, more) => ({ channel: 'metrics.shop', kind: 'state', idle: `PT${idle}S`, pace: 'PT1S', ...more });

  test('the age of a tile names the fields whose sources have stopped, and since when', async (t) => {
    const fields = { a: { idle: 'PT50S', pace: 'PT1S' }, b: { idle: 'PT90S', pace: 'PT1S' } };
    const response = [[shop(1, { fields })]];
    const chart = { type: 'chart', channel: 'metrics.shop' };
    assert.deepEqual(await agesOf(t, { ...chart, fields: ['a', 'b'] }, response), [['No data for 50 s', true, [['a', 50], ['b', 90]]]]);
    assert.deepEqual(await agesOf(t, { ...chart, fields: ['a', 'c'] }, response), [['A: no data for 50 s', false, [['a', 50]]]]);
    assert.deepEqual(await agesOf(t, { ...chart, fields: ['c', 'd'] }, response), [['', false, []]]);
    assert.deepEqual(await agesOf(t, { ...chart, fields: ['c', 'd'] }, [[shop(70)]]), [['No data for 1 m', true, [['c', 70], ['d', 70]]]]);
    // The server itself writes the other field.
    const snapshot = { type: 'chart', channel: 'metrics', fields: ['custom.shop.a', 'business.ordersToday'] };
    assert.deepEqual(await agesOf(t, snapshot, response), [['Custom shop a: no data for 50 s', false, [['custom.shop.a', 50]]]]);
  });

  test('an ended channel and an ended field are shown as ended until they are written again', async (t) => {
    const texts = await runInModule(
      t,
      'freshness.js',
      async ({ Freshness }, line) => {
        const tile = (fields) => ({ type: 'chart', channel: 'metrics.shop', fields });
        const tiles = [tile(['a']), tile(['a', 'b{x="1"}']), tile(['b{x="1"}'])];
        const freshness = new Freshness({ request: async () => ({ data: { channels: [line] } }), skew: 0 }, () => tiles, () => {});
        await freshness.refresh();
        const all = () => tiles.map((tile) => freshness.ageOf(tile)).map(({ text, stopped }) => [text, stopped]);
        const ago = (seconds) => new Date(Date.now() - seconds * 1_000).toISOString();
        const value = { a: 1, 'b{x="1"}': 2 };
        freshness.record('metrics.shop', value, ago(90));
        const texts = [all()];
        freshness.record('metrics.shop', { a: 1 }, ago(60));
        texts.push(all());
        freshness.record('metrics.shop', null, ago(30));
        texts.push(all());
        freshness.record('metrics.shop', value, ago(0));
        return [...texts, all()];
      },
      shop(1),
    );
    const live = ['', false];
    const name = 'B{x="1"}';
    assert.deepEqual(texts, [
      [live, live, live],
      [live, [`${name}: ended 1 m ago`, false], ['Ended 1 m ago', true]],
      Array(3).fill(['Ended 30 s ago', true]),
      [live, live, live],
    ]);
  });

  test('ages do not change when the clock is set', async (t) => {
    const ages = await runInModule(
      t,
      'freshness.js',
      async ({ Freshness }, line) => {
        let time = performance.now();
        performance.now = () => time;
        const tile = { type: 'chart', channel: 'metrics.shop', fields: ['a', 'b'] };
        const freshness = new Freshness({ request: async () => ({ data: { channels: [line] } }), skew: 0 }, () => [tile], () => {});
        await freshness.refresh();
        const ages = [freshness.ageOf(tile).text];
        for (const moved of [-3_600_000, 86_400_000]) {
          time += moved;
          freshness.clockSet(moved);
          ages.push(freshness.ageOf(tile).text);
        }
        return ages;
      },
      shop(90, { fields: { b: { idle: 'PT300S', pace: 'PT1S' } } }),
    );
    assert.deepEqual(ages, Array(3).fill('No data for 1 m'));
  });

  test('after a restart of the server the page keeps the time of the last write that it knows', async (t) => {
    const tile = { type: 'chart', channel: 'metrics.shop', fields: ['a', 'b'] };
    const before = shop(1, { fields: { b: { idle: 'PT300S', pace: 'PT1S' } } });
    const after = shop(20, { pace: null, restored: true });
    const later = shop(1, { pace: null, fields: { b: { idle: 'PT51S', pace: null, restored: true } } });
    assert.deepEqual(await agesOf(t, tile, [[before], [after], [later]]), [
      ['B: no data for 5 m', false, [['b', 300]]],
      ['32 s ago, before a restart', true, [['a', 32], ['b', 331]]],
      ['B: 6 m ago, before a restart', false, [['b', 362]]],
    ]);
    // The last response is too old: other writes may have followed.
    assert.deepEqual(await agesOf(t, tile, [[before], [after]], 10), [
      ['B: no data for 5 m', false, [['b', 300]]],
      ['20 s ago, before a restart', true, [['a', 20], ['b', 20]]],
    ]);
  });

  test('a minute is drawn by its average, in its middle, with its lowest and highest value', async (t) => {
    const at = (minutes) => new Date(minutes * 60_000).toISOString();
    const buckets = [
      { period: at(10), average: 88, min: 5, max: 100, last: 10 },
      { period: at(11), average: 90, min: 80, max: 95, last: 91 },
      { period: at(20), average: 50, min: 50, max: 50, last: 50 }, // the previous value held for eight minutes
    ];
    const past = await runInModule(t, 'charts/history.js', ({ rows }, buckets) => rows([buckets], [], 60_000), buckets);
    const rows = past.times.map((time, i) => [time / 60_000, past.values[0][i], past.lows[0][i], past.highs[0][i]]);
    assert.deepEqual(rows.map(([time, ...rest]) => [Math.round(time * 10) / 10, ...rest]), [
      [10.5, 88, 5, 100],
      [11.5, 90, 10, 95], // the previous value of 10 held at its start
      [12, 91, 91, 91],
      [20, 91, 91, 91],
      [20.5, 50, 50, 91],
    ]);
    assert.deepEqual(past.last, [50]);
  });

  test('a gap starts at a value of the last second before an outage, and also at the end of the range', async (t) => {
    const at = (seconds) => new Date(1_000_000 + seconds * 1_000).toISOString();
    const bucket = ([seconds, last]) => ({ period: at(seconds), average: last, last });
    const past = await runInModule(
      t,
      'charts/history.js',
      ({ rows }, { buckets, outages }) => rows([buckets], outages, 0),
      { buckets: [[0, 1], [9.9, 2], [40, 3], [60, 4]].map(bucket), outages: [{ from: 1_009_300, to: 1_035_000 }, { from: 1_061_000, to: 1_090_000 }] },
    );
    const rows = past.times.map((time, i) => [(time - 1_000_000) / 1_000, past.values[0][i]]);
    assert.deepEqual(rows, [[0, 1], [9.899, 1], [9.9, 2], [9.9, NaN], [40, 3], [59.999, 3], [60, 4], [61, 4], [61, NaN]]);
  });

  test('a number shows its change since the start of the range, or nothing if the value at the start is unknown', async (t) => {
    const texts = await runInModule(t, 'tiles/number.js', ({ movement }) => {
      const of = (times, values, lows = values, highs = values) =>
        movement(
          { times: Float64Array.from(times), values: [Float64Array.from(values)], lows: [Float64Array.from(lows)], highs: [Float64Array.from(highs)] },
          1_000, 2_000, '5m', String,
        );
      return [
        of([900, 1_500, 2_000], [10, 11, 15]),
        of([1_400, 1_500, 2_000], [10, 11, 15]), // the value at the start is unknown
        of([900, 2_000], [7, 7]),
        of([900, 1_500, 2_000], [7, 8, 7], [7, 3, 7], [7, 9, 7]),
        of([900, 950, 1_500, 2_000], [7, NaN, 7, 9]),
        of([], []),
      ];
    });
    assert.deepEqual(texts, ['↑ 50 % over 5m', '', '→ steady over 5m', 'between 3 and 9 over 5m', '', '']);
  });

  test('each step of an edit can be undone', async (t) => {
    const same = await runInModule(t, 'board/model.js', ({ apply, inverse }) => {
      const tile = (id) => ({ id, type: 'number', title: id, channel: 'metrics.shop', field: id });
      const board = { id: 'x', name: 'X', version: 1, tiles: ['a', 'b', 'c'].map(tile) };
      const steps = [
        { kind: 'rename', name: 'Y' },
        { kind: 'add', tile: tile('d') },
        { kind: 'remove', id: 'b' },
        { kind: 'remove', id: 'c' },
        { kind: 'move', id: 'a', before: null },
        { kind: 'move', id: 'c', before: 'a' },
        { kind: 'change', id: 'a', changes: { title: 'A', width: 3, field: null } },
      ];
      return steps.map((step) => {
        const after = apply(board, step);
        const back = inverse(board, step).reduce((now, undo) => apply(now, undo), after);
        const sorted = (value) => JSON.stringify(value, (_, v) => (v && !Array.isArray(v) && typeof v === 'object' ? Object.fromEntries(Object.entries(v).sort()) : v));
        return sorted(back) === sorted(board) && sorted(after) !== sorted(board);
      });
    });
    assert.deepEqual(same, Array(7).fill(true));
  });

  test('a step that is no longer possible is not applied, and overwriting another change is detected', async (t) => {
    const results = await runInModule(t, 'board/model.js', ({ apply, overwrites }) => {
      const board = { id: 'x', name: 'X', version: 1, tiles: [{ id: 'a', type: 'text', title: 'A' }] };
      const step = { kind: 'change', id: 'a', changes: { title: 'Mine' } };
      const theirs = { ...board, tiles: [{ id: 'a', type: 'text', title: 'Theirs' }] };
      const wider = { ...board, tiles: [{ id: 'a', type: 'text', title: 'A', width: 5 }] };
      return [
        apply(board, { kind: 'remove', id: 'gone' }),
        apply(board, { kind: 'move', id: 'gone', before: 'a' }),
        apply(board, { kind: 'add', tile: { id: 'a' } }),
        overwrites(board, theirs, step),
        overwrites(board, wider, step),
      ];
    });
    assert.deepEqual(results, [null, null, null, true, false]);
  });

  test('a field is found by its name or path, and formatted by its kind', async (t) => {
    const read = await runInModule(t, 'fields.js', ({ fieldsOf, kindOf, nameOf, numericFields, valueAt }) => {
      const data = { 'a.b': 1, a: { b: 2, c: { d: 'text' } }, list: [1], none: null };
      return [
        ['a.b', 'a.c.d', 'a.x', 'list'].map((field) => valueAt(data, field) ?? null),
        fieldsOf(data),
        numericFields(data),
        kindOf('cpu_usage').read(12.34, { currency: '' }),
        kindOf('load_average').read(1.37, { currency: '' }),
        kindOf('revenueToday').read(1234.5, { currency: 'EUR' }),
        kindOf('x', 'kg').read(3, { currency: '' }),
        kindOf('x').read(null, { currency: '' }),
        nameOf('api.avg_response_time'),
      ];
    });
    assert.deepEqual(read, [
      [1, 'text', null, [1]],
      ['a.b', 'a.c.d', 'none'],
      ['a.b', 'none'],
      { text: '12.3', unit: '%' },
      { text: '1.37', unit: '' },
      { text: '€1,234.50', unit: '' },
      { text: '3', unit: 'kg' },
      { text: '—', unit: '' },
      'Response time',
    ]);
  });

  test('a dashboard that changes while it is reloaded after a gap is loaded again', async (t) => {
    const shown = await runInModule(t, 'board/sync.js', async ({ BoardSync }) => {
      const board = (version) => ({ id: 'default', name: `version ${version}`, tiles: [], version });
      /** @type {((version: number) => void)[]} */
      const responses = [];
      const request = () => new Promise((resolve) => responses.push((version) => resolve({ data: board(version), etag: `"${version}"` })));
      const names = [];
      const watcher = { show: ({ name }) => names.push(name), notify() {}, saved() {}, deleted() {} };
      const sync = new BoardSync({ request }, board(7), '"7"', watcher);
      const respond = async (version) => {
        responses.shift()(version);
        await new Promise((resolve) => setTimeout(resolve));
      };
      sync.refresh(); // the server has restarted without its data
      sync.handleEvent({ dashboardId: 'default', action: 'updated', version: 2 });
      await respond(1);
      await respond(2);
      sync.handleEvent({ dashboardId: 'default', action: 'updated', version: 2 });
      return { names, open: responses.length };
    });
    assert.deepEqual(shown, { names: ['version 1', 'version 2'], open: 0 });
  });
});
