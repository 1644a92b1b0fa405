// Time range and appearance of charts in Chromium: zoom, address, comparison, legend, tooltip, limits, numbers that fit.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tile, useBrowser, waitForBadge, waitForNumber } from './browser.mjs';
import { TOGETHER, startServer, until } from './helpers.mjs';

const DAY = 86_400_000;
const button = (page, name) => page.getByRole('button', { name, exact: true });
const chart = (id, field, more = {}) => ({ id, type: 'chart', title: id.toUpperCase(), channel: 'metrics.shop', field, ...more });
const number = (id, field, more = {}) => ({ id, type: 'number', title: id.toUpperCase(), channel: 'metrics.shop', field, ...more });
const query = (page) => Object.fromEntries(new URL(page.url()).searchParams);
const lengthOf = ({ from, to }) => (Date.parse(to) - Date.parse(from)) / 1_000;
const waitForQuery = (page, holds, name) => until(() => holds(query(page)), name, () => page.url());

describe('time and appearance of charts', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const openPage = useBrowser();

  async function open(t, tiles, { search = '', data = { a: 1, b: 2 }, ...options } = {}) {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data });
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
    const page = await openPage(t, options);
    await page.goto(server.url + search);
    await waitForBadge(page, 'live');
    if (tiles.some(({ type }) => type === 'chart')) await page.locator('.u-over').first().waitFor();
    return { server, page };
  }

  /** Drags over a part of the plot of the tile with this title, from one share of its width to another. */
  async function drag(page, title, from, to) {
    const { x, y, width } = await tile(page, title).locator('.u-over').boundingBox();
    await page.mouse.move(x + from * width, y + 20);
    await page.mouse.down();
    await page.mouse.move(x + to * width, y + 25, { steps: 4 });
    await page.mouse.up();
  }

  /** Returns the opaque pixels of the chart with this title as [red, green, blue, alpha]. */
  const pixelsOf = (page, title) =>
    tile(page, title).locator('canvas').first().evaluate((canvas) => {
      // A copy, because reading the canvas itself would slow down its drawing.
      const context = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      const pixels = [];
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) pixels.push([...data.slice(i, i + 4)]);
      return pixels;
    });

  test('dragging in a chart zooms all charts, and Back, Forward and a double click return', async (t) => {
    const { page } = await open(t, [chart('a', 'a'), chart('b', 'b')]);
    await drag(page, 'A', 0.2, 0.6);
    await waitForQuery(page, ({ from }) => from !== undefined, 'the range in the address');
    const zoomed = query(page);
    assert.ok(Math.abs(lengthOf(zoomed) - 120) < 3, JSON.stringify(zoomed));
    await button(page, 'Resume').waitFor();
    await page.goBack();
    await button(page, 'Pause').waitFor();
    assert.equal(query(page).from, undefined);
    assert.equal(await page.locator('#range input:checked').inputValue(), '5m');
    await page.goForward();
    await waitForQuery(page, ({ from }) => from === zoomed.from, 'the zoomed range');
    await tile(page, 'B').locator('.u-over').dblclick({ position: { x: 60, y: 20 } });
    await waitForQuery(page, ({ from }) => from === undefined, 'the range before');
    await button(page, 'Pause').waitFor();
    // Without an earlier range a double click shows twice the time.
    await tile(page, 'B').locator('.u-over').dblclick({ position: { x: 60, y: 20 } });
    await waitForQuery(page, ({ range }) => range === '10m', 'twice the time');
    assert.deepEqual(page.problems, []);
  });

  test('a selection up to the end of a live chart stays live, and Escape cancels one', async (t) => {
    const { page } = await open(t, [chart('a', 'a')]);
    const { x, y, width } = await tile(page, 'A').locator('.u-over').boundingBox();
    await page.mouse.move(x + 0.2 * width, y + 20);
    await page.mouse.down();
    await page.mouse.move(x + 0.4 * width, y + 20, { steps: 3 });
    await page.locator('.chart-select:visible').waitFor();
    await page.keyboard.press('Escape');
    await page.mouse.up();
    await page.locator('.chart-select').waitFor({ state: 'hidden' });
    assert.deepEqual(query(page), {});
    await drag(page, 'A', 0.5, 1);
    await waitForQuery(page, ({ range }) => /^2m(2\d|3\d)s$|^2m30s$/.test(range ?? ''), 'a live range');
    await button(page, 'Pause').waitFor();
    assert.match(await page.locator('#time-label').textContent(), /^Last 2m/);
  });

  test('arrows move the range, and it is live again when it ends now', async (t) => {
    const { page } = await open(t, [chart('a', 'a')]);
    assert.ok(await button(page, 'Later').isDisabled());
    await button(page, 'Earlier').click();
    await waitForQuery(page, (range) => lengthOf(range) === 300, 'five earlier minutes');
    const earlier = query(page);
    await button(page, 'Earlier').click();
    await waitForQuery(page, ({ to }) => Date.parse(earlier.to) - Date.parse(to) === 150_000, 'half of the range earlier');
    while (await button(page, 'Later').isEnabled()) await button(page, 'Later').click();
    await waitForQuery(page, ({ range }) => range === '5m', 'the live range');
    assert.ok(await button(page, 'Later').isDisabled());
    const plot = tile(page, 'A').getByRole('application');
    await plot.focus();
    await page.keyboard.press('-');
    await waitForQuery(page, ({ range }) => range === '10m', 'a zoom by key');
    await page.keyboard.press('+');
    await waitForQuery(page, ({ range }) => range === '5m', 'a zoom by key');
    assert.deepEqual(page.problems, []);
  });

  test('the menu shows any last time and any time between two instants', async (t) => {
    const { page } = await open(t, [chart('a', 'a'), number('n', 'a')]);
    const menu = page.locator('#time > summary');
    await menu.press('Enter');
    await page.getByRole('button', { name: 'Last 7 d' }).click();
    await waitForQuery(page, ({ range }) => range === '7d', 'seven days');
    assert.ok(await menu.evaluate((node) => node === document.activeElement));
    await menu.press('Enter');
    await page.getByLabel('Last', { exact: true }).and(page.locator('input')).fill('3');
    await page.locator('#time-unit').selectOption('weeks');
    await page.locator('#time-last').getByRole('button').click();
    await waitForQuery(page, ({ range }) => range === '21d', 'three weeks');
    await menu.press('Enter');
    const time = page.locator('#time-between');
    await time.getByLabel('From').fill('2026-01-05T10:00');
    await time.getByLabel('To', { exact: true }).fill('2026-01-05T09:00');
    await page.getByRole('button', { name: 'Show this time' }).click();
    assert.equal(query(page).range, '21d', 'an end before the beginning is refused');
    await time.getByLabel('To', { exact: true }).fill('2026-01-05T12:30');
    await page.getByRole('button', { name: 'Show this time' }).click();
    await waitForQuery(page, (range) => lengthOf(range) === 9_000, 'two and a half hours');
    assert.match(await page.locator('#time-label').textContent(), /Jan/);
    await tile(page, 'A').getByText('No data in this time range.').waitFor();
    await waitForNumber(page, 'N', /^1$/); // numbers show the newest value
    assert.equal(await page.evaluate(() => localStorage.getItem('tricast.range')), '21d');
    assert.deepEqual(page.problems, []);
  });

  test('the copied link opens the same dashboard at the same time, also while paused', async (t) => {
    const { server, page } = await open(t, [chart('a', 'a')], { search: '?transport=sse', permissions: ['clipboard-read', 'clipboard-write'] });
    const copy = async () => {
      await button(page, 'Copy link').click();
      await page.locator('.toast', { hasText: 'Link copied.' }).waitFor();
      return new URL(await page.evaluate(() => navigator.clipboard.readText()));
    };
    assert.deepEqual(Object.fromEntries((await copy()).searchParams), { range: '5m', board: 'default' });
    await button(page, 'Pause').click();
    const link = await copy();
    const range = Object.fromEntries(link.searchParams);
    assert.equal(range.board, 'default');
    assert.equal(lengthOf(range), 300);

    const other = await openPage(t);
    await other.goto(link.href);
    await waitForBadge(other, 'live');
    await button(other, 'Resume').waitFor();
    const plot = tile(other, 'A').getByRole('application');
    const newest = async () => {
      await plot.blur();
      await plot.focus();
      return other.locator(`#${await plot.getAttribute('aria-details')} td`).first().textContent({ timeout: 1_000 }).catch(() => '');
    };
    await until(async () => (await newest()) === '1', 'the value of then');
    await server.push({ channel: 'metrics.shop', data: { a: 9 } });
    await tile(other, 'A').locator('.legend-value', { hasText: /^9$/ }).waitFor();
    assert.equal(await newest(), '1');
    await button(other, 'Resume').click();
    await until(async () => (await newest()) === '9', 'the live value');
    assert.deepEqual(other.problems, []);
  });

  test('a comparison with yesterday is a line of its own, and is in the address', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles: [chart('a', 'a')] });
    const page = await openPage(t);
    await page.route('**/api/history?*', async (route) => {
      const url = new URL(route.request().url());
      const [from, to] = ['from', 'to'].map((name) => Date.parse(url.searchParams.get(name)));
      const isYesterday = to < Date.now() - DAY / 2 && url.searchParams.get('channel') === 'metrics.shop';
      if (!isYesterday) return route.continue();
      const buckets = Array.from({ length: 60 }, (_, i) => ({ period: new Date(from + ((i + 0.5) / 60) * (to - from)).toISOString(), count: 1, total: 777, average: 777, min: 777, max: 777, last: 777 }));
      await route.fulfill({ json: { channel: 'metrics.shop', field: 'a', interval: 'raw', buckets } });
    });
    await page.goto(server.url);
    await page.locator('.u-over').waitFor();
    await page.locator('#time > summary').click();
    await page.getByLabel('Compare with').selectOption('1d');
    await waitForQuery(page, ({ compare }) => compare === '1d', 'the comparison in the address');
    await page.keyboard.press('Escape');
    const plot = tile(page, 'A').getByRole('application');
    await until(async () => {
      await plot.focus();
      await page.keyboard.press('End');
      return (await page.locator('.tip .tip-row').allTextContents()).join() === 'Yesterday777,A1';
    }, 'both values in the tooltip', () => '');
    await page.reload();
    await page.locator('.u-over').waitFor();
    assert.equal(await page.getByLabel('Compare with').inputValue(), '1d');
    assert.deepEqual(page.problems, []);
  });

  test('the legend has the statistics of each line, and a click shows one line alone', async (t) => {
    const { page } = await open(t, [chart('both', undefined, { fields: ['a', 'b'], width: 12 })]);
    const legend = tile(page, 'BOTH').locator('.legend');
    const rowOf = (name) => legend.locator('.legend-item', { has: page.getByRole('button', { name, exact: true }) });
    await until(async () => (await rowOf('B').locator('td').allTextContents()).join() === '2,2,2,2', 'last, lowest, average and highest');
    assert.deepEqual(await legend.locator('thead th').allTextContents(), ['Line', 'Last', 'Min', 'Avg', 'Max']);
    const colors = async () => new Set((await pixelsOf(page, 'BOTH')).filter(([r, g, b, a]) => a === 255 && Math.max(r, g, b) - Math.min(r, g, b) > 90).map(String)).size;
    assert.equal(await colors(), 2);
    const b = legend.getByRole('button', { name: 'B', exact: true });
    await b.click();
    await until(async () => (await colors()) === 1, 'one line');
    assert.equal(await b.getAttribute('aria-pressed'), 'true');
    await b.press('Enter');
    await until(async () => (await colors()) === 2, 'both lines');
    assert.deepEqual(page.problems, []);
  });

  test('the tooltip is at the pointer, the highest value first, in the colors of the lines', async (t) => {
    const { page } = await open(t, [chart('both', undefined, { fields: ['a', 'b'] }), chart('a', 'a')]);
    const { x, y, width, height } = await tile(page, 'BOTH').locator('.u-over').boundingBox();
    const tip = page.locator('.tip');
    await until(async () => {
      await page.mouse.move(x + width - 3, y + height / 2);
      await page.mouse.move(x + width - 2, y + height / 2);
      return tip.isVisible();
    }, 'the tooltip');
    assert.deepEqual(await tip.locator('.tip-row').allTextContents(), ['B2', 'A1']);
    const box = await tip.boundingBox();
    assert.ok(Math.abs(box.x + box.width - (x + width)) < 40 || Math.abs(box.x - (x + width)) < 40, JSON.stringify(box));
    const keys = await tip.locator('.tip-key').evaluateAll((nodes) => nodes.map((node) => getComputedStyle(node).color));
    const legend = await tile(page, 'BOTH').locator('.legend-key').evaluateAll((nodes) => nodes.map((node) => getComputedStyle(node).color));
    assert.deepEqual(keys, legend.reverse());
    await page.mouse.move(5, 5);
    await tip.waitFor({ state: 'hidden' });
    assert.deepEqual(page.problems, []);
  });

  test('a number and a chart turn amber and red beyond the limits of the tile and of alert rules', async (t) => {
    const thresholds = { warning: 50, critical: 90 };
    const { server, page } = await open(t, [number('n', 'a', { options: { thresholds } }), chart('c', 'a', { options: { thresholds } }), number('r', 'b')], { data: { a: 10, b: 10 } });
    const level = (title) => tile(page, title).locator('.card-body').getAttribute('data-level');
    await waitForNumber(page, 'N', /^10$/);
    assert.equal(await level('N'), '');
    await server.push({ channel: 'metrics.shop', data: { a: 60, b: 10 } });
    await page.locator('.card[data-tile=n] [data-level=warning]').waitFor();
    assert.equal(await tile(page, 'N').locator('.number-level').textContent(), 'above 50');
    await page.locator('.card[data-tile=c] .legend-value[data-level=warning]').waitFor();
    await server.push({ channel: 'metrics.shop', data: { a: 95, b: 10 } });
    await page.locator('.card[data-tile=n] [data-level=critical]').waitFor();
    // The rule is read when the page is opened.
    await server.send('POST', 'api/alerts/rules', { id: 'r', name: 'Low', channel: 'metrics.shop', field: 'b', condition: { below: 20 }, severity: 'critical' });
    await page.reload();
    await page.locator('.card[data-tile=r] [data-level=critical]').waitFor();
    assert.equal(await tile(page, 'R').locator('.number-level').textContent(), 'below 20');
    assert.deepEqual(page.problems, []);
  });

  test('the limit of an alert rule is a line in its chart', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 100 } });
    await server.send('POST', 'api/alerts/rules', { id: 'r', name: 'High', channel: 'metrics.shop', field: 'a', condition: { above: 215 }, severity: 'critical' });
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles: [chart('a', 'a')] });
    const page = await openPage(t);
    await page.goto(server.url);
    await page.locator('.u-over').waitFor();
    const reds = async () => (await pixelsOf(page, 'A')).filter(([r, g, b, a]) => r > 180 && g < 90 && b < 90 && a > 200).length;
    await until(async () => (await reds()) > 100, 'a red line');
    assert.deepEqual(page.problems, []);
  });

  test('events and alerts are marks in a chart that names their channels', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await server.push({ channel: 'deploys', event: 'released', data: { version: '1.2' } });
    await server.send('POST', 'api/alerts/rules', { id: 'r', name: 'High', channel: 'metrics.shop', field: 'a', condition: { above: 50 }, severity: 'critical', message: 'Too high' });
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles: [chart('a', 'a', { options: { marks: ['deploys', 'alerts'] } }), chart('b', 'a')] });
    const page = await openPage(t);
    await page.goto(server.url);
    await page.locator('.u-over').first().waitFor();
    const plot = (title) => tile(page, title).getByRole('application');
    const rows = async (title) => {
      await plot(title).focus();
      await page.keyboard.press('End');
      await page.locator('.tip').waitFor();
      return (await page.locator('.tip .tip-name').allTextContents()).join();
    };
    await server.push({ channel: 'metrics.shop', data: { a: 60 } });
    await until(async () => (await rows('A')).includes('A,Alert'), 'the alert');
    // A key that comes while the chart changes may be announced without the mark: press it again.
    const isAnnounced = async () => {
      await rows('A');
      const status = page.getByRole('status').filter({ hasText: 'Too high' });
      return status.waitFor({ state: 'attached', timeout: 3_000 }).then(() => true, () => false);
    };
    await until(isAnnounced, 'the announcement');
    assert.equal(await rows('B'), 'A', 'a chart without marks');
    await server.push({ channel: 'deploys', event: 'rolled_back', data: { version: '1.1' } });
    await until(async () => (await rows('A')).includes('Rolled back'), 'a new event');
    await plot('A').focus();
    await page.keyboard.press('Home'); // the first value is from just before the first event
    await page.locator('.tip .tip-name', { hasText: /^Released$/ }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('charts below each other have the same place for the same time, whatever their labels', async (t) => {
    const { page } = await open(
      t,
      [chart('a', 'a', { width: 6 }), chart('b', 'b', { width: 6 }), chart('c', undefined, { fields: ['a', 'free_bytes'], width: 6 })],
      { data: { a: 1, b: 123_456.789, free_bytes: 5e9 } },
    );
    let places;
    await until(async () => {
      places = await page.locator('.card').evaluateAll((cards) => cards.map((card) => {
        const [over, box] = [card.querySelector('.u-over').getBoundingClientRect(), card.getBoundingClientRect()];
        return [over.left - box.left, over.width].map(Math.round).join();
      }));
      return new Set(places).size === 1;
    }, 'equal places', () => places.join(' '));
  });

  test('a number is never cut: it shrinks until it fits', async (t) => {
    const data = { long: 98_765_432.1, price_usd: 137_667.51, deployed_at: 1_764_499_000_000, uptime_seconds: 123_456 };
    const tiles = Object.keys(data).flatMap((field) => [2, 3].flatMap((width) => [1, 2].map((height) => number(`${field}${width}${height}`, field, { width, height }))));
    for (const viewport of [{ width: 320, height: 640 }, { width: 1280, height: 800 }]) {
      const { page } = await open(t, tiles, { data, viewport });
      await page.locator('.number-value', { hasText: '$137,667.51' }).first().waitFor();
      const cut = await page.locator('.number-figure').evaluateAll((figures) => figures.flatMap((figure) => {
        const body = figure.parentElement.getBoundingClientRect();
        const range = document.createRange();
        range.selectNodeContents(figure);
        const text = range.getBoundingClientRect();
        return text.right > body.right + 1 || text.bottom > body.bottom + 1 ? [`${figure.textContent} ${text.right - body.right} ${text.bottom - body.bottom}`] : [];
      }));
      assert.deepEqual(cut, []);
    }
  });

  test('a tile without values says so, and what to do', async (t) => {
    const { page } = await open(t, [chart('a', 'x', { channel: 'metrics.nothing' }), number('b', 'x', { channel: 'metrics.nothing' })], { expected: /api\/history/ });
    await tile(page, 'A').getByText('No data received on this channel yet.').waitFor();
    await tile(page, 'A').getByText('Push a value to metrics.nothing to see it here.').waitFor();
    await tile(page, 'B').getByText('No data received on this channel yet.').waitFor();
    assert.ok(await tile(page, 'A').locator('.empty-icon').isVisible());
  });
});
