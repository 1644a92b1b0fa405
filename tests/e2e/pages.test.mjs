// The pages in Chromium: the dashboard over each transport, the plain page, and the fallback for old browsers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tile, useBrowser, waitForBadge, waitForNumber } from './browser.mjs';
import { TOGETHER, startServer } from './helpers.mjs';

const TRANSPORTS = { ws: 'WebSocket', sse: 'SSE', 'long-poll': 'Long poll', poll: 'Poll' };

/** Pushes a value and stores a dashboard that shows it. */
async function createCartsDashboard(server) {
  await server.push({ channel: 'metrics.checkout', data: { carts: 3 } });
  await server.send('PUT', 'api/dashboards/default', {
    name: 'Overview',
    tiles: [
      { id: 'carts', type: 'number', title: 'Carts', channel: 'metrics.checkout', field: 'carts' },
      { id: 'users', type: 'number', title: 'Users online', channel: 'metrics.users_online', field: 'currentUsers' },
      { id: 'cpu', type: 'chart', title: 'CPU', channel: 'metrics.infrastructure', field: 'cpu_usage' },
      { id: 'orders', type: 'table', title: 'Orders', channel: 'orders' },
    ],
  });
}

// Three at a time, because more pages are too slow on a small machine.
describe('pages', { ...TOGETHER, concurrency: 3 }, () => {
  const openPage = useBrowser();

  for (const [name, label] of Object.entries(TRANSPORTS)) {
    test(`the dashboard shows ${label} as its transport, live numbers and pushed changes`, async (t) => {
      const server = await startServer(t);
      await createCartsDashboard(server);
      const page = await openPage(t);
      await page.goto(`${server.url}?transport=${name}`);
      await waitForBadge(page, 'live');
      assert.equal(await page.locator('#badge-transport').textContent(), label);
      assert.equal(await page.locator('#transport-switch a[aria-current]').textContent(), label);
      await tile(page, 'CPU').locator('.legend-value', { hasText: /^\d+\.\d %$/ }).waitFor();
      await waitForNumber(page, 'Users online', /^1$/);
      await waitForNumber(page, 'Carts', /^3$/);

      await server.push({ channel: 'metrics.checkout', data: { carts: 4 } });
      await waitForNumber(page, 'Carts', /^4$/);
      await server.push({ channel: 'metrics.checkout', data: { carts: 12.5 } });
      await waitForNumber(page, 'Carts', /^12\.5$/);
      assert.equal(await page.locator('#badge').getAttribute('data-state'), 'live');
      assert.deepEqual(page.problems, []);
    });

    test(`the dashboard over ${label} recovers after a crash and restart of the server`, async (t) => {
      const first = await startServer(t);
      await createCartsDashboard(first);
      const page = await openPage(t);
      await page.goto(`${first.url}?transport=${name}`);
      await waitForNumber(page, 'Carts', /^3$/);

      await first.kill();
      await waitForBadge(page, 'offline');
      await waitForNumber(page, 'Carts', /^3$/); // the last value stays, marked as old
      await page.locator('#main[data-fresh=false]').waitFor();

      const second = await startServer(t, { port: first.port });
      await createCartsDashboard(second);
      await second.push({ channel: 'metrics.checkout', data: { carts: 4 } });
      await waitForBadge(page, 'live');
      assert.equal(await page.locator('#badge-transport').textContent(), label);
      await waitForNumber(page, 'Carts', /^4$/);
      await second.push({ channel: 'metrics.checkout', data: { carts: 5 } });
      await waitForNumber(page, 'Carts', /^5$/);
      await page.locator('#main[data-fresh=true]').waitFor();
    });
  }

  test('the dashboard lists each new order once, also while the transport is switched', async (t) => {
    const server = await startServer(t);
    await createCartsDashboard(server);
    const page = await openPage(t);
    await page.goto(`${server.url}?transport=ws`);
    await waitForBadge(page, 'live');
    const rows = tile(page, 'Orders').locator('tbody tr');
    await server.order('Ada');
    await rows.filter({ hasText: 'Ada' }).waitFor();
    await page.locator('#badge > summary').click();
    for (const label of ['SSE', 'Long poll', 'Poll', 'WebSocket']) {
      await page.getByRole('link', { name: label, exact: true }).click();
      await page.locator('#badge[data-state=live] #badge-transport', { hasText: label }).waitFor();
      await server.order(`after ${label}`);
      await rows.filter({ hasText: `after ${label}` }).waitFor();
    }
    assert.equal(await rows.count(), 5);
    assert.deepEqual(page.problems, []);
  });

  test('the plain page shows numbers without scripts and updates itself', async (t) => {
    const server = await startServer(t);
    const page = await openPage(t, { javaScriptEnabled: false });
    await server.push({ channel: 'metrics.checkout', data: { latency_p95: 180 } });
    await page.goto(`${server.url}basic`);
    const value = page
      .locator('section', { has: page.getByRole('heading', { name: 'checkout' }) })
      .locator('tr', { has: page.getByRole('rowheader', { name: 'latency p95' }) })
      .locator('td');
    assert.equal(await value.textContent(), '180');
    await server.push({ channel: 'metrics.checkout', data: { latency_p95: 240 } });
    await value.filter({ hasText: /^240$/ }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('without scripts the dashboard links to the plain page', async (t) => {
    const server = await startServer(t);
    const page = await openPage(t, { javaScriptEnabled: false });
    await page.goto(server.url);
    await page.locator('noscript a').click();
    await page.waitForURL(`${server.url}basic`);
    assert.deepEqual(page.problems, []);
  });

  test('a browser without modules polls numbers with XMLHttpRequest and an ETag', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.checkout', data: { latency_p95: 180 } });
    const page = await openPage(t);
    // Simulates such a browser: module scripts are removed, and `nomodule` scripts run.
    await page.route(server.url, async (route) => {
      const response = await route.fetch();
      const body = (await response.text()).replace(/<script type="module".*?<\/script>/, '').replace('<script nomodule', '<script');
      await route.fulfill({ response, body });
    });
    await page.clock.install();
    await page.goto(server.url);
    const value = page.locator('#legacy section', { has: page.getByRole('heading', { name: 'checkout' }) }).locator('td');
    await value.filter({ hasText: /^180$/ }).waitFor();
    const tags = [];
    page.on('request', (request) => request.url().endsWith('api/metrics') && tags.push(request.headers()['if-none-match']));
    await server.push({ channel: 'metrics.checkout', data: { latency_p95: 240 } });
    await page.clock.fastForward(5_000);
    await value.filter({ hasText: /^240$/ }).waitFor();
    assert.match(tags[0] ?? '', /^W\//);
    assert.deepEqual(page.problems, []);
  });

  for (const path of ['', 'basic']) {
    test(`/${path} has no horizontal scrolling at a width of 360 pixels`, async (t) => {
      const server = await startServer(t);
      const channel = `metrics.${'an_unusually_long_name_'.repeat(4)}`;
      const field = `field_${'x'.repeat(80)}`;
      await server.push([
        { channel, data: { [field]: 123456789.125 } },
        { channel: 'metrics.text', data: { words: 'word'.repeat(60) } },
      ]);
      await server.send('POST', 'api/dashboards/default/tiles', { type: 'number', title: 'An unusually long name'.repeat(8), channel, field });
      await server.send('POST', 'api/dashboards/default/tiles', { type: 'table', title: 'Text', channel: 'metrics.text' });
      await server.send('POST', 'api/dashboards/default/tiles', { type: 'table', title: 'Long', channel });
      const page = await openPage(t, { viewport: { width: 360, height: 740 } });
      await page.goto(`${server.url}${path}`);
      await page.getByText(/an unusually long name/i).first().waitFor();
      const [width, visible] = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return [scrollWidth, clientWidth];
      });
      assert.ok(width <= visible, `content of ${width} pixels in ${visible}`);
      assert.deepEqual(page.problems, []);
    });
  }
});
