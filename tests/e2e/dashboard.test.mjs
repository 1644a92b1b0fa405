// Dashboards in Chromium: shared changes, editing by pointer and keyboard, alerts, charts, permissions and accessibility.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBadProxy } from './bad-proxy.mjs';
import { tile, useBrowser, waitForBadge, waitForNumber } from './browser.mjs';
import { TOGETHER, runTricast, startServer, until } from './helpers.mjs';

const STATIC = fileURLToPath(new URL('../../static/', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const titles = (page) => page.locator('.card-title').allTextContents();
/** Returns the note in place of a dashboard. The announcer repeats it a moment later, so the text alone is ambiguous. */
const boardNote = (page, text) => page.locator('#board-note', { hasText: text });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const fetchDashboard = async (server, id = 'default') => (await fetch(`${server.url}api/dashboards/${id}`)).json();

/** Waits until the page shows these tiles in this order. */
const waitForShownTiles = (page, expected) =>
  until(async () => JSON.stringify(await titles(page)) === JSON.stringify(expected), `the tiles ${expected}`, () => '');

/** Waits until the server has stored these tiles in this order. */
const waitForStoredTiles = (server, expected) =>
  until(
    async () => JSON.stringify((await fetchDashboard(server)).tiles.map(({ title }) => title)) === JSON.stringify(expected),
    `the tiles ${expected}`,
  );

/** Creates three number tiles of one channel. */
async function createTilesABC(server) {
  await server.push({ channel: 'metrics.shop', data: { a: 1, b: 2, c: 3 } });
  const tiles = ['a', 'b', 'c'].map((id) => ({ id, type: 'number', title: id.toUpperCase(), channel: 'metrics.shop', field: id }));
  await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
}

describe('dashboards', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const openPage = useBrowser();

  async function open(t, server, options) {
    const page = await openPage(t, options);
    await page.goto(server.url);
    await waitForBadge(page, 'live');
    return page;
  }

  test('a changed priority is stored and shown to other users', async (t) => {
    const server = await startServer(t);
    const { orderId } = await server.order('Ada');
    const [ada, bob] = [await open(t, server), await open(t, server)];
    await ada.getByLabel(`Priority of ${orderId}`).selectOption('urgent');
    await bob.locator(`.order-priority[data-priority=urgent]`).waitFor();
    assert.equal(await bob.getByLabel(`Priority of ${orderId}`).inputValue(), 'urgent');
    assert.equal((await (await fetch(`${server.url}api/orders/${orderId}`)).json()).priority, 'urgent');
    assert.deepEqual([...ada.problems, ...bob.problems], []);
  });

  test('a refused priority is reverted with the reason', async (t) => {
    const server = await startServer(t);
    const { orderId } = await server.order('Ada');
    const page = await open(t, server, { expected: /api\// });
    const problem = { code: 'SERVER_ERROR', detail: 'The store is unavailable.' };
    await page.route('**/api/orders/*', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', json: problem }));
    const select = page.getByLabel(`Priority of ${orderId}`);
    await select.selectOption('urgent');
    await tile(page, 'Newest orders').getByText('The store is unavailable.').waitFor();
    await until(async () => (await select.inputValue()) === 'normal', 'the old priority');
  });

  test('added, changed, removed and restored tiles are shown to other users', async (t) => {
    const server = await startServer(t);
    await createTilesABC(server);
    const [ada, bob] = [await open(t, server), await open(t, server)];
    await waitForShownTiles(bob, ['A', 'B', 'C']);

    await button(ada, 'Edit').click();
    await button(ada, 'Add tile').click();
    const dialog = ada.getByRole('dialog');
    await dialog.getByLabel('Kind').selectOption('chart');
    await dialog.getByRole('searchbox').fill('shop');
    for (const name of ['a', 'b']) await dialog.getByRole('checkbox', { name: `${name} of metrics.shop` }).check();
    await dialog.getByLabel('Title').fill('Both');
    await dialog.locator('.dialog-preview .u-wrap').waitFor();
    await dialog.getByRole('button', { name: 'Add' }).click();
    await waitForShownTiles(bob, ['A', 'B', 'C', 'Both']);
    await tile(bob, 'Both').locator('.u-wrap').waitFor();
    assert.deepEqual((await fetchDashboard(server)).tiles[3].fields, ['a', 'b']);

    await button(ada, 'Edit Both').click();
    await dialog.getByLabel('Title').fill('All of them');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await waitForShownTiles(bob, ['A', 'B', 'C', 'All of them']);

    await button(ada, 'Remove B').click();
    await waitForShownTiles(bob, ['A', 'C', 'All of them']);
    await button(ada, 'Undo').click();
    await waitForShownTiles(bob, ['A', 'B', 'C', 'All of them']);
    await button(ada, 'Redo').click();
    await waitForShownTiles(bob, ['A', 'C', 'All of them']);
    await ada.keyboard.press('Control+z');
    await waitForShownTiles(bob, ['A', 'B', 'C', 'All of them']);

    await button(ada, 'Duplicate A').click();
    await waitForShownTiles(bob, ['A', 'A', 'B', 'C', 'All of them']);
    await ada.keyboard.press('Control+z');
    await waitForShownTiles(bob, ['A', 'B', 'C', 'All of them']);
    await ada.keyboard.press('Control+Shift+z');
    await waitForShownTiles(bob, ['A', 'A', 'B', 'C', 'All of them']);
    assert.deepEqual([...ada.problems, ...bob.problems], []);
  });

  test('a tile can be moved and resized by keyboard, and keeps the focus', async (t) => {
    const server = await startServer(t);
    await createTilesABC(server);
    const page = await open(t, server);
    await button(page, 'Edit').press('Enter');
    const move = button(page, 'Move A');
    await move.focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await waitForStoredTiles(server, ['B', 'C', 'A']);
    await page.keyboard.press('ArrowLeft'); // removes and reinserts the focused element
    await page.keyboard.press('ArrowLeft');
    await waitForStoredTiles(server, ['A', 'B', 'C']);
    await page.keyboard.press('Shift+ArrowRight');
    await page.keyboard.press('Shift+ArrowDown');
    await until(async () => {
      const { width, height } = (await fetchDashboard(server)).tiles[0];
      return width === 5 && height === 3;
    }, 'the new size');
    assert.ok(await button(page, 'Move A').evaluate((node) => node === document.activeElement));
    await page.getByRole('status').filter({ hasText: '5 wide, 3 high' }).waitFor({ state: 'attached' });
    assert.deepEqual(page.problems, []);
  });

  test('a tile can be moved and resized with the pointer', async (t) => {
    const server = await startServer(t);
    await createTilesABC(server);
    const page = await open(t, server);
    await button(page, 'Edit').click();
    const target = await tile(page, 'C').boundingBox();
    await button(page, 'Move A').hover();
    await page.mouse.down();
    await page.mouse.move(target.x + target.width - 20, target.y + 40, { steps: 5 });
    await page.mouse.up();
    await waitForStoredTiles(server, ['B', 'C', 'A']);

    const box = await tile(page, 'B').boundingBox();
    await page.mouse.move(box.x + box.width - 6, box.y + box.height - 6);
    await page.mouse.down();
    await page.mouse.move(box.x + 2 * box.width, box.y + 2 * box.height, { steps: 5 });
    await page.mouse.up();
    await until(async () => {
      const { width, height } = (await fetchDashboard(server)).tiles[0];
      return width === 8 && height === 4;
    }, 'the new size');
    assert.deepEqual(page.problems, []);
  });

  test('concurrent edits of two users are both kept', async (t) => {
    const server = await startServer(t);
    await createTilesABC(server);
    // Holds the first edit back until the second one is stored, so that its ETag is outdated.
    const ada = await open(t, server, { expected: /api\// });
    await button(ada, 'Edit').click();
    let refused = 0;
    ada.on('response', (response) => (refused += Number(response.status() === 412)));
    let release;
    const gate = new Promise((resolve) => (release = resolve));
    await ada.route('**/tiles/a', async (route) => {
      await gate;
      await route.fallback();
    });
    await button(ada, 'Remove A').click();
    await waitForShownTiles(ada, ['B', 'C']);
    await server.send('PATCH', 'api/dashboards/default/tiles/c', { title: 'Sea' });
    release();
    await waitForShownTiles(ada, ['B', 'Sea']);
    await waitForStoredTiles(server, ['B', 'Sea']);
    assert.equal(refused, 1);
  });

  test('an edit of a tile that another user has removed is reverted with a message', async (t) => {
    const server = await startServer(t);
    await createTilesABC(server);
    const page = await open(t, server, { expected: /api\// });
    await button(page, 'Edit').click();
    let release;
    const gate = new Promise((resolve) => (release = resolve));
    await page.route('**/tiles/a', async (route) => {
      await gate;
      await route.fallback();
    });
    await button(page, 'Move A').focus();
    await page.keyboard.press('Shift+ArrowRight');
    await server.send('DELETE', 'api/dashboards/default/tiles/a');
    release();
    await page.locator('.toast', { hasText: 'someone else removed this tile' }).waitFor();
    await waitForShownTiles(page, ['B', 'C']);
  });

  test('a dashboard can be created, opened by its URL, renamed and deleted', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server);
    const menu = page.locator('#boards > summary');
    await menu.click();
    await button(page, 'New dashboard …').click();
    await page.getByRole('dialog').getByLabel('Name').fill('Night shift');
    await button(page, 'Create').click();
    await page.locator('#board-name', { hasText: 'Night shift' }).waitFor();
    await boardNote(page, 'This dashboard is empty').waitFor();
    const id = new URL(page.url()).searchParams.get('board');

    const other = await openPage(t, { expected: /api\/dashboards\// });
    await other.goto(`${server.url}?board=${id}`);
    await other.locator('#board-name', { hasText: 'Night shift' }).waitFor();
    await waitForBadge(other, 'live');
    await menu.click();
    await button(page, 'Rename …').click();
    await page.getByRole('dialog').getByLabel('Name').fill('Early shift');
    await button(page, 'Rename').click();
    await other.locator('#board-name', { hasText: 'Early shift' }).waitFor();

    await menu.click();
    await button(page, 'Delete …').click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
    for (const reader of [page, other]) await boardNote(reader, '“Early shift” was deleted').waitFor();
    await menu.click();
    await page.getByRole('link', { name: 'Overview' }).click();
    await waitForNumber(page, 'Users online', /^\d+$/);
    await page.goBack();
    await boardNote(page, 'There is no such dashboard').waitFor();
  });

  test('a dashboard is made from a template, duplicated, exported and imported, and has a place in the menu', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server);
    const menu = page.locator('#boards > summary');
    for (const [label, title] of [['Host', 'Load average'], ['Web service', 'Error rate'], ['Shop', 'Newest orders'], ['Fleet', 'How to add a host']]) {
      await menu.click();
      await button(page, 'New dashboard …').click();
      await page.getByRole('dialog').getByText(label, { exact: true }).click();
      await button(page, 'Create').click();
      await page.locator('#board-name', { hasText: label }).waitFor();
      await tile(page, title).waitFor();
    }
    const { tiles } = await fetchDashboard(server, new URL(page.url()).searchParams.get('board'));
    await menu.click();
    await button(page, 'Duplicate').click();
    await page.locator('#board-name', { hasText: 'Copy of Fleet' }).waitFor();

    await menu.click();
    const saved = page.waitForEvent('download');
    await button(page, 'Export as JSON').click();
    const download = await saved;
    assert.equal(download.suggestedFilename(), 'copy-of-fleet.json');
    const file = readFileSync(await download.path(), 'utf8');
    assert.deepEqual(JSON.parse(file), { name: 'Copy of Fleet', tiles });

    const upload = async (name, text) => {
      await menu.click();
      const chooser = page.waitForEvent('filechooser');
      await button(page, 'Import …').click();
      await (await chooser).setFiles({ name, mimeType: 'application/json', buffer: Buffer.from(text) });
    };
    await upload('other.json', file.replace('Copy of Fleet', 'From a file'));
    await page.locator('#board-name', { hasText: 'From a file' }).waitFor();
    await tile(page, 'How to add a host').waitFor();
    await upload('wrong.json', '{"tiles": 3}');
    await page.getByText('This file is not a dashboard: it has no name and tiles.').first().waitFor();

    const list = page.locator('#boards .menu-list a');
    const waitForNames = async (names) => {
      await menu.click();
      await until(async () => JSON.stringify(await list.allTextContents()) === JSON.stringify(names), `the dashboards ${names}`);
    };
    await waitForNames(['Copy of Fleet', 'Fleet', 'From a file', 'Host', 'Overview', 'Shop', 'Web service']);
    await button(page, 'Order …').click();
    await button(page, 'Move Overview up').click();
    await page.keyboard.press('Enter');
    await button(page, 'Done').click();
    await waitForNames(['Copy of Fleet', 'Fleet', 'Overview', 'From a file', 'Host', 'Shop', 'Web service']);
    assert.deepEqual(page.problems, []);
  });

  test('charts share the cursor time, can be read by keyboard, and do not advance while paused', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 1, b: 10 } });
    const tiles = ['a', 'b'].map((id) => ({ id, type: 'chart', title: id.toUpperCase(), channel: 'metrics.shop', field: id }));
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
    const page = await open(t, server);
    const [a, b] = ['A', 'B'].map((title) => tile(page, title).locator('.legend'));
    await a.getByText('1', { exact: true }).waitFor();
    await tile(page, 'A').locator('.u-over').waitFor();
    await button(page, 'Pause').click();
    await server.push({ channel: 'metrics.shop', data: { a: 2, b: 20 } });
    await b.getByText('20', { exact: true }).waitFor(); // the legend shows the newest value, the line does not advance

    const plot = tile(page, 'A').getByRole('application');
    await plot.focus();
    await page.keyboard.press('End');
    await a.locator('.legend-time', { hasText: /:/ }).waitFor();
    const times = await page.locator('.legend-time').allTextContents();
    assert.equal(times[0], times[1]);
    assert.match(await b.textContent(), /^10\d\d:/);
    await page.getByRole('status').filter({ hasText: /: 1/ }).waitFor({ state: 'attached' });
    assert.ok((await page.locator(`#${await plot.getAttribute('aria-details')} tbody tr`).count()) > 0);
    await page.keyboard.press('Escape');
    await button(page, 'Resume').click();
    await plot.focus();
    await page.keyboard.press('End');
    await b.getByText('20', { exact: true }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('a reconnect can be requested by keyboard, and the focus does not move', async (t) => {
    const server = await startServer(t);
    await createTilesABC(server);
    const proxy = await startBadProxy(t, server.port);
    const page = await openPage(t, { expected: /./ });
    await page.goto(proxy.url);
    await waitForBadge(page, 'live');
    Object.assign(proxy.mode, { websocket: 'refuse', sse: 'refuse', poll: 'refuse' });
    proxy.cut();
    await waitForBadge(page, 'offline');
    await page.locator('#main[data-fresh=false]').waitFor();
    const summary = page.locator('#badge > summary');
    await summary.press('Enter');
    await button(page, 'Try now').focus();
    Object.assign(proxy.mode, { websocket: 'pass', sse: 'pass', poll: 'pass' });
    await page.keyboard.press('Enter');
    await waitForBadge(page, 'live');
    await page.locator('#main[data-fresh=true]').waitFor();
    assert.ok(await summary.evaluate((node) => node === document.activeElement));
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#badge').getAttribute('open'), null);
  });

  test('a critical alert is announced and listed, and its acknowledgement is shown to other users', async (t) => {
    const server = await startServer(t);
    const rule = { id: 'r', name: 'Sales', channel: 'metrics.shop', field: 'a', condition: { below: 1 }, severity: 'critical', message: 'Sales have stopped' };
    await server.push({ channel: 'metrics.shop', data: { a: 5 } });
    await server.send('POST', 'api/alerts/rules', rule);
    const [ada, bob] = [await open(t, server), await open(t, server)];
    await tile(ada, 'Alerts').getByText('No active alerts.').waitFor();
    await server.push({ channel: 'metrics.shop', data: { a: 0 } });
    await ada.locator('#alarm', { hasText: 'Critical alert: Sales have stopped' }).waitFor({ state: 'attached' });
    await tile(bob, 'Alerts').getByText('Sales have stopped').waitFor();
    await button(ada, 'Acknowledge: Sales have stopped').click();
    await tile(bob, 'Alerts').getByText('Acknowledged by').waitFor();
    await server.push({ channel: 'metrics.shop', data: { a: 5 } });
    await tile(bob, 'Alerts').getByText('Resolved').waitFor();
    await bob.reload();
    await tile(bob, 'Alerts').getByText('Resolved').waitFor();
    assert.deepEqual([...ada.problems, ...bob.problems], []);
  });

  const createChartA = (server) =>
    server.send('PUT', 'api/dashboards/default', {
      name: 'Shop',
      tiles: [{ id: 'a', type: 'chart', title: 'A', channel: 'metrics.shop', field: 'a' }],
    });

  /** Returns the distinct consecutive values of chart A, oldest first, from the table of the chart. */
  async function valuesOfChartA(page) {
    const plot = tile(page, 'A').getByRole('application');
    await plot.blur();
    await plot.focus(); // the table is made when the chart gets the focus
    const rows = await page.locator(`#${await plot.getAttribute('aria-details')} td`).allTextContents();
    return rows.reverse().filter((value, at, all) => value !== all[at - 1]).map(Number);
  }

  test('a chart has all its values after a reload', async (t) => {
    // Records every version as a point of history.
    const server = await startServer(t, { env: { TRICAST_HISTORY__RESOLUTION: '0ms' } });
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await createChartA(server);
    const page = await open(t, server);
    const legend = tile(page, 'A').locator('.legend-value');
    const values = [1, 2, 3, 4, 5, 6, 7, 8];
    for (const a of values.slice(1)) {
      await server.push({ channel: 'metrics.shop', data: { a } });
      await legend.filter({ hasText: new RegExp(`^${a}$`) }).waitFor();
    }
    await page.reload();
    await legend.filter({ hasText: /^8$/ }).waitFor();
    let shown;
    const all = async () => JSON.stringify((shown = await valuesOfChartA(page))) === JSON.stringify(values);
    await until(all, 'each value', () => `${shown}`);
    // New values continue the line.
    await server.push({ channel: 'metrics.shop', data: { a: 9 } });
    values.push(9);
    await until(all, 'each value and the next', () => `${shown}`);
    assert.deepEqual(page.problems, []);
  });

  test('a chart has the values that changed while the first connection was being opened', async (t) => {
    const server = await startServer(t, { env: { TRICAST_HISTORY__RESOLUTION: '0ms' } });
    const proxy = await startBadProxy(t, server.port, { websocket: 'swallow' });
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await createChartA(server);
    const page = await openPage(t);
    const history = page.waitForResponse(/api\/history.*metrics.shop/);
    await page.goto(proxy.url);
    await history;
    const values = [1, 2, 3, 4, 5];
    const points = `${server.url}api/history?channel=metrics.shop&field=a&interval=raw`;
    const pointsOfA = async () => (await (await fetch(points)).json()).buckets.length;
    for (const a of values.slice(1)) {
      await server.push({ channel: 'metrics.shop', data: { a } });
      // Readers, including the recorder of history, conflate values that arrive together: waits for each one.
      await until(async () => (await pointsOfA()) === a, 'the point');
    }
    assert.equal(await page.locator('#badge').getAttribute('data-state'), 'connecting');
    await waitForBadge(page, 'live');
    let shown;
    const all = async () => JSON.stringify((shown = await valuesOfChartA(page))) === JSON.stringify(values);
    await until(all, 'each value', () => `${shown}`);
    assert.deepEqual(page.problems, []);
  });

  /** Returns the newest row of chart A: its time of the day in seconds, and the text of its value. */
  async function newestOfChartA(page) {
    const plot = tile(page, 'A').getByRole('application');
    await plot.blur();
    await plot.focus();
    const row = page.locator(`#${await plot.getAttribute('aria-details')} tbody tr`).first();
    const [time, value] = await row.locator('th, td').allTextContents();
    const [hours, minutes, seconds] = time.split(':').map(Number);
    return { time: (hours * 60 + minutes) * 60 + seconds, value };
  }

  test('the line of a stopped source ends while another source writes other fields, and after the clock was set', async (t) => {
    const server = await startServer(t);
    const push = (data) => server.push({ channel: 'metrics.shop', merge: true, data });
    await push({ a: 5, b: 0 });
    const options = { noDataAfter: '1s' };
    const tiles = [
      { type: 'chart', title: 'A', channel: 'metrics.shop', field: 'a', options },
      { type: 'number', title: 'B', channel: 'metrics.shop', field: 'b' },
    ];
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
    const page = await openPage(t);
    await page.addInitScript(() => {
      const { now } = Date;
      globalThis.shift = 0;
      Date.now = () => now() + globalThis.shift;
    });
    await page.goto(server.url);
    await waitForBadge(page, 'live');
    let b = 0;
    const writeB = async () => {
      await push({ b: (b += 1) });
      await waitForNumber(page, 'B', RegExp(`^${b}$`));
    };
    /** Returns the newest row after another write of field b, for which the chart is drawn again. */
    const newestAfterWrite = async () => {
      await writeB();
      for (const name of ['Pause', 'Resume']) await button(page, name).click();
      return newestOfChartA(page);
    };
    await until(async () => {
      await writeB();
      return (await tile(page, 'A').getAttribute('data-silent')) === 'true';
    }, 'the end of field a');
    const end = await newestAfterWrite();
    assert.equal(end.value, '—');
    for (const shift of [-20 * 60, 60 * 60]) {
      await page.evaluate((shift) => (globalThis.shift = shift * 1_000), shift);
      let newest;
      await until(async () => {
        await writeB();
        newest = await newestOfChartA(page);
        const day = 24 * 60 * 60;
        return (newest.time - end.time - shift + 60 + 2 * day) % day < 120;
      }, 'the end of the line in the new clock', () => JSON.stringify({ end, newest }));
      assert.equal((await newestAfterWrite()).value, '—');
    }
    assert.deepEqual(page.problems, []);
  });

  test('pushed markup is shown as text', async (t) => {
    const server = await startServer(t);
    const markup = '<img src=x onerror="document.title=1">';
    await server.push({ channel: 'metrics.shop', data: { [markup]: markup } });
    await server.order(markup);
    const tiles = [
      { type: 'table', title: markup, channel: 'metrics.shop' },
      { type: 'table', title: 'Orders', channel: 'orders' },
      { type: 'text', title: 'Note', options: { text: markup } },
    ];
    await server.send('PUT', 'api/dashboards/default', { name: markup, tiles });
    const page = await open(t, server);
    await tile(page, 'Note').getByText(markup).waitFor();
    await tile(page, markup).locator('td', { hasText: markup }).waitFor();
    await tile(page, 'Orders').locator('td', { hasText: markup }).waitFor();
    assert.equal(await page.locator('img').count(), 0);
    assert.deepEqual(page.problems, []);
  });

  test('with authentication the page asks for a token, shows the user, and hides the editing tools from read-only users', async (t) => {
    const secret = 'a secret of at least thirty-two bytes';
    const env = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: secret };
    const server = await startServer(t, { env });
    const token = await runTricast(['token', '--user', 'ada', '--permissions', 'read:metrics,read:orders'], env);
    const page = await openPage(t, { expected: /api\// });
    await page.goto(server.url);
    await page.getByLabel('Token').fill('not.a.token');
    await button(page, 'Sign in').click();
    await page.locator('#signin-problem', { hasText: /\w/ }).waitFor();
    await page.getByLabel('Token').fill(token);
    await button(page, 'Sign in').click();
    await waitForBadge(page, 'live');
    await page.locator('#user-name', { hasText: 'ada' }).waitFor();
    await tile(page, 'CPU').locator('.legend-value', { hasText: /%$/ }).waitFor();
    assert.equal(await button(page, 'Edit').count(), 0);
    await page.reload(); // the token is kept in this tab
    await waitForBadge(page, 'live');
    await button(page, 'Sign out').click();
    await page.getByLabel('Token').waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  });

  for (const [name, options] of Object.entries({
    light: {},
    dark: { colorScheme: 'dark' },
    'on a phone': { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true },
    'at four times the size': { viewport: { width: 320, height: 256 } }, // WCAG 1.4.10: of a window of 1,280
  })) {
    test(`axe finds no violation while reading, editing and adding a tile, ${name}`, async (t) => {
      const server = await startServer(t);
      await server.order('Ada');
      const page = await open(t, server, options);
      await tile(page, 'Newest orders').locator('tbody tr').waitFor();
      await page.evaluate(`${AXE};0`); // through the debugger, which the content security policy does not restrict
      const check = async (state) => {
        const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules }), RULES);
        const found = violations.map(({ id, nodes }) => `${state}: ${id} ${nodes.map(({ target }) => target).join(' ')}`);
        assert.deepEqual(found, []);
      };
      await check('reading');
      await button(page, 'Edit').click();
      await check('editing');
      await button(page, 'Add tile').click();
      await page.getByRole('dialog').getByLabel('Kind').selectOption('chart');
      await page.getByRole('checkbox').first().waitFor();
      await check('form');
      await button(page, 'Cancel').click();
      await button(page, 'Done').click();
      await page.locator('#badge > summary').click();
      await check('connection');
      const { x, width } = await page.locator('.badge-body').boundingBox();
      assert.ok(x >= 0 && x + width <= page.viewportSize().width, `the badge's menu: ${x}, ${width}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0);
      assert.deepEqual(page.problems, []);
    });
  }

  test('axe finds no violation with equal titles, an unnamed field, old values and an error message', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { '': 1, a: 2, list: [{ node: 'x', up: true }] } });
    const { orderId } = await server.order('Ada');
    const options = { noDataAfter: '1s' };
    const tiles = [
      { type: 'number', title: 'Same', channel: 'metrics.shop', field: 'a', options },
      { type: 'number', title: 'Same', channel: 'metrics.shop', field: 'a', height: 1 },
      { type: 'table', title: 'Same', channel: 'metrics.shop' },
      { type: 'table', title: 'List', channel: 'metrics.shop', fields: ['list'] },
      { type: 'table', title: 'Orders', channel: 'orders' },
      { type: 'chart', title: 'Chart', channel: 'metrics.shop', field: 'a' },
    ];
    await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
    const page = await open(t, server, { expected: /api\/orders/ });
    await page.locator('.card[data-silent=true]').first().waitFor();
    await page.route('**/api/orders/*', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', json: { detail: 'Unavailable.' } }));
    await page.getByLabel(`Priority of ${orderId}`).selectOption('urgent');
    await tile(page, 'Orders').getByText('unavailable.').waitFor();
    await page.evaluate(`${AXE};0`);
    const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules }), RULES);
    assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes.map(({ target }) => target).join(' ')}`), []);
  });

  test('dark mode has dark colours, and charts follow a change of the colour scheme', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server, { colorScheme: 'dark' });
    const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    assert.equal(await background(), 'rgb(12, 17, 23)');
    await tile(page, 'CPU').locator('.u-wrap').waitFor();
    const before = await page.locator('.u-wrap').first().elementHandle();
    await page.emulateMedia({ colorScheme: 'light' });
    assert.equal(await background(), 'rgb(243, 245, 248)');
    await until(async () => !(await before.evaluate((node) => node.isConnected)), 'a chart in the new colours');
  });
});

describe('files', () => {
  test('vendored files have their recorded checksums', () => {
    const sums = readFileSync(`${STATIC}vendor/uplot/SHA256SUMS`, 'utf8').trim().split('\n');
    assert.equal(sums.length, 3);
    for (const line of sums) {
      const [sum, name] = line.split(/\s+/);
      assert.equal(createHash('sha256').update(readFileSync(`${STATIC}vendor/uplot/${name}`)).digest('hex'), sum, name);
    }
  });

  /** Returns the modules that a page imports. */
  const modulesOf = (entry) => {
    const seen = new Set();
    const follow = (path) => {
      if (seen.has(path)) return;
      seen.add(path);
      const text = readFileSync(STATIC + path, 'utf8');
      for (const [, to] of text.matchAll(/^(?:import|export)[^;]*? from '(\.[^']+)';/gm)) follow(new URL(to, `file:///${path}`).pathname.slice(1));
    };
    follow(entry);
    return seen;
  };

  test('a page preloads all of its modules and no other files', () => {
    const all = new Set();
    for (const [page, entry] of [['index.html', 'js/main.js'], ['explore.html', 'js/explore/main.js']]) {
      const seen = modulesOf(entry);
      seen.forEach((path) => all.add(path));
      seen.delete(entry);
      const preloaded = [...readFileSync(STATIC + page, 'utf8').matchAll(/modulepreload" href="static\/([^"]+)"/g)].map(([, path]) => path);
      assert.deepEqual(preloaded, [...seen].sort(), page);
    }
    const unused = readdirSync(`${STATIC}js`, { recursive: true }).map(String)
      .filter((path) => path.endsWith('.js') && !/^(docs|doctor)/.test(path) && !all.has(`js/${path}`));
    assert.deepEqual(unused.sort(), ['legacy.js', 'tiles/contract.js']);
  });

  test('the script for old browsers is ES5, and no module inserts markup', () => {
    const legacy = readFileSync(`${STATIC}js/legacy.js`, 'utf8');
    assert.doesNotMatch(legacy, /=>|`|\b(let|const|class|async|await)\b|\.\.\.|\?\.|\?\?/);
    for (const path of readdirSync(`${STATIC}js`, { recursive: true }).map(String).filter((path) => path.endsWith('.js'))) {
      assert.doesNotMatch(readFileSync(`${STATIC}js/${path}`, 'utf8'), /\.(innerHTML|outerHTML)\b|insertAdjacentHTML|document\.write|\beval\(/, path);
    }
  });
});
