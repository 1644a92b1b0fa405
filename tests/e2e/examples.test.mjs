// The examples, built as their pages say and used in a real Chromium from an origin of their own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { useBrowser } from './browser.mjs';
import { TOGETHER, onTestEnd, startServer, temporaryDirectory, until } from './helpers.mjs';

const SOURCE = fileURLToPath(new URL('../../examples/react-dashboard', import.meta.url));
const MODULES = fileURLToPath(new URL('node_modules', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

const json = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Builds the example in `folder` with the packages of these tests. */
async function build(folder) {
  const isSource = (path) => !path.startsWith(join(SOURCE, 'node_modules')) && !path.startsWith(join(SOURCE, 'www/build'));
  cpSync(SOURCE, folder, { recursive: true, filter: isSource });
  symlinkSync(MODULES, join(folder, 'node_modules'));
  await promisify(execFile)('npm', ['run', 'build'], { cwd: folder });
}

/** Serves a folder; returns the origin. */
async function serve(t, folder) {
  const listener = createServer((request, response) => {
    const name = new URL(request.url, 'http://page').pathname.replace(/\/$/, '/index.html');
    response.setHeader('Content-Type', TYPES[extname(name)]);
    response.end(readFileSync(join(folder, name)));
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestEnd(t, () => (listener.close(), listener.closeAllConnections()));
  return `http://127.0.0.1:${listener.address().port}`;
}

describe('the React dashboard', { ...TOGETHER, timeout: 120_000 }, () => {
  const openPage = useBrowser();
  const folder = mkdtempSync(join(tmpdir(), 'tricast-e2e-'));
  before(() => build(folder));
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** A server that keeps orders over a restart, and the page in front of it. */
  async function open(t) {
    const origin = await serve(t, join(folder, 'www'));
    const options = { flags: ['--data-dir', temporaryDirectory(t)], env: { TRICAST_ALLOWED_ORIGINS: origin } };
    const server = await startServer(t, options);
    const page = await openPage(t);
    await page.goto(`${origin}/?server=${server.url}`);
    return { page, server, restart: () => startServer(t, { ...options, port: server.port }) };
  }

  const card = (page, title) => page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) });
  const reads = (page, title, value) => card(page, title).locator('.value', { hasText: value }).waitFor();
  const hasStatus = (page, status) => page.locator(`.status[data-status=${status}]`).waitFor();
  const metric = (page, name, value) =>
    page.getByRole('row').filter({ has: page.getByRole('rowheader', { name, exact: true }) }).getByText(value, { exact: true }).waitFor();

  const show = async (page, id) => {
    await page.getByLabel('Id').fill(id);
    await page.getByRole('button', { name: 'Show' }).click();
  };

  /** Waits until the line of a chart consists of `count` pieces. */
  const pieces = async (page, title, count) => {
    const line = card(page, title).locator('.line');
    let path;
    await until(async () => {
      path = await line.getAttribute('d');
      return path.split('M').filter((piece) => piece.includes('L')).length === count;
    }, `${count} pieces of ${title}`, () => path);
  };

  test('follows figures, entities and alerts over one connection', async (t) => {
    const { page, server } = await open(t);
    await hasStatus(page, 'live');
    await reads(page, 'Orders today', /^0$/);
    await reads(page, 'CPU', /^\d+ %$/);
    await pieces(page, 'CPU', 1);
    assert.equal(await server.connections('socketio'), 1);

    await server.order('Ada');
    await reads(page, 'Orders today', /^1$/);
    await reads(page, 'Revenue today', /^19\.90$/);
    await server.order('Grace');
    await reads(page, 'Orders today', /^2$/);

    const entity = (id, metrics) => server.push({ channel: `entity.shop.${id}`, data: { metrics } });
    await entity('berlin', { visitors: 12, open: true });
    await metric(page, 'visitors', '12');
    await metric(page, 'open', 'true');
    await entity('berlin', { visitors: 13, open: true });
    await metric(page, 'visitors', '13');
    await entity('paris', { visitors: 7 });
    await show(page, 'no such id');
    await page.locator('.problem').waitFor();
    await show(page, 'paris');
    await metric(page, 'visitors', '7');
    await page.locator('.problem').waitFor({ state: 'detached' });
    await entity('paris', { visitors: 8 });
    await metric(page, 'visitors', '8');

    const rule = { name: 'Slow', channel: 'metrics.checkout', field: 'latency', condition: { above: 100 }, severity: 'critical', message: 'Checkout is slow' };
    await server.send('POST', 'api/alerts/rules', rule);
    await card(page, 'Alerts').getByText('None open').waitFor();
    await server.push({ channel: 'metrics.checkout', data: { latency: 180 } });
    await card(page, 'Alerts').getByText('Checkout is slow').waitFor();
    await page.reload();
    await card(page, 'Alerts').getByText('Checkout is slow').waitFor(); // an alert that is open already
    await server.push({ channel: 'metrics.checkout', data: { latency: 20 } });
    await card(page, 'Alerts').getByText('None open').waitFor();
    assert.deepEqual(page.problems, []);
  });

  for (const end of ['stop', 'kill']) {
    test(`keeps its numbers and goes on by itself after the server was ended by ${end} and started again`, async (t) => {
      const { page, server, restart } = await open(t);
      const visitors = (server, visitors) => server.push({ channel: 'entity.shop.berlin', data: { metrics: { visitors } } });
      await server.order('Ada');
      await visitors(server, 12);
      await reads(page, 'Orders today', /^1$/);
      await metric(page, 'visitors', '12');
      await pieces(page, 'CPU', 1);
      assert.deepEqual(page.problems, []);

      await server[end]();
      await hasStatus(page, 'offline');
      await reads(page, 'Orders today', /^1$/);
      await page.locator('main[data-fresh=false]').waitFor();

      const second = await restart();
      await hasStatus(page, 'live');
      await second.order('Grace');
      await reads(page, 'Orders today', /^2$/);
      await reads(page, 'Revenue today', /^39\.80$/);
      await visitors(second, 13);
      await metric(page, 'visitors', '13');
      await pieces(page, 'CPU', 2);
      // Chromium itself reports attempts to connect while there is no server.
      const others = page.problems.filter((text) => !/ERR_CONNECTION_|ERR_EMPTY_RESPONSE|WebSocket connection to .* failed/.test(text));
      assert.deepEqual(others, []);
    });
  }

  test('is tested with the packages that it names', () => {
    const { name, dependencies, devDependencies } = json(join(SOURCE, 'package.json'));
    const { packages } = json(join(SOURCE, 'package-lock.json'));
    const tested = json(new URL('package-lock.json', import.meta.url)).packages;
    assert.deepEqual(packages[''], { name, dependencies, devDependencies });
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      assert.equal(version, tested[`node_modules/${name}`].version, name);
    }
    assert.deepEqual(Object.keys(packages).filter((path) => packages[path].resolved), [], 'addresses of downloads');
  });
});
