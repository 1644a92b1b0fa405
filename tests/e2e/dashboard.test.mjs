// Boards in a real Chromium: what one reader changes another sees, editing by pointer and keyboard, and who may read what.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBadProxy } from './bad-proxy.mjs';
import { badge, reads, tile, useBrowser } from './browser.mjs';
import { TOGETHER, runTricast, startServer, until } from './helpers.mjs';

const STATIC = fileURLToPath(new URL('../../static/', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const titles = (page) => page.locator('.card-title').allTextContents();
/** What stands in place of a board. The announcer says the same a moment later, so the text alone is found twice by then. */
const note = (page, text) => page.locator('#board-note', { hasText: text });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const boardOf = async (server, id = 'default') => (await fetch(`${server.url}api/dashboards/${id}`)).json();

/** Waits until the page shows these tiles in this order. */
const shows = (page, expected) =>
  until(async () => JSON.stringify(await titles(page)) === JSON.stringify(expected), `the tiles ${expected}`, () => '');

/** Waits until the server has these tiles in this order. */
const keeps = (server, expected) =>
  until(
    async () => JSON.stringify((await boardOf(server)).tiles.map(({ title }) => title)) === JSON.stringify(expected),
    `the tiles ${expected}`,
  );

/** Three numbers of one pushed channel. */
async function abc(server) {
  await server.push({ channel: 'metrics.shop', data: { a: 1, b: 2, c: 3 } });
  const tiles = ['a', 'b', 'c'].map((id) => ({ id, type: 'number', title: id.toUpperCase(), channel: 'metrics.shop', field: id }));
  await server.send('PUT', 'api/dashboards/default', { name: 'Shop', tiles });
}

describe('boards', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const openPage = useBrowser();

  async function open(t, server, options) {
    const page = await openPage(t, options);
    await page.goto(server.url);
    await badge(page, 'live');
    return page;
  }

  test('a priority that one reader changes is seen by another, and is the server’s', async (t) => {
    const server = await startServer(t);
    const { orderId } = await server.order('Ada');
    const [ada, bob] = [await open(t, server), await open(t, server)];
    await ada.getByLabel(`Priority of ${orderId}`).selectOption('urgent');
    await bob.locator(`.order-priority[data-priority=urgent]`).waitFor();
    assert.equal(await bob.getByLabel(`Priority of ${orderId}`).inputValue(), 'urgent');
    assert.equal((await (await fetch(`${server.url}api/orders/${orderId}`)).json()).priority, 'urgent');
    assert.deepEqual([...ada.complaints, ...bob.complaints], []);
  });

  test('a priority that is refused goes back, with a word of why', async (t) => {
    const server = await startServer(t);
    const { orderId } = await server.order('Ada');
    const page = await open(t, server, { expected: /api\// });
    const problem = { code: 'SERVER_ERROR', detail: 'The store is asleep.' };
    await page.route('**/api/orders/*', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', json: problem }));
    const select = page.getByLabel(`Priority of ${orderId}`);
    await select.selectOption('urgent');
    await tile(page, 'Newest orders').getByText('The store is asleep.').waitFor();
    await until(async () => (await select.inputValue()) === 'normal', 'the old priority');
  });

  test('a tile that one reader adds, moves, changes and removes does so for everybody', async (t) => {
    const server = await startServer(t);
    await abc(server);
    const [ada, bob] = [await open(t, server), await open(t, server)];
    await shows(bob, ['A', 'B', 'C']);

    await button(ada, 'Edit').click();
    await button(ada, 'Add tile').click();
    const dialog = ada.getByRole('dialog');
    await dialog.getByLabel('Kind').selectOption('chart');
    await dialog.getByLabel('Channel').selectOption('metrics.shop');
    for (const name of ['a', 'b']) await dialog.getByRole('checkbox', { name, exact: true }).check();
    await dialog.getByLabel('Title').fill('Both');
    await dialog.getByRole('button', { name: 'Add' }).click();
    await shows(bob, ['A', 'B', 'C', 'Both']);
    await tile(bob, 'Both').locator('.u-wrap').waitFor();
    assert.deepEqual((await boardOf(server)).tiles[3].fields, ['a', 'b']);

    await button(ada, 'Edit Both').click();
    await dialog.getByLabel('Title').fill('All of them');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await shows(bob, ['A', 'B', 'C', 'All of them']);

    await button(ada, 'Remove B').click();
    await shows(bob, ['A', 'C', 'All of them']);
    await button(ada, 'Undo').click();
    await shows(bob, ['A', 'B', 'C', 'All of them']);
    assert.deepEqual([...ada.complaints, ...bob.complaints], []);
  });

  test('by keyboard alone a tile is moved and resized, and keeps the focus', async (t) => {
    const server = await startServer(t);
    await abc(server);
    const page = await open(t, server);
    await button(page, 'Edit').press('Enter');
    const move = button(page, 'Move A');
    await move.focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await keeps(server, ['B', 'C', 'A']);
    await page.keyboard.press('ArrowLeft'); // here its own element is taken out and put back
    await page.keyboard.press('ArrowLeft');
    await keeps(server, ['A', 'B', 'C']);
    await page.keyboard.press('Shift+ArrowRight');
    await page.keyboard.press('Shift+ArrowDown');
    await until(async () => {
      const { width, height } = (await boardOf(server)).tiles[0];
      return width === 5 && height === 3;
    }, 'the new size');
    assert.ok(await button(page, 'Move A').evaluate((node) => node === document.activeElement));
    await page.getByRole('status').filter({ hasText: '5 wide, 3 high' }).waitFor({ state: 'attached' });
    assert.deepEqual(page.complaints, []);
  });

  test('with the pointer a tile is dragged to another place, and pulled to another size', async (t) => {
    const server = await startServer(t);
    await abc(server);
    const page = await open(t, server);
    await button(page, 'Edit').click();
    const target = await tile(page, 'C').boundingBox();
    await button(page, 'Move A').hover();
    await page.mouse.down();
    await page.mouse.move(target.x + target.width - 20, target.y + 40, { steps: 5 });
    await page.mouse.up();
    await keeps(server, ['B', 'C', 'A']);

    const box = await tile(page, 'B').boundingBox();
    await page.mouse.move(box.x + box.width - 6, box.y + box.height - 6);
    await page.mouse.down();
    await page.mouse.move(box.x + 2 * box.width, box.y + 2 * box.height, { steps: 5 });
    await page.mouse.up();
    await until(async () => {
      const { width, height } = (await boardOf(server)).tiles[0];
      return width === 8 && height === 4;
    }, 'the new size');
    assert.deepEqual(page.complaints, []);
  });

  test('two who edit at the same time lose nothing to each other', async (t) => {
    const server = await startServer(t);
    await abc(server);
    // The edit of the first is held back until the second has been carried out: its tag is then an old one.
    const ada = await open(t, server, { expected: /api\// });
    await button(ada, 'Edit').click();
    let refused = 0;
    ada.on('response', (response) => (refused += Number(response.status() === 412)));
    let go;
    const held = new Promise((resolve) => (go = resolve));
    await ada.route('**/tiles/a', async (route) => {
      await held;
      await route.fallback();
    });
    await button(ada, 'Remove A').click();
    await shows(ada, ['B', 'C']);
    await server.send('PATCH', 'api/dashboards/default/tiles/c', { title: 'Sea' });
    go();
    await shows(ada, ['B', 'Sea']);
    await keeps(server, ['B', 'Sea']);
    assert.equal(refused, 1);
  });

  test('an edit of a tile that somebody else has removed is taken back, and said', async (t) => {
    const server = await startServer(t);
    await abc(server);
    const page = await open(t, server, { expected: /api\// });
    await button(page, 'Edit').click();
    let go;
    const held = new Promise((resolve) => (go = resolve));
    await page.route('**/tiles/a', async (route) => {
      await held;
      await route.fallback();
    });
    await button(page, 'Move A').focus();
    await page.keyboard.press('Shift+ArrowRight');
    await server.send('DELETE', 'api/dashboards/default/tiles/a');
    go();
    await page.locator('.toast', { hasText: 'someone else removed this tile' }).waitFor();
    await shows(page, ['B', 'C']);
  });

  test('a board is made, opened by its address, renamed and deleted', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server);
    const menu = page.locator('#boards > summary');
    await menu.click();
    await button(page, 'New dashboard …').click();
    await page.getByRole('dialog').getByLabel('Name').fill('Night shift');
    await button(page, 'Create').click();
    await page.locator('#board-name', { hasText: 'Night shift' }).waitFor();
    await note(page, 'This dashboard is empty').waitFor();
    const id = new URL(page.url()).searchParams.get('board');

    const other = await openPage(t, { expected: /api\/dashboards\// });
    await other.goto(`${server.url}?board=${id}`);
    await other.locator('#board-name', { hasText: 'Night shift' }).waitFor();
    await badge(other, 'live');
    await menu.click();
    await button(page, 'Rename …').click();
    await page.getByRole('dialog').getByLabel('Name').fill('Early shift');
    await button(page, 'Rename').click();
    await other.locator('#board-name', { hasText: 'Early shift' }).waitFor();

    await menu.click();
    await button(page, 'Delete …').click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
    for (const reader of [page, other]) await note(reader, '“Early shift” was deleted').waitFor();
    await menu.click();
    await page.getByRole('link', { name: 'Overview' }).click();
    await reads(page, 'Users online', /^\d+$/);
    await page.goBack();
    await note(page, 'There is no such dashboard').waitFor();
  });

  test('charts share the instant under the cursor, read by keyboard, and stand still while paused', async (t) => {
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
    await b.getByText('20', { exact: true }).waitFor(); // the newest is told, the line stands

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
    assert.deepEqual(page.complaints, []);
  });

  test('by keyboard a next try is asked for, and the focus stays where it was', async (t) => {
    const server = await startServer(t);
    await abc(server);
    const proxy = await startBadProxy(t, server.port);
    const page = await openPage(t, { expected: /./ });
    await page.goto(proxy.url);
    await badge(page, 'live');
    Object.assign(proxy.mode, { websocket: 'refuse', sse: 'refuse', poll: 'refuse' });
    proxy.cut();
    await badge(page, 'offline');
    await page.locator('#main[data-fresh=false]').waitFor();
    const summary = page.locator('#badge > summary');
    await summary.press('Enter');
    await button(page, 'Try now').focus();
    Object.assign(proxy.mode, { websocket: 'pass', sse: 'pass', poll: 'pass' });
    await page.keyboard.press('Enter');
    await badge(page, 'live');
    await page.locator('#main[data-fresh=true]').waitFor();
    assert.ok(await summary.evaluate((node) => node === document.activeElement));
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#badge').getAttribute('open'), null);
  });

  test('a critical alert is said at once and listed, and one reader acknowledges it for all', async (t) => {
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
    assert.deepEqual([...ada.complaints, ...bob.complaints], []);
  });

  const chartOfA = (server) =>
    server.send('PUT', 'api/dashboards/default', {
      name: 'Shop',
      tiles: [{ id: 'a', type: 'chart', title: 'A', channel: 'metrics.shop', field: 'a' }],
    });

  /** What the line of A went through, oldest first, as the table behind the chart has it. */
  async function lineOfA(page) {
    const plot = tile(page, 'A').getByRole('application');
    await plot.blur();
    await plot.focus(); // the table is made when the chart gets the focus
    const rows = await page.locator(`#${await plot.getAttribute('aria-details')} td`).allTextContents();
    return rows.reverse().filter((value, at, all) => value !== all[at - 1]).map(Number);
  }

  test('a refresh loses nothing of a line', async (t) => {
    // Every version is a point, so that each value has to be there again.
    const server = await startServer(t, { env: { TRICAST_HISTORY__RESOLUTION: '0ms' } });
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await chartOfA(server);
    const page = await open(t, server);
    const legend = tile(page, 'A').locator('.legend-value');
    const values = [1, 2, 3, 4, 5, 6, 7, 8];
    for (const a of values.slice(1)) {
      await server.push({ channel: 'metrics.shop', data: { a } });
      await legend.filter({ hasText: new RegExp(`^${a}$`) }).waitFor();
    }
    await page.reload();
    await legend.filter({ hasText: /^8$/ }).waitFor();
    let seen;
    const all = async () => JSON.stringify((seen = await lineOfA(page))) === JSON.stringify(values);
    await until(all, 'each value', () => `${seen}`);
    // And it goes on from there.
    await server.push({ channel: 'metrics.shop', data: { a: 9 } });
    values.push(9);
    await until(all, 'each value and the next', () => `${seen}`);
    assert.deepEqual(page.complaints, []);
  });

  test('what changes while the first connection is being found is in the line, too', async (t) => {
    const server = await startServer(t, { env: { TRICAST_HISTORY__RESOLUTION: '0ms' } });
    const proxy = await startBadProxy(t, server.port, { websocket: 'swallow' });
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await chartOfA(server);
    const page = await openPage(t);
    const history = page.waitForResponse(/api\/history.*metrics.shop/);
    await page.goto(proxy.url);
    await history;
    const values = [1, 2, 3, 4, 5];
    const points = `${server.url}api/history?channel=metrics.shop&field=a&interval=raw`;
    const pointsOfA = async () => (await (await fetch(points)).json()).buckets.length;
    for (const a of values.slice(1)) {
      await server.push({ channel: 'metrics.shop', data: { a } });
      // A reader is given the newest of what comes together, the recorder of history as well.
      await until(async () => (await pointsOfA()) === a, 'the point');
    }
    assert.equal(await page.locator('#badge').getAttribute('data-state'), 'connecting');
    await badge(page, 'live');
    let seen;
    const all = async () => JSON.stringify((seen = await lineOfA(page))) === JSON.stringify(values);
    await until(all, 'each value', () => `${seen}`);
    assert.deepEqual(page.complaints, []);
  });

  test('what is pushed is text, whatever it looks like', async (t) => {
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
    assert.deepEqual(page.complaints, []);
  });

  test('a server with tokens asks for one, shows who is signed in, and keeps the tools from those who may only read', async (t) => {
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
    await badge(page, 'live');
    await page.locator('#user-name', { hasText: 'ada' }).waitFor();
    await tile(page, 'CPU').locator('.legend-value', { hasText: /%$/ }).waitFor();
    assert.equal(await button(page, 'Edit').count(), 0);
    await page.reload(); // the token is kept in this tab
    await badge(page, 'live');
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
    test(`axe finds nothing, ${name}: reading, editing, the form of a tile`, async (t) => {
      const server = await startServer(t);
      await server.order('Ada');
      const page = await open(t, server, options);
      await tile(page, 'Newest orders').locator('tbody tr').waitFor();
      await page.evaluate(`${AXE};0`); // through the debugger, so the page's policy needs no hole for it
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
      await page.locator('#badge > summary').click();
      await check('connection');
      const { x, width } = await page.locator('.badge-body').boundingBox();
      assert.ok(x >= 0 && x + width <= page.viewportSize().width, `the badge's menu: ${x}, ${width}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0);
      assert.deepEqual(page.complaints, []);
    });
  }

  test('axe finds nothing on a board with tiles of one title, a field without a name, old values and a message', async (t) => {
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
    await page.route('**/api/orders/*', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', json: { detail: 'Asleep.' } }));
    await page.getByLabel(`Priority of ${orderId}`).selectOption('urgent');
    await tile(page, 'Orders').getByText('asleep.').waitFor();
    await page.evaluate(`${AXE};0`);
    const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules }), RULES);
    assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes.map(({ target }) => target).join(' ')}`), []);
  });

  test('dark mode is dark, and charts follow a change of it', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server, { colorScheme: 'dark' });
    const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    assert.equal(await background(), 'rgb(12, 17, 23)');
    await tile(page, 'CPU').locator('.u-wrap').waitFor();
    const before = await page.locator('.u-wrap').first().elementHandle();
    await page.emulateMedia({ colorScheme: 'light' });
    assert.equal(await background(), 'rgb(243, 245, 248)');
    await until(async () => !(await before.evaluate((node) => node.isConnected)), 'a chart in other colours');
  });
});

describe('files', () => {
  test('vendored files are what they were', () => {
    const sums = readFileSync(`${STATIC}vendor/uplot/SHA256SUMS`, 'utf8').trim().split('\n');
    assert.equal(sums.length, 3);
    for (const line of sums) {
      const [sum, name] = line.split(/\s+/);
      assert.equal(createHash('sha256').update(readFileSync(`${STATIC}vendor/uplot/${name}`)).digest('hex'), sum, name);
    }
  });

  test('every module of the dashboard is preloaded, and nothing else', () => {
    const seen = new Set();
    const follow = (path) => {
      if (seen.has(path)) return;
      seen.add(path);
      const text = readFileSync(STATIC + path, 'utf8');
      for (const [, to] of text.matchAll(/^(?:import|export)[^;]*? from '(\.[^']+)';/gm)) follow(new URL(to, `file:///${path}`).pathname.slice(1));
    };
    follow('js/main.js');
    seen.delete('js/main.js');
    const page = readFileSync(`${STATIC}index.html`, 'utf8');
    const preloaded = [...page.matchAll(/modulepreload" href="static\/([^"]+)"/g)].map(([, path]) => path);
    assert.deepEqual(preloaded, [...seen].sort());
    const unused = readdirSync(`${STATIC}js`, { recursive: true }).map(String)
      .filter((path) => path.endsWith('.js') && !/^(docs|doctor)/.test(path) && !seen.has(`js/${path}`));
    assert.deepEqual(unused.sort(), ['legacy.js', 'main.js', 'tiles/contract.js']);
  });

  test('the script for old browsers is ES5, and no module writes markup', () => {
    const legacy = readFileSync(`${STATIC}js/legacy.js`, 'utf8');
    assert.doesNotMatch(legacy, /=>|`|\b(let|const|class|async|await)\b|\.\.\.|\?\.|\?\?/);
    for (const path of readdirSync(`${STATIC}js`, { recursive: true }).map(String).filter((path) => path.endsWith('.js'))) {
      assert.doesNotMatch(readFileSync(`${STATIC}js/${path}`, 'utf8'), /\.(innerHTML|outerHTML)\b|insertAdjacentHTML|document\.write|\beval\(/, path);
    }
  });
});
