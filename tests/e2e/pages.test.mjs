// The pages in a real Chromium: the dashboard over each transport, the plain page, and the one for old browsers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { badge, reads, tile, useBrowser } from './browser.mjs';
import { TOGETHER, startServer } from './helpers.mjs';

const TRANSPORTS = { ws: 'WebSocket', sse: 'SSE', 'long-poll': 'Long poll', poll: 'Poll' };

/** A board with a number of a pushed channel. */
async function carts(server) {
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

// Three at a time: a page that has to share a small machine with a dozen others is late with everything.
describe('pages', { ...TOGETHER, concurrency: 3 }, () => {
  const openPage = useBrowser();

  for (const [name, label] of Object.entries(TRANSPORTS)) {
    test(`the dashboard over ${label} names it, shows live numbers, and follows one that is pushed`, async (t) => {
      const server = await startServer(t);
      await carts(server);
      const page = await openPage(t);
      await page.goto(`${server.url}?transport=${name}`);
      await badge(page, 'live');
      assert.equal(await page.locator('#badge-transport').textContent(), label);
      assert.equal(await page.locator('#transport-switch a[aria-current]').textContent(), label);
      await tile(page, 'CPU').locator('.legend-value', { hasText: /^\d+\.\d %$/ }).waitFor();
      await reads(page, 'Users online', /^1$/);
      await reads(page, 'Carts', /^3$/);

      await server.push({ channel: 'metrics.checkout', data: { carts: 4 } });
      await reads(page, 'Carts', /^4$/);
      await server.push({ channel: 'metrics.checkout', data: { carts: 12.5 } });
      await reads(page, 'Carts', /^12\.5$/);
      assert.equal(await page.locator('#badge').getAttribute('data-state'), 'live');
      assert.deepEqual(page.complaints, []);
    });

    test(`the dashboard over ${label} comes back by itself after the server was killed and started again`, async (t) => {
      const first = await startServer(t);
      await carts(first);
      const page = await openPage(t);
      await page.goto(`${first.url}?transport=${name}`);
      await reads(page, 'Carts', /^3$/);

      await first.kill();
      await badge(page, 'offline');
      await reads(page, 'Carts', /^3$/); // the last known value stays, and is seen to be old
      await page.locator('#main[data-fresh=false]').waitFor();

      const second = await startServer(t, { port: first.port });
      await carts(second);
      await second.push({ channel: 'metrics.checkout', data: { carts: 4 } });
      await badge(page, 'live');
      assert.equal(await page.locator('#badge-transport').textContent(), label);
      await reads(page, 'Carts', /^4$/);
      await second.push({ channel: 'metrics.checkout', data: { carts: 5 } });
      await reads(page, 'Carts', /^5$/);
      await page.locator('#main[data-fresh=true]').waitFor();
    });
  }

  test('the dashboard lists an order as it is made, once, and goes on over another transport without a reload', async (t) => {
    const server = await startServer(t);
    await carts(server);
    const page = await openPage(t);
    await page.goto(`${server.url}?transport=ws`);
    await badge(page, 'live');
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
    assert.deepEqual(page.complaints, []);
  });

  test('the plain page shows the same number without scripts, and a newer one by itself', async (t) => {
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
    assert.deepEqual(page.complaints, []);
  });

  test('without scripts the dashboard points to the plain page', async (t) => {
    const server = await startServer(t);
    const page = await openPage(t, { javaScriptEnabled: false });
    await page.goto(server.url);
    await page.locator('noscript a').click();
    await page.waitForURL(`${server.url}basic`);
    assert.deepEqual(page.complaints, []);
  });

  test('a browser without modules gets the numbers by XMLHttpRequest, an unchanged snapshot as a 304', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.checkout', data: { latency_p95: 180 } });
    const page = await openPage(t);
    // What such a browser makes of the page: no module runs, and what is for browsers without them does.
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
    assert.deepEqual(page.complaints, []);
  });

  for (const path of ['', 'basic']) {
    test(`/${path} has no sideways scroll on a screen of 360 pixels`, async (t) => {
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
      assert.ok(width <= visible, `${width} pixels on ${visible}`);
      assert.deepEqual(page.complaints, []);
    });
  }
});
