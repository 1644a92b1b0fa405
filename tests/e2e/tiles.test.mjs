// Gauges, bars, states, status histories, channels, nodes and Markdown on dashboards, and their pure modules.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { tile, useBrowser, waitForBadge } from './browser.mjs';
import { TOGETHER, startServer } from './helpers.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** Sources of Markdown that try to run a script or to load something. */
const ATTACKS = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '[x](javascript:alert(1))',
  '[x](JaVaScRiPt:alert(1))',
  '[x](java\tscript:alert(1))',
  '[x](&#106;avascript:alert(1))',
  '[x](data:text/html,<script>alert(1)</script>)',
  '[x](vbscript:msgbox(1))',
  '[x](//evil.example/)',
  '[x](\\\\evil.example)',
  '![x](https://evil.example/pixel.png)',
  '[x](https://example.com/"onmouseover="alert(1))',
  '<javascript:alert(1)>',
  '`<script>`',
  '```html\n<script>alert(1)</script>\n```',
  '| <script>a</script> | b |\n|---|---|\n| <img src=x> | [y](javascript:1) |',
  `${'>'.repeat(500)} deep`,
  '*'.repeat(5_000),
  `${'['.repeat(3_000)}x`,
];

describe('tiles', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const openPage = useBrowser();

  /** Runs `work` with the exports of a module in a page and returns its result. */
  async function runInModule(t, path, work, argument) {
    const server = await startServer(t);
    const page = await openPage(t);
    await page.goto(`${server.url}docs`);
    return page.evaluate(`import(${JSON.stringify(`${server.url}static/js/${path}`)}).then((module) => (${work})(module, ${JSON.stringify(argument ?? null)}))`);
  }

  test('Markdown becomes elements', async (t) => {
    const html = await runInModule(t, 'markdown.js', ({ renderMarkdown }) => {
      const source = '# Title\n\nA *b* **c** `d` ~~e~~ https://a.example/x?y=1.\nnext\n\n- one\n- [two](?board=x)\n\n1. first\n\n> quoted\n\n---\n\n```\ncode *x*\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |';
      const root = document.createElement('div');
      root.append(...renderMarkdown(source));
      for (const node of root.querySelectorAll('*')) node.removeAttribute('class');
      return root.innerHTML.replaceAll(' rel="noopener noreferrer nofollow"', '');
    });
    assert.equal(
      html,
      '<h3>Title</h3><p>A <em>b</em> <strong>c</strong> <code>d</code> <s>e</s> <a href="https://a.example/x?y=1">https://a.example/x?y=1</a>.\nnext</p>' +
        '<ul><li>one</li><li><a href="?board=x">two</a></li></ul><ol><li>first</li></ol><blockquote><p>quoted</p></blockquote><hr>' +
        '<pre><code>code *x*</code></pre><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>',
    );
  });

  test('Markdown cannot run a script, load anything or link to another scheme', async (t) => {
    const found = await runInModule(t, 'markdown.js', ({ renderMarkdown }, attacks) => attacks.map((source) => {
      const root = document.createElement('div');
      root.append(...renderMarkdown(source));
      const names = [...new Set([...root.querySelectorAll('*')].map(({ localName }) => localName))];
      const attributes = [...root.querySelectorAll('*')].flatMap((node) => [...node.attributes].map(({ name }) => name));
      const links = [...root.querySelectorAll('a')].map(({ protocol, host }) => `${protocol}${host === location.host ? '' : host}`);
      return { names, attributes: [...new Set(attributes)], links };
    }), ATTACKS);
    const allowed = ['p', 'a', 'code', 'pre', 'blockquote', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'em', 'strong', 'hr', 'ul', 'li'];
    found.forEach(({ names, attributes, links }, index) => {
      assert.deepEqual(names.filter((name) => !allowed.includes(name)), [], ATTACKS[index]);
      assert.deepEqual(attributes.filter((name) => !['class', 'href', 'rel'].includes(name)), [], ATTACKS[index]);
      for (const link of links) assert.match(link, /^(https?:|https?:evil\.example|https?:example\.com)$/, ATTACKS[index]);
      assert.ok(!ATTACKS[index].startsWith('[x](//') || links.length === 0, 'a link without a scheme stays on this server');
    });
  });

  test('a value has a level by its limits, by its meaning, or by the levels of its tile', async (t) => {
    const levels = await runInModule(t, 'tiles/level.js', ({ levelOf }) => [
      levelOf(79, '', { thresholds: { warning: 80, critical: 95 } }),
      levelOf(81, '', { thresholds: { warning: 80, critical: 95 } }),
      levelOf(96, '', { thresholds: { warning: 80, critical: 95 } }),
      levelOf(15, '', { thresholds: { warning: 20, critical: 10 } }),
      levelOf(5, '', { thresholds: { critical: 10, below: true } }),
      levelOf(5, 'latency'),
      levelOf(0, 'host.up'),
      levelOf(true, 'up'),
      levelOf(false, 'open'),
      levelOf('Degraded', 'status'),
      levelOf('down', 'status'),
      levelOf('down', 'status', { levels: { down: 'plain' } }),
      levelOf('__proto__', 'status', { levels: {} }),
      levelOf(null, 'status'),
      levelOf(NaN, '', { thresholds: { critical: 10 } }),
      levelOf(81, 'load', {}, [{ at: 80, below: false, level: 'critical', rule: 'high load' }]),
      levelOf(79, 'load', {}, [{ at: 80, below: false, level: 'critical', rule: 'high load' }]),
      levelOf(0, 'up', {}, [{ at: 2, below: false, level: 'warning', rule: 'too many' }]),
    ]);
    assert.deepEqual(levels, ['good', 'warning', 'critical', 'warning', 'critical', 'plain', 'critical', 'good', 'plain', 'warning', 'critical', 'plain', 'plain', 'plain', 'plain', 'critical', 'good', 'critical']);
  });

  test('a strip of states has the worst state of each part, and the uptime is that of the known time', async (t) => {
    const [strip, up, none, fromRows] = await runInModule(t, 'tiles/states.js', ({ changesOf, segments, uptime }) => {
      const changes = [{ from: 0, level: 'good' }, { from: 40, level: 'critical' }, { from: 45, level: 'good' }, { from: 80, level: 'none' }];
      const list = (...values) => [Float64Array.from(values)];
      const rows = { times: Float64Array.from([0, 10, 20]), values: list(1, 1, NaN), lows: list(1, 0, NaN), highs: list(1, 2, NaN) };
      return [
        segments(changes, 0, 100, 10),
        uptime(changes, 0, 100),
        uptime([], 0, 100),
        changesOf(rows, (value) => (value === 0 ? 'critical' : 'good')),
      ];
    });
    assert.deepEqual(strip, ['good', 'good', 'good', 'good', 'critical', 'good', 'good', 'good', 'none', 'none']);
    assert.equal(up, 75 / 80);
    assert.ok(Number.isNaN(none) || none === null);
    assert.deepEqual(fromRows, [{ from: 0, level: 'good' }, { from: 10, level: 'critical' }, { from: 20, level: 'none' }]);
  });

  test('bins keep the last five minutes with their extremes, whatever the order of history and live values', async (t) => {
    const [live, late, gap, held] = await runInModule(t, 'explore/bins.js', ({ Bins, BIN_MS, BINS }) => {
      const read = ({ times, values: [values], lows: [lows], highs: [highs] }) => [...times].map((time, i) => [time / BIN_MS, values[i], lows[i], highs[i]]);
      const bins = new Bins();
      bins.add(100 * BIN_MS, 5);
      bins.add(100 * BIN_MS + 1, 9);
      bins.add(100 * BIN_MS + 2, 7);
      const live = read(bins.view(102 * BIN_MS));
      bins.add(98 * BIN_MS, 3); // history arrives later
      bins.add((100 - BINS) * BIN_MS, 1); // too old
      const late = read(bins.view(101 * BIN_MS));
      bins.add((100 + 2 * BINS) * BIN_MS, 2);
      const held = read(bins.view((100 + 4 * BINS) * BIN_MS));
      return [live, late, read(bins.view((100 + 2 * BINS) * BIN_MS)), [held.length, held[0][0], ...new Set(held.map(([, value]) => value))]];
    });
    assert.deepEqual(live, [[100, 7, 5, 9], [101, 7, 7, 7], [102, 7, 7, 7]]);
    assert.deepEqual(late, [[98, 3, 3, 3], [99, 3, 3, 3], [100, 7, 5, 9], [101, 7, 7, 7]]);
    assert.deepEqual([gap.length, gap[0], gap.at(-2), gap.at(-1)], [60, [161, 7, 7, 7], [219, 7, 7, 7], [220, 2, 2, 2]], 'a value holds until the next one');
    assert.deepEqual(held, [60, 281, 2], 'an old value holds');
  });

  test('a tile that is hidden while it is empty appears with the first value of its field, and leaves no hole', async (t) => {
    const server = await startServer(t);
    const options = { whenEmpty: 'hide' };
    const tiles = [
      { type: 'number', title: 'A', channel: 'metrics.shop', field: 'a', width: 6, options },
      { type: 'number', title: 'Ratio', channel: 'metrics.shop', field: 'ratio', width: 6, options },
    ];
    await server.push({ channel: 'metrics.shop', data: { a: 1, ratio: null } });
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
    const page = await openPage(t);
    await page.goto(server.url);
    await tile(page, 'A').waitFor();
    const widthOfA = async () => Math.round((await tile(page, 'A').boundingBox()).width / page.viewportSize().width * 10);
    await page.waitForFunction(() => document.querySelectorAll('.card[data-empty=true]').length === 1);
    assert.equal(await tile(page, 'Ratio').isVisible(), false);
    assert.equal(await widthOfA(), 10);
    await server.push({ channel: 'metrics.shop', data: { a: 1, ratio: 0.5 } });
    await tile(page, 'Ratio').waitFor();
    assert.equal(await widthOfA(), 5);
    assert.deepEqual(page.problems, []);
  });

  test('each kind of tile shows the newest value, and axe finds no violation', async (t) => {
    const server = await startServer(t);
    const tiles = [
      { type: 'gauge', title: 'Gauge', channel: 'metrics.shop', field: 'load_percent', options: { thresholds: { warning: 70, critical: 90 } } },
      { type: 'gauge', title: 'Ruled', channel: 'metrics.shop', field: 'b' },
      { type: 'bar', title: 'Bars', channel: 'metrics.shop', fields: ['a', 'b'] },
      { type: 'state', title: 'State', channel: 'metrics.shop', field: 'status' },
      { type: 'status', title: 'Status', channel: 'metrics.shop', field: 'a', options: { thresholds: { critical: 100 } } },
      { type: 'status', title: 'Words', channel: 'metrics.shop', field: 'status' },
      { type: 'channels', title: 'List' },
      { type: 'channels', title: 'Fleet', fields: ['a', 'status'], options: { prefix: 'metrics.host.' } },
      { type: 'nodes', title: 'Nodes' },
      { type: 'markdown', title: 'Notes', options: { text: '# Notes\n\n[docs](docs)' } },
    ];
    await server.push([
      { channel: 'metrics.shop', data: { load_percent: 95, a: 5, b: 10, status: 'in_progress' } },
      { channel: 'metrics.host.one', data: { a: 1, status: 'up' } },
      { channel: 'metrics.host.two', data: { a: 2, status: 'down' } },
    ]);
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
    await server.send('POST', 'api/alerts/rules', { id: 'b', name: 'Much b', channel: 'metrics.shop', field: 'b', condition: { above: 8 }, severity: 'critical' });
    const page = await openPage(t);
    await page.goto(server.url);
    await waitForBadge(page, 'live');
    // The limits of alert rules count, too.
    await tile(page, 'Ruled').locator('.gauge[data-level=critical] .gauge-mark-critical').waitFor();
    await tile(page, 'Bars').locator('.bar[data-level=critical]', { hasText: 'B' }).waitFor();
    await tile(page, 'Gauge').locator('.gauge[data-level=critical] .gauge-value', { hasText: '95' }).waitFor();
    await tile(page, 'Bars').locator('.bar', { hasText: /^B10$/ }).waitFor();
    await tile(page, 'State').locator('.state-value', { hasText: 'In progress' }).waitFor();
    await tile(page, 'Status').locator('.status-share', { hasText: '100 % over 5m' }).waitFor();
    await tile(page, 'List').locator('.explore-row', { hasText: 'metrics.host.two' }).first().waitFor();
    await tile(page, 'Nodes').locator('tbody tr', { hasText: 'This server' }).waitFor();
    await tile(page, 'Notes').getByRole('link', { name: 'docs' }).waitFor();
    const names = () => tile(page, 'Fleet').locator('tbody th').allTextContents();
    await tile(page, 'Fleet').locator('td[data-level=critical]', { hasText: 'down' }).waitFor();
    assert.deepEqual(await names(), ['one', 'two']);
    await tile(page, 'Fleet').getByRole('button', { name: 'A', exact: true }).click();
    await tile(page, 'Fleet').locator('tbody tr').first().filter({ hasText: 'two' }).waitFor();
    await server.push({ channel: 'metrics.shop', data: { load_percent: 20, a: 500, b: 10, status: 'down' } });
    await tile(page, 'Gauge').locator('.gauge[data-level=good]').waitFor();
    await tile(page, 'State').locator('.state-figure[data-level=critical]', { hasText: 'Down' }).waitFor();
    await tile(page, 'Status').locator('.status-head[data-level=critical]', { hasText: 'Down' }).waitFor();
    await tile(page, 'Words').locator('.status-bar[data-level=critical]').waitFor();
    await page.evaluate(`${AXE};0`);
    const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules }), RULES);
    assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes.map(({ target }) => target).join(' ')}`), []);
    assert.deepEqual(page.problems, []);
  });
});
