// The page /explore and the first steps of a new server in Chromium.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { tile, useBrowser, waitForBadge } from './browser.mjs';
import { TOGETHER, runTricast, startServer, until } from './helpers.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const button = (page, name) => page.getByRole('button', { name, exact: true });
/** Returns the row of a field of a channel. */
const row = (page, channel, field) =>
  page.locator('.explore-row').filter({ has: page.locator('.explore-name', { hasText: new RegExp(`^${channel}$`) }) }).filter({ has: page.locator('.explore-field', { hasText: new RegExp(`^${field}$`) }) });

async function assertAccessible(page, state) {
  await page.evaluate(`${AXE};0`); // through the debugger, which the content security policy does not restrict
  const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules }), RULES);
  assert.deepEqual(violations.map(({ id, nodes }) => `${state}: ${id} ${nodes.map(({ target }) => target).join(' ')}`), []);
}

describe('explore', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const openPage = useBrowser();

  async function open(t, server, path = 'explore', options = {}) {
    const page = await openPage(t, options);
    await page.goto(server.url + path);
    await waitForBadge(page, 'live');
    return page;
  }

  test('a pushed number appears without a reload, with its value, its type and its line', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server);
    await row(page, 'metrics.infrastructure', 'CPU').waitFor();
    await page.route('**/api/channels', () => {}); // no further list: the number comes with the subscription
    await server.push({ channel: 'metrics.kitchen', data: { temp_c: 21.5, open: true, mode: 'eco' } });
    await row(page, 'metrics.kitchen', 'Temp c').locator('.explore-figure', { hasText: '21.5 °C' }).waitFor();
    await row(page, 'metrics.kitchen', 'Mode').locator('.explore-figure', { hasText: 'eco' }).waitFor();
    await row(page, 'metrics.kitchen', 'Temp c').locator('.explore-type', { hasText: 'State · Pushed' }).waitFor();
    await row(page, 'metrics.infrastructure', 'CPU').locator('.explore-type', { hasText: 'State · Server' }).waitFor();
    await server.push({ channel: 'metrics.kitchen', data: { temp_c: 22, open: true, mode: 'eco' } });
    await row(page, 'metrics.kitchen', 'Temp c').locator('.explore-figure', { hasText: '22 °C' }).waitFor();
    const drawn = await row(page, 'metrics.kitchen', 'Temp c').locator('canvas').evaluate((canvas) =>
      canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0));
    assert.ok(drawn);
    assert.deepEqual(page.problems, []);
  });

  test('events and states outside of the metrics are followed while they are visible, and a deleted channel disappears', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server);
    await server.push([{ channel: 'deploys', event: 'released', data: { version: '1.2' } }, { channel: 'entity.shop.42', data: { stock: 7 } }]);
    await row(page, 'entity.shop.42', 'Stock').locator('.explore-figure', { hasText: /^7$/ }).waitFor();
    await server.push([{ channel: 'deploys', event: 'released', data: { version: '1.3' } }, { channel: 'entity.shop.42', data: { stock: 6 } }]);
    await page.locator('.explore-row[data-kind=event]', { hasText: 'deploys' }).locator('.explore-value', { hasText: 'version 1.3' }).waitFor();
    await row(page, 'entity.shop.42', 'Stock').locator('.explore-figure', { hasText: /^6$/ }).waitFor();
    await server.send('DELETE', 'api/metrics/entity.shop.42');
    await row(page, 'entity.shop.42', 'Stock').waitFor({ state: 'detached' });
    assert.deepEqual(page.problems, []);
  });

  test('a channel of events shows the newest one of before', async (t) => {
    const server = await startServer(t);
    await server.push(['1.2', '1.3'].map((version) => ({ channel: 'deploys', event: 'released', data: { version } })));
    const page = await open(t, server);
    await page.locator('.explore-row[data-kind=event]', { hasText: 'deploys' }).locator('.explore-value', { hasText: 'version 1.3' }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('a search is in the URL, and finds channels by the names of their fields', async (t) => {
    const server = await startServer(t);
    await server.push([{ channel: 'metrics.checkout', data: { latency_ms: 180, carts: 3 } }, { channel: 'metrics.search', data: { queries: 5 } }]);
    const page = await open(t, server);
    await row(page, 'metrics.search', 'Queries').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('carts');
    await row(page, 'metrics.search', 'Queries').waitFor({ state: 'detached' });
    assert.deepEqual(await page.locator('.explore-field').allTextContents(), ['Carts']);
    assert.match(page.url(), /[?&]q=carts/);
    await page.reload();
    await row(page, 'metrics.checkout', 'Carts').waitFor();
    assert.equal(await row(page, 'metrics.search', 'Queries').count(), 0);
    await page.getByLabel('Search').fill('nothing like it');
    await page.locator('#nothing', { hasText: 'No channel or field matches' }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('a number is pinned to a dashboard by keyboard', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.checkout', data: { carts: 3 } });
    const page = await open(t, server);
    const pin = button(page, 'Pin metrics.checkout Carts to a dashboard');
    await pin.focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Dashboard').locator('option', { hasText: 'Overview' }).waitFor({ state: 'attached' });
    await dialog.getByLabel('Show as').selectOption('number');
    await dialog.getByLabel('Title').fill('Open carts');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Open', exact: true }).click();
    await tile(page, 'Open carts').locator('.number-value', { hasText: /^3$/ }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('a new server shows how to send the first number, and the line works as it was copied', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server, '');
    const command = tile(page, 'Your metrics').locator('code');
    const text = await command.textContent();
    assert.ok(text.startsWith('curl ') && text.includes(server.url), text);
    assert.equal(await tile(page, 'Newest orders').isVisible(), false, 'a shop is shown with its first order');
    await promisify(execFile)('sh', ['-c', text]);
    await tile(page, 'Your metrics').locator('.explore-figure', { hasText: /^42$/ }).waitFor();
    assert.equal(await command.isVisible(), false);
    await server.order('Ada');
    await tile(page, 'Newest orders').getByText('Ada').waitFor();
    await tile(page, 'Orders today').locator('.number-value', { hasText: /^1$/ }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('the first number can be sent from the page, also with a token', async (t) => {
    const env = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: 'a secret of at least thirty-two bytes' };
    const server = await startServer(t, { env });
    const page = await openPage(t, { expected: /api\// });
    await page.goto(`${server.url}explore`);
    await page.getByLabel('Token').fill(await runTricast(['token', '--user', 'ada', '--permissions', 'read:metrics,write:metrics'], env));
    await button(page, 'Sign in').click();
    await waitForBadge(page, 'live');
    assert.match(await page.locator('.first-command').textContent(), /-H "Authorization: Bearer \$TRICAST_TOKEN"/);
    await button(page, 'Send it from this page').click();
    await row(page, 'metrics.hello', 'Visitors').locator('.explore-figure', { hasText: /^42$/ }).waitFor();
    assert.equal(await page.getByRole('button', { name: /^Pin/ }).count(), 0, 'without write:dashboards nothing can be pinned');
  });

  test('a thousand channels are few elements, and the last one is found by scrolling', async (t) => {
    const server = await startServer(t);
    const lines = Array.from({ length: 1_000 }, (_, i) => ({ channel: `metrics.sensor.${String(i).padStart(4, '0')}`, data: { temp: i, load: i / 10 } }));
    await server.push(lines);
    const page = await open(t, server);
    await row(page, 'metrics.sensor.0000', 'Temp').waitFor();
    await page.locator('#count', { hasText: /^1,?0\d\d channels$/ }).waitFor();
    assert.ok((await page.locator('.explore-row').count()) < 80);
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await page.locator('.explore-name', { hasText: /^system$|^metrics$/ }).first().waitFor();
    assert.ok((await page.locator('.explore-row').count()) < 80);
    await page.getByLabel('Search').fill('sensor.0999 temp');
    await row(page, 'metrics.sensor.0999', 'Temp').locator('.explore-figure', { hasText: '999' }).waitFor();
    await server.push({ channel: 'metrics.sensor.0999', data: { temp: 12, load: 1 } });
    await row(page, 'metrics.sensor.0999', 'Temp').locator('.explore-figure', { hasText: /^12$/ }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  for (const [name, options] of Object.entries({
    light: {},
    dark: { colorScheme: 'dark' },
    'on a phone': { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true },
  })) {
    test(`axe finds no violation in the list, the details and the pin dialog, ${name}`, async (t) => {
      const server = await startServer(t);
      await server.push([{ channel: 'metrics.checkout', data: { carts: 3, status: 'up', '': 1 } }, { channel: 'deploys', event: 'released', data: { version: '1.2' } }]);
      const page = await open(t, server, 'explore', options);
      await row(page, 'metrics.checkout', 'Carts').waitFor();
      await page.locator('.explore-row[data-new=true]').waitFor({ state: 'detached' }).catch(() => {});
      await assertAccessible(page, 'list');
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0);
      await page.locator('.explore-name', { hasText: /^metrics.checkout$/ }).first().click();
      await page.getByRole('dialog').getByText('"carts": 3').waitFor();
      await assertAccessible(page, 'details');
      await button(page, 'Close').click();
      await button(page, 'Pin metrics.checkout Carts to a dashboard').click();
      await page.getByRole('dialog').getByLabel('Dashboard').locator('option').first().waitFor({ state: 'attached' });
      await assertAccessible(page, 'pin');
      assert.deepEqual(page.problems, []);
    });
  }
});
