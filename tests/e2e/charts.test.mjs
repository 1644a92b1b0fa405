// Unit tests of what charts and numbers are made of: formats, units, axes, colours, time ranges, limits, statistics, the grid.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { useModules } from './browser.mjs';
import { TOGETHER } from './helpers.mjs';

const TOKENS = readFileSync(fileURLToPath(new URL('../../static/css/tokens.css', import.meta.url)), 'utf8');
const DAY = 86_400_000;

describe('charts', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const runInModule = useModules();

  /** Returns the texts of values of fields: [field, value] or [field, value, unit of the tile]. */
  const textsOf = (t, values) =>
    runInModule(
      t,
      'fields.js',
      async ({ kindOf }, values) => {
        const { joined } = await import(new URL('static/js/format.js', document.baseURI));
        return values.map(([field, value, unit]) => joined(kindOf(field, unit).read(value, { currency: 'EUR' })));
      },
      values,
    );

  test('the unit of a field follows from the end of its name, with or without underscores', async (t) => {
    const cases = [
      ['free_bytes', 201_656_789, '202 MB'],
      ['rxBytes', 1_500, '1.50 kB'],
      ['tx_bytes_per_second', 2.5e9, '2.50 GB/s'],
      ['line_bits_per_second', 1e7, '10 Mbit/s'],
      ['memory_mb', 2_048, '2.05 GB'],
      ['uptime_seconds', 123_456, '34 h 17 m'],
      ['uptimeSeconds', 400_000, '4 d 15 h'],
      ['job_seconds', 0.0123, '12.3 ms'],
      ['latency_p95', 218.25134275549468, '218 ms'],
      ['latencyP95', 1_500, '1,500 ms'],
      ['wait_ms', 90_000, '1 m 30 s'],
      ['cpu_percent', 45.23, '45.2 %'],
      ['cpuPercent', 0.45, '0.45 %'],
      ['error_ratio', 0.034, '3.4 %'],
      ['price_usd', 12.5, '$12.50'],
      ['requests_per_second', 12.54, '12.5 /s'],
      ['temp_c', 21.55, '21.6 °C'],
      ['deployed_at', 1_764_499_000_000, '30 Nov 2025, '],
      ['queue', 1_234_740_720, '1.23 G'],
      ['queue', 26_000, '26,000'],
      ['latency_count', 12, '12'],
    ];
    const texts = await textsOf(t, cases.map(([field, value]) => [field, value]));
    cases.forEach(([field, , expected], index) => assert.ok(texts[index].startsWith(expected), `${field}: ${texts[index]} instead of ${expected}`));
  });

  test('a tile may set the unit: one of the list, a currency, or any text', async (t) => {
    const texts = await textsOf(t, [
      ['x', 1_500, 'bytes'], ['x', 3e6, 'bit/s'], ['x', 90, 's'], ['x', 0.5, 'ratio'], ['x', 9, '€'], ['x', 9, 'GBP'], ['x', 3, 'kg'], ['x', 2.5e6, 'orders'], ['x', 'text', 'kg'],
    ]);
    assert.deepEqual(texts, ['1.50 kB', '3 Mbit/s', '1 m 30 s', '50.0 %', '€9.00', '£9.00', '3 kg', '2.50 M orders', '—']);
  });

  test('the labels of an axis have equal decimals and one unit', async (t) => {
    const axes = await runInModule(t, 'format.js', ({ amount, bytes, milliseconds, plain, ratio }) =>
      [
        [plain(''), [0, 2.5, 5, 7.5]],
        [plain('/s'), [0, 5_000, 10_000]],
        [bytes, [0, 5e8, 1e9, 1.5e9]],
        [milliseconds, [0, 60_000, 120_000]],
        [ratio, [0, 0.005, 0.01]],
        [amount, [0, 5_000, 10_000]],
        [plain(''), [0.1, 0.2, 0.30000000000000004]],
      ].map(([kind, splits]) => Object.values(kind.axis(splits, { currency: 'EUR' })).flat().join(' ')));
    assert.deepEqual(axes, ['0.0 2.5 5.0 7.5 ', '0 5 10 k/s', '0.0 0.5 1.0 1.5 GB', '0 1 2 min', '0.0 0.5 1.0 %', '0 5 10 k EUR', '0.1 0.2 0.3 ']);
  });

  test('a series has the same color in every tile, and in the snapshot', async (t) => {
    const [alone, first, last, snapshot, all] = await runInModule(t, 'charts/colors.js', ({ colorsOf }) => {
      const fields = ['p50', 'p95', 'p99', 'errors', 'rate', 'queue'];
      return [
        colorsOf('metrics.shop', ['p95'])[0],
        colorsOf('metrics.shop', ['p95', 'p50'])[0],
        colorsOf('metrics.shop', ['p50', 'p95'])[1],
        colorsOf('metrics', ['custom.shop.p95'])[0],
        colorsOf('metrics.shop', fields),
      ];
    });
    assert.deepEqual([first, last, snapshot], [alone, alone, alone]);
    assert.equal(new Set(all).size, 6);
  });

  test('series colors can be told apart with every kind of color vision, in light and dark', () => {
    const schemes = [...TOKENS.matchAll(/((?:\s+--series-\d: #[\da-f]{6};)+)/g)].map(([, block]) => block.match(/#[\da-f]{6}/g));
    assert.equal(schemes.length, 2);
    for (const [index, colors] of schemes.entries()) {
      const surface = luminance(['#ffffff', '#141b23'][index]);
      for (const color of colors) {
        const [low, high] = [surface, luminance(color)].sort((a, b) => a - b);
        assert.ok((high + 0.05) / (low + 0.05) >= 3, `contrast of ${color}`);
      }
      for (const [vision, matrix] of Object.entries(VISIONS)) {
        for (const [i, one] of colors.entries()) {
          for (const other of colors.slice(i + 1)) {
            const distance = Math.hypot(...lab(one, matrix).map((value, n) => value - lab(other, matrix)[n]));
            assert.ok(distance >= 10, `${one} and ${other} with ${vision}: ${distance}`);
          }
        }
      }
    }
  });

  test('a time range is the same after it was written to the address and read again', async (t) => {
    const read = await runInModule(t, 'charts/range-address.js', ({ readRange, writeRange }) => {
      const to = Math.floor(Date.now() / 1_000) * 1_000 - 60_000;
      const states = [
        { length: 300_000, to: null, compare: null },
        { length: 86_400_000, to: null, compare: '7d' },
        { length: 7 * 86_400_000, to: null, compare: null },
        { length: 95_123, to, compare: '1d' },
      ];
      const again = states.map((state) => JSON.stringify(readRange(writeRange('?board=x', state))) === JSON.stringify(state));
      const refused = ['?range=never', '?range=1s', '?from=2020-01-01T00:00:00Z', '?from=x&to=y', '?range=99999d', ''].map((search) => readRange(search));
      return { again, refused, search: writeRange('?board=x&range=5m&transport=sse', { length: 3_600_000, to: null, compare: null }) };
    });
    assert.deepEqual(read.again, [true, true, true, true]);
    assert.deepEqual(read.refused, Array(6).fill(null));
    assert.equal(read.search, '?board=x&transport=sse&range=1h');
  });

  test('a range that ends now is live, and one that ends before has a fixed end', async (t) => {
    const states = await runInModule(t, 'charts/range.js', ({ Range }) => {
      localStorage.clear();
      const now = 1_000_000_000;
      const range = new Range();
      const entries = [];
      range.onChange((entry) => entries.push(`${entry} ${range.name} ${range.paused ? now - range.end(now) : 'live'}`));
      range.show(now - 600_000, now - 300_000, now);
      range.move(0.5, now);
      range.move(0.5, now);
      range.move(-0.5, now);
      range.zoom(-1, now);
      range.zoom(1, now, now - 450_000);
      range.pause(null);
      range.pause(now - 5_000);
      range.choose('7d');
      range.choose('7d'); // no change
      return entries;
    });
    assert.deepEqual(states, [
      'new 5m 300000', 'new 5m 150000', 'new 5m live', 'new 5m 150000', 'new 10m live', 'new 5m 225000', 'new 5m live', 'same 5m 5000', 'new 7d live',
    ]);
  });

  test('statistics of a line are those of the visible time, and the average is weighted by time', async (t) => {
    const stats = await runInModule(t, 'charts/rows.js', ({ statsOf }) => {
      const rows = (times, values, lows = values, highs = values) => ({ times: Float64Array.from(times), values: [Float64Array.from(values)], lows: [Float64Array.from(lows)], highs: [Float64Array.from(highs)] });
      return [
        statsOf(rows([0, 9, 10, 20], [0, 0, 100, 100]), 0, 0, 20),
        statsOf(rows([0, 10, 20, 30], [1, 2, 3, 99], [0, 1, 2, 99], [5, 6, 7, 99]), 0, 5, 25),
        statsOf(rows([0, 10, 10, 20], [4, 4, NaN, NaN]), 0, 0, 20),
      ].map(({ last, min, avg, max }) => [last, min, Math.round(avg * 100) / 100, max]);
    });
    assert.deepEqual(stats[0], [100, 0, 52.5, 100]);
    assert.deepEqual([stats[1][0], stats[1][1], stats[1][3]], [3, 0, 7]);
    assert.deepEqual(stats[2], [4, 4, 4, 4]);
  });

  test('limits come from a tile and from alert rules, and the severest one that is crossed counts', async (t) => {
    const found = await runInModule(t, 'limits.js', async ({ Limits, beyond }) => {
      const rules = [
        { name: 'High', channel: 'metrics.shop', field: 'a', condition: { above: 90 }, severity: 'critical' },
        { name: 'Low', channel: 'metrics', field: 'custom.shop.a', condition: { below: 5 }, severity: 'warning' },
        { name: 'Silent', channel: 'metrics.shop', field: 'a', condition: { absentFor: '5m' }, severity: 'critical' },
      ];
      const limits = new Limits({ request: async () => ({ data: { rules } }) }, () => {});
      await limits.refresh();
      const all = limits.of('metrics.shop', 'a', { thresholds: { warning: 80 } });
      const below = limits.of('metrics.shop', 'b', { thresholds: { warning: 20, critical: 10 } });
      return [
        all.map(({ at, below, level, rule }) => [at, below, level, rule]),
        [50, 85, 95, 3].map((value) => beyond(value, all)?.level ?? null),
        [25, 15, 5, NaN].map((value) => beyond(value, below)?.level ?? null),
        limits.of('metrics.shop', 'c', { thresholds: { warning: 'x' } }),
      ];
    });
    assert.deepEqual(found[0].map(([at]) => at).sort((a, b) => a - b), [5, 80, 90]);
    assert.deepEqual(found[0].at(-1), [90, false, 'critical', 'High']);
    assert.deepEqual(found[1], [null, 'warning', 'critical', 'warning']);
    assert.deepEqual(found[2], [null, 'warning', 'critical', null]);
    assert.deepEqual(found[3], []);
  });

  test('tiles grow into the holes of the grid, and no further', async (t) => {
    const sizes = await runInModule(t, 'board/fill.js', ({ filled }) =>
      [
        [[4, 2], [4, 2], [4, 2]],
        [[6, 4], [4, 4]], // the second one reaches the edge
        [[2, 2]], // at most twice as wide, so not at all
        [[6, 4], [6, 2]], // the second one reaches the bottom
      ].map((tiles) => filled(tiles.map(([width, height]) => ({ width, height })), 12).map(({ width, height }) => [width, height])));
    assert.deepEqual(sizes, [[[4, 2], [4, 2], [4, 2]], [[6, 4], [6, 4]], [[2, 2]], [[6, 4], [6, 4]]]);
    // On a phone the last of an odd row of numbers is wide, and none is tall.
    const odd = await runInModule(t, 'board/fill.js', ({ filled }) => filled([1, 1, 1, 2].map((width) => ({ width, height: 2 })), 2).map(({ width, height }) => [width, height]));
    assert.deepEqual(odd, [[1, 2], [1, 2], [2, 2], [2, 2]]);
  });

  test('history of an old time is read at the next coarser interval if the finer one is gone', async (t) => {
    const asked = await runInModule(t, 'charts/history.js', async ({ loadHistory }, DAY) => {
      const asked = [];
      const request = async (_, { query }) => {
        if (query.channel === 'metrics.shop') asked.push(query.interval);
        const period = new Date(Date.parse(query.from) + 3_600_000).toISOString();
        const buckets = query.interval === 'hour' ? [{ period, average: 5, min: 1, max: 9, last: 6 }] : [];
        return { data: { interval: query.interval, field: query.field[0], buckets } };
      };
      const to = Date.now() - 40 * DAY;
      const past = await loadHistory({ request, skew: 0 }, 'metrics.shop', ['a'], { from: to - 3 * 3_600_000, to });
      return [asked, past.values[0].filter((value) => value === 5).length];
    }, DAY);
    assert.deepEqual(asked, [['minute', 'hour'], 1]);
  });
});

describe('charts for a reader in Germany', { timeout: 60_000 }, () => {
  const runInModule = useModules({ locale: 'de-DE' });

  test('numbers, amounts and times follow the locale', async (t) => {
    const texts = await runInModule(t, 'format.js', ({ amount, clock, joined, plain }) => [
      joined(plain('').read(1234.5, { currency: '' })),
      joined(amount.read(1234.5, { currency: 'EUR' })).replace(/\s/g, ' '),
      clock(new Date(2026, 0, 5, 15, 4, 5).getTime()),
    ]);
    assert.deepEqual(texts, ['1.235', '1.234,50 €', '15:04:05']);
  });
});

/** Simulations of color vision on linear RGB (Machado, Oliveira, Fernandes 2009, severity 1). */
const VISIONS = {
  'normal vision': [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

const linear = (color) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
const luminance = (color) => linear(color).reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);

/** Returns the CIELAB coordinates of a color as it is seen with a kind of color vision. */
function lab(color, matrix) {
  const rgb = linear(color);
  const [r, g, b] = matrix.map((row) => Math.min(1, Math.max(0, row.reduce((sum, factor, i) => sum + factor * rgb[i], 0))));
  const [x, y, z] = [
    (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
    0.2126 * r + 0.7152 * g + 0.0722 * b,
    (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
  ].map((value) => (value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}
