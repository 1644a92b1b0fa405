// The API reference in Chromium.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { TIMEOUT_MS, TOGETHER, onTestEnd, startServer } from './helpers.mjs';

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--no-first-run'];

const TOKENS = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: 'a secret of at least thirty-two bytes' };

describe('docs', { ...TOGETHER, concurrency: 3 }, () => {
  let browser;
  before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? PATHS.find(existsSync), args: FLAGS });
  });
  after(() => browser?.close());

  /** Opens the page of a server of its own. `problems` collects console errors, exceptions and failed requests. */
  async function openDocs(t, { env, hash = '', ...options } = {}) {
    const server = await startServer(t, { env });
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    onTestEnd(t, () => context.close());
    context.setDefaultTimeout(TIMEOUT_MS);
    const page = await context.newPage();
    const problems = [];
    // A violation of the content security policy is an error on the console.
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('response', (response) => {
      if (response.status() >= 400) problems.push(`${response.status()} ${response.url()}`);
      if (!response.url().startsWith(server.url)) problems.push(`request to another origin: ${response.url()}`);
    });
    await page.goto(`${server.url}docs${hash}`);
    if (options.javaScriptEnabled !== false) await page.locator('#operations details').first().waitFor();
    return { server, page, context, problems };
  }

  test('the page shows every operation and schema of the document, and needs no token', async (t) => {
    const { server, page, problems } = await openDocs(t, { env: TOKENS });
    const described = await (await fetch(`${server.url}api/openapi.json`)).json();
    const ids = Object.values(described.paths)
      .flatMap((item) => Object.entries(item).filter(([method]) => method !== 'head'))
      .map(([, operation]) => operation.operationId);
    const shown = await page.locator('#operations details').evaluateAll((all) => all.map((part) => part.id));
    assert.deepEqual(shown.sort(), ids.sort());
    const shapes = await page.locator('#shapes details').evaluateAll((all) => all.map((part) => part.id));
    assert.deepEqual(shapes.sort(), Object.keys(described.components.schemas).map((name) => `shape-${name}`).sort());
    await page.locator('#getMe summary').click();
    await page.locator('#getMe').getByText('Requires a token.').waitFor();
    assert.deepEqual(problems, []);
  });

  test('each curl command is valid for the shell and the server', async (t) => {
    const { page } = await openDocs(t);
    const lines = await page
      .locator('#operations pre[aria-label^="curl for"]')
      .evaluateAll((all) => all.map((pre) => [pre.closest('details').id, pre.textContent]));
    assert.ok(lines.length > 30, String(lines.length));
    for (const [id, line] of lines) {
      if (line.includes('--no-buffer') || id.startsWith('openWebSocket')) continue;
      // Packets need the session of a handshake.
      if (id.startsWith('postSocketIo')) continue;
      const { stdout } = await promisify(execFile)('sh', ['-c', `${line} -s -o /dev/null -w '%{http_code}'`]);
      // The resource of an example may not exist.
      assert.match(stdout, /^(2..|404)$/, `${id}: ${line}`);
    }
  });

  test('the filter shows only matching operations and schemas', async (t) => {
    const { page, problems } = await openDocs(t);
    await page.getByLabel('Filter').fill('post metrics');
    await page.locator('#count', { hasText: /^2 operations$/ }).waitFor();
    assert.deepEqual(await page.locator('#operations details:visible').evaluateAll((all) => all.map(({ id }) => id)), ['push', 'pushUpdate']);
    await page.getByLabel('Filter').fill('order');
    await page.locator('#count', { hasText: /^\d+ operations, \d+ schemas$/ }).waitFor();
    const named = await page.locator('#shapes details:visible').evaluateAll((all) => all.map(({ id }) => id));
    assert.ok(named.length > 0 && named.every((id) => /order/i.test(id)), `${named}`);
    await page.getByLabel('Filter').fill('no such thing');
    await page.locator('#count', { hasText: /^0 operations$/ }).waitFor();
    assert.deepEqual(problems, []);
  });

  test('formats are described in words, examples match real responses, and copy buttons cover no text', async (t) => {
    const { page, problems } = await openDocs(t, { hash: '#getHistory' });
    const from = page.locator('#getHistory .field', { has: page.getByText('from', { exact: true }) });
    await from.getByText('RFC 3339').waitFor();
    assert.doesNotMatch(await from.textContent(), /matches/);
    await page.locator('#push > summary').click();
    const response = page.locator('#push pre[aria-label="Response 202 as application/json"]');
    assert.equal(JSON.parse(await response.textContent()).accepted, 1);
    const mixed = JSON.parse(await page.locator('#push pre[aria-label="Response 207 as application/json"]').textContent());
    assert.ok(mixed.results.every(({ status, code }) => (code === undefined) === (status < 300)), JSON.stringify(mixed));
    const apart = await page.locator('#push .block').evaluateAll((all) =>
      all.every((block) => block.querySelector('pre').getBoundingClientRect().right <= block.querySelector('button').getBoundingClientRect().left),
    );
    assert.ok(apart);
    assert.deepEqual(problems, []);
  });

  test('a URL with a fragment opens its operation, and a link to a schema opens the schema', async (t) => {
    const { page, problems } = await openDocs(t, { hash: '#createOrder' });
    assert.equal(await page.locator('#createOrder').getAttribute('open'), '');
    assert.equal(await page.evaluate(() => document.activeElement?.closest('details')?.id), 'createOrder');
    await page.locator('#createOrder').getByRole('link', { name: 'NewOrder' }).first().click();
    await page.locator('#shape-NewOrder[open]').getByText('customerName').waitFor();
    assert.deepEqual(problems, []);
  });

  test('the page can be used by keyboard, and a copied command is announced', async (t) => {
    const { page, context, problems } = await openDocs(t);
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to the operations');
    await page.locator('#getHealth summary').focus();
    await page.keyboard.press('Enter');
    const copy = page.locator('#getHealth').getByRole('button', { name: /^Copy: curl/ });
    await copy.focus();
    await page.keyboard.press('Enter');
    await page.locator('#announcer', { hasText: 'Copied' }).waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^curl http:.*\/healthz$/);
    assert.deepEqual(problems, []);
  });

  test('the page has no horizontal scrolling at a width of 360 pixels with all parts opened', async (t) => {
    const { page, problems } = await openDocs(t, { viewport: { width: 360, height: 740 } });
    const [width, visible] = await page.evaluate(() => {
      for (const part of document.querySelectorAll('details')) part.open = true;
      const { scrollWidth, clientWidth } = document.documentElement;
      return [scrollWidth, clientWidth];
    });
    assert.ok(width <= visible, `content of ${width} pixels in ${visible}`);
    assert.deepEqual(problems, []);
  });

  test('without scripts the page links to the OpenAPI document', async (t) => {
    const { page } = await openDocs(t, { javaScriptEnabled: false });
    assert.equal(await page.locator('noscript a').getAttribute('href'), 'api/openapi.json');
    assert.ok(await page.locator('noscript').isVisible());
  });

  test('the page shows an error if the document is not available', async (t) => {
    const { page } = await openDocs(t);
    await page.route('**/api/openapi.json', (route) => route.fulfill({ status: 503, body: '' }));
    await page.reload();
    await page.getByRole('alert').filter({ hasText: 'the server responded with status 503' }).waitFor();
  });
});
