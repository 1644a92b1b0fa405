// The pages in a real Chromium.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { chromium } from 'playwright-core';
import { PATIENCE_MS, TOGETHER, atEnd, startServer } from './helpers.mjs';

const TRANSPORTS = { ws: 'WebSocket', sse: 'SSE', 'long-poll': 'Long poll', poll: 'Poll' };

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

// Debian's Chromium as root in a container, and no talk to hosts of its own.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

// Three at a time: a page that has to share a small machine with a dozen others is late with everything.
describe('pages', { ...TOGETHER, concurrency: 3 }, () => {
  let browser;
  before(async () => {
    const executablePath = process.env.CHROMIUM ?? PATHS.find(existsSync);
    browser = await chromium.launch({ executablePath, args: FLAGS });
  });
  after(() => browser?.close());

  /** A page in a context of its own; `complaints` fills with whatever goes wrong in it. */
  async function openPage(t, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    atEnd(t, () => context.close());
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    page.complaints = [];
    // A violation of the content security policy is an error on the console.
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) page.complaints.push(message.text());
    });
    page.on('pageerror', (error) => page.complaints.push(String(error)));
    page.on('response', (response) => {
      if (response.status() >= 400) page.complaints.push(`${response.status()} ${response.url()}`);
    });
    page.on('requestfailed', (request) => {
      const reason = request.failure()?.errorText;
      // Without scripts Chromium itself refuses to preload them.
      const unwanted = options.javaScriptEnabled === false && request.url().endsWith('.js');
      if (reason !== 'net::ERR_ABORTED' && !unwanted) page.complaints.push(`${reason} ${request.url()}`);
    });
    return page;
  }

  const badge = (page, state) => page.locator(`#badge[data-state=${state}]`).waitFor();

  /** Waits until the tile called `label` in the panel called `panel` reads `value`. */
  const tile = (page, panel, label, value) =>
    page
      .locator('.panel', { has: page.getByRole('heading', { name: panel, exact: true }) })
      .locator('.tile', { has: page.getByText(label, { exact: true }) })
      .locator('.tile-value', { hasText: value })
      .waitFor();

  for (const [name, label] of Object.entries(TRANSPORTS)) {
    test(`the dashboard over ${label} names it, shows live numbers, and follows one that is pushed`, async (t) => {
      const server = await startServer(t);
      const page = await openPage(t);
      await page.goto(`${server.url}?transport=${name}`);
      await badge(page, 'live');
      assert.equal(await page.locator('#badge-transport').textContent(), label);
      assert.equal(await page.locator('#chooser a[aria-current]').textContent(), label);
      await tile(page, 'Infrastructure', 'CPU', /^\d+\.\d$/);
      await tile(page, 'Users online', 'Now', /^1$/);

      await server.push({ channel: 'metrics.checkout', data: { latency_p95: 180, carts: 3 } });
      await tile(page, 'Checkout', 'Latency p95', /^180$/);
      await server.push({ channel: 'metrics.checkout', data: { latency_p95: 240, carts: 3 } });
      await tile(page, 'Checkout', 'Latency p95', /^240$/);
      await tile(page, 'Checkout', 'Carts', /^3$/);

      await server.push({ channel: 'metrics.checkout', data: { latency_p95: 12.5 } });
      await tile(page, 'Checkout', 'Latency p95', /^12\.5$/);
      assert.equal(await page.locator('#badge').getAttribute('data-state'), 'live');
      assert.deepEqual(page.complaints, []);
    });

    test(`the dashboard over ${label} comes back by itself after the server was killed and started again`, async (t) => {
      const first = await startServer(t);
      const page = await openPage(t);
      await page.goto(`${first.url}?transport=${name}`);
      await first.push({ channel: 'metrics.checkout', data: { carts: 3 } });
      await tile(page, 'Checkout', 'Carts', /^3$/);

      await first.kill();
      await badge(page, 'offline');
      await tile(page, 'Checkout', 'Carts', /^3$/); // the last known value stays

      const second = await startServer(t, { port: first.port });
      await second.push({ channel: 'metrics.checkout', data: { carts: 4 } });
      await badge(page, 'live');
      assert.equal(await page.locator('#badge-transport').textContent(), label);
      await tile(page, 'Checkout', 'Carts', /^4$/);
      await second.push({ channel: 'metrics.checkout', data: { carts: 5 } });
      await tile(page, 'Checkout', 'Carts', /^5$/);
    });
  }

  test('the dashboard lists an order as it is made, once, and goes on over another transport without a reload', async (t) => {
    const server = await startServer(t);
    const page = await openPage(t);
    await page.goto(`${server.url}?transport=ws`);
    await badge(page, 'live');
    await server.order('Ada');
    await page.locator('#events li', { hasText: 'Ada' }).waitFor();
    for (const label of ['SSE', 'Long poll', 'Poll', 'WebSocket']) {
      await page.getByRole('link', { name: label, exact: true }).click();
      await page.locator('#badge[data-state=live] #badge-transport', { hasText: label }).waitFor();
      await server.order(`after ${label}`);
      await page.locator('#events li', { hasText: `after ${label}` }).waitFor();
    }
    await tile(page, 'Orders', 'Today', /^5$/);
    assert.equal(await page.locator('#events li').count(), 5);
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

  for (const path of ['', 'basic']) {
    test(`/${path} has no sideways scroll on a screen of 360 pixels`, async (t) => {
      const server = await startServer(t);
      await server.push([
        { channel: `metrics.${'an_unusually_long_name_'.repeat(4)}`, data: { [`field_${'x'.repeat(80)}`]: 123456789.125 } },
        { channel: 'metrics.text', data: { words: 'word'.repeat(60) } },
      ]);
      const page = await openPage(t, { viewport: { width: 360, height: 740 } });
      await page.goto(`${server.url}${path}`);
      await page.getByText('an unusually long name').first().waitFor();
      const [width, visible] = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return [scrollWidth, clientWidth];
      });
      assert.ok(width <= visible, `${width} pixels on ${visible}`);
      assert.deepEqual(page.complaints, []);
    });
  }
});
