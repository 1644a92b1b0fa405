// Correctness of what the dashboard shows, in Chromium: chart lines, ages, gaps, sessions and errors.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startBadProxy } from './bad-proxy.mjs';
import { tile, useBrowser, waitForBadge, waitForNumber } from './browser.mjs';
import { TOGETHER, runTricast, startServer, until } from './helpers.mjs';

const button = (page, name) => page.getByRole('button', { name, exact: true });
const SECRET = 'a secret of at least thirty-two bytes';
const TOKENS = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: SECRET };

/** Stores a dashboard with these tiles. */
const putDashboard = (server, tiles, name = 'Shop') => server.send('PUT', 'api/dashboards/default', { name, tiles });
const chart = (id, field, more = {}) => ({ id, type: 'chart', title: id.toUpperCase(), channel: 'metrics.shop', field, ...more });
const number = (id, field, more = {}) => ({ id, type: 'number', title: id.toUpperCase(), channel: 'metrics.shop', field, ...more });

/** Returns the values in the table of the chart with this title, newest first. */
async function tableOf(page, title) {
  const plot = tile(page, title).getByRole('application');
  await plot.blur();
  await plot.focus(); // the table is made when the chart gets the focus
  return page.locator(`#${await plot.getAttribute('aria-details')} td`).allTextContents();
}

/** Installs `moveClock(ms)` in the page, which moves its wall clock. */
function movableClock(by = 0) {
  const real = Date.now.bind(Date);
  let offset = by;
  Date.now = () => real() + offset;
  globalThis.moveClock = (ms) => (offset += ms);
}

describe('correctness of the dashboard', { ...TOGETHER, concurrency: 3, timeout: 180_000 }, () => {
  const openPage = useBrowser();

  async function open(t, server, { range = '5m', query = '', clock, ...options } = {}) {
    const page = await openPage(t, options);
    await page.addInitScript((range) => localStorage.setItem('tricast.range', range), range);
    if (clock !== undefined) await page.addInitScript(movableClock, clock);
    await page.goto(server.url + query);
    await waitForBadge(page, 'live');
    return page;
  }

  for (const range of ['1h', '24h']) {
    test(`a short peak is in the chart of ${range}, live and after a reload`, async (t) => {
      const server = await startServer(t, { env: { TRICAST_HISTORY__RESOLUTION: '0ms' } });
      await server.push({ channel: 'metrics.shop', data: { a: 100 } });
      await putDashboard(server, [chart('a', 'a')]);
      const page = await open(t, server, { range });
      const legend = tile(page, 'A').locator('.legend-value');
      for (const a of [5_000, 100]) {
        await server.push({ channel: 'metrics.shop', data: { a } });
        await legend.filter({ hasText: new RegExp(`^${a.toLocaleString('en')}$`) }).waitFor();
      }
      let shown;
      const hasPeak = async () => (shown = await tableOf(page, 'A')).some((value) => value.includes('5,000'));
      await until(hasPeak, 'the peak', () => `${shown}`);
      await page.reload();
      await until(hasPeak, 'the peak after a reload', () => `${shown}`);
      assert.deepEqual(page.problems, []);
    });
  }

  test('a tile without new data is marked, and one whose value is repeated is not', async (t) => {
    const server = await startServer(t);
    await server.push([
      { channel: 'metrics.shop', data: { a: 1 } },
      { channel: 'metrics.steady', data: { a: 1 } },
    ]);
    const options = { noDataAfter: '3s' };
    await putDashboard(server, [number('a', 'a', { options }), number('b', 'a', { channel: 'metrics.steady', options }), number('c', 'a')]);
    const steady = setInterval(() => server.push({ channel: 'metrics.steady', data: { a: 1 } }).catch(() => {}), 500);
    t.after(() => clearInterval(steady));
    const page = await open(t, server);
    await tile(page, 'A').locator('.card-corner', { hasText: /^No data for \d+ s$/ }).waitFor();
    assert.equal(await tile(page, 'A').getAttribute('data-silent'), 'true');
    for (const title of ['B', 'C']) assert.equal(await tile(page, title).getAttribute('data-silent'), 'false', title);
    await server.push({ channel: 'metrics.shop', data: { a: 2 } });
    await page.locator('.card[data-tile=a][data-silent=false]').waitFor();
    assert.equal(await tile(page, 'A').locator('.card-corner').textContent(), '');
    assert.deepEqual(page.problems, []);
  });

  test('a field without new data is marked while another field of its channel is written', async (t) => {
    const server = await startServer(t);
    const merge = (data) => server.push({ channel: 'metrics.shop', merge: true, data });
    await merge({ a: 1 });
    await merge({ b: 1, c: 1 });
    const options = { noDataAfter: '3s' };
    await putDashboard(server, [
      number('a', 'a', { options }),
      number('b', 'b', { options }),
      chart('both', undefined, { fields: ['a', 'b'], options }),
      { id: 'all', type: 'table', title: 'ALL', channel: 'metrics.shop', options },
    ]);
    let a = 1;
    const alive = setInterval(() => merge({ a: (a += 1) }).catch(() => {}), 500);
    t.after(() => clearInterval(alive));
    const page = await open(t, server);
    const corner = (title) => tile(page, title).locator('.card-corner');
    await corner('B').filter({ hasText: /^No data for \d+ s$/ }).waitFor();
    assert.equal(await tile(page, 'B').getAttribute('data-silent'), 'true');
    assert.equal(await tile(page, 'A').getAttribute('data-silent'), 'false');
    await corner('BOTH').filter({ hasText: /^B: no data for \d+ s$/ }).waitFor();
    await corner('ALL').filter({ hasText: /^B, C: no data for \d+ s$/ }).waitFor();
    assert.deepEqual(await tile(page, 'BOTH').locator('.legend-item[data-silent=true] .legend-name').allTextContents(), ['B']);
    assert.equal(await tile(page, 'ALL').locator('tr[data-silent=true]').count(), 2);
    // The line of the silent field ends, and that of the other one goes on.
    let rows;
    const hasEnded = async () => {
      rows = await tableOf(page, 'BOTH');
      return rows[1] === '—' && rows[0] !== '—';
    };
    await until(hasEnded, 'the end of the line', () => `${rows}`);

    let b = 1;
    const again = setInterval(() => merge({ b: (b += 1) }).catch(() => {}), 500);
    t.after(() => clearInterval(again));
    await page.locator('.card[data-tile=b][data-silent=false]').waitFor();
    await corner('ALL').filter({ hasText: /^C: no data for \d+ s$/ }).waitFor();
    await until(async () => Number((rows = await tableOf(page, 'BOTH'))[1]) > 1, 'the line to go on', () => `${rows}`);
    assert.deepEqual(page.problems, []);
  });

  test('a value restored after a restart is marked until it is pushed again', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await putDashboard(server, [number('a', 'a')]);
    const page = await openPage(t);
    let old = true;
    await page.route('**/api/channels?channels=*', async (route) => {
      const response = await route.fetch();
      const json = await response.json();
      for (const line of json.channels) if (old) Object.assign(line, { age: 'PT3H', idle: 'PT3H', pace: null, restored: true });
      await route.fulfill({ response, json });
    });
    await page.goto(server.url);
    await tile(page, 'A').locator('.card-corner', { hasText: /^3 h ago, before a restart$/ }).waitFor();
    assert.equal(await tile(page, 'A').getAttribute('data-silent'), 'true');
    old = false;
    await server.push({ channel: 'metrics.shop', data: { a: 2 } });
    await page.locator('.card[data-tile=a][data-silent=false]').waitFor();
    assert.deepEqual(page.problems, []);
  });

  for (const minutes of [-20, 20]) {
    test(`numbers and charts continue after a clock change of ${minutes} minutes`, async (t) => {
      const server = await startServer(t, { env: { TRICAST_HISTORY__RESOLUTION: '0ms' } });
      await server.push({ channel: 'metrics.shop', data: { a: 1 } });
      await putDashboard(server, [number('a', 'a'), chart('b', 'a')]);
      const page = await open(t, server, { clock: 0 });
      await waitForNumber(page, 'A', /^1$/);
      await page.evaluate((ms) => globalThis.moveClock(ms), minutes * 60_000);
      for (const a of [2, 3]) {
        // A chart keeps one value per second.
        const second = Math.floor(performance.now() / 1_100);
        await until(() => Math.floor(performance.now() / 1_100) > second, 'the next second');
        await server.push({ channel: 'metrics.shop', data: { a } });
        await waitForNumber(page, 'A', new RegExp(`^${a}$`));
      }
      let shown;
      const hasAll = async () => {
        shown = await tableOf(page, 'B');
        return ['1', '2', '3'].every((value) => shown.includes(value));
      };
      await until(hasAll, 'all values', () => `${shown}`);
      assert.equal(await page.locator('#badge').getAttribute('data-state'), 'live');
      assert.equal(await tile(page, 'A').locator('.card-corner').textContent(), '');
      assert.deepEqual(page.problems, []);
    });
  }

  for (const hours of [-1, 1]) {
    test(`the time since an alert is correct with a clock offset of ${hours} h`, async (t) => {
      const server = await startServer(t);
      await server.push({ channel: 'metrics.shop', data: { a: 5 } });
      const rule = { id: 'r', name: 'Sales', channel: 'metrics.shop', field: 'a', condition: { below: 1 }, severity: 'critical', message: 'Sales have stopped' };
      await server.send('POST', 'api/alerts/rules', rule);
      await putDashboard(server, [{ id: 'al', type: 'alerts', title: 'Alerts', channel: 'alerts' }]);
      const page = await open(t, server, { clock: hours * 3_600_000 });
      await server.push({ channel: 'metrics.shop', data: { a: 0 } });
      await tile(page, 'Alerts').locator('time', { hasText: /^([1-9]|[1-5]\d) s ago$/ }).waitFor();
      assert.deepEqual(page.problems, []);
    });
  }

  test('ages keep increasing after an edit that failed while offline', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await putDashboard(server, [number('a', 'a'), number('b', 'a')]);
    const page = await open(t, server, { expected: /./ });
    await waitForNumber(page, 'A', /^1$/);
    await button(page, 'Edit').click();
    await page.context().setOffline(true);
    await tile(page, 'A').locator('.card-corner', { hasText: /^([4-9]|\d\d) s ago$/ }).waitFor();
    await button(page, 'Remove B').click();
    await page.locator('.toast', { hasText: 'Not saved' }).waitFor();
    await tile(page, 'B').waitFor();
    assert.match(await tile(page, 'A').locator('.card-corner').textContent(), /^([4-9]|\d\d) s ago$/);
    // The message disappears when the connection is back.
    await page.context().setOffline(false);
    await waitForBadge(page, 'live');
    await page.locator('.toast').waitFor({ state: 'detached' });
  });

  test('any response of the server triggers an immediate reconnect', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await putDashboard(server, [number('a', 'a')]);
    const proxy = await startBadProxy(t, server.port);
    const page = await openPage(t, { expected: /./ });
    // Makes each backoff delay very long, so that only the response can end it.
    await page.addInitScript(() => {
      Math.random = () => 1_000;
    });
    await page.goto(`${proxy.url}?transport=ws`);
    await waitForBadge(page, 'live');
    proxy.mode.websocket = 'refuse';
    proxy.cut();
    await page.locator('#badge[data-state=offline] #badge-brief', { hasText: /Retrying in \d+ m/ }).waitFor();
    proxy.mode.websocket = 'pass';
    await page.locator('#boards > summary').click(); // reads the list of boards
    await waitForBadge(page, 'live');
  });

  test('a missing dashboard cannot be edited, and a new one can be created', async (t) => {
    const server = await startServer(t);
    const page = await openPage(t, { expected: /api\/dashboards\// });
    await page.goto(`${server.url}?board=nope`);
    await page.locator('#board-note', { hasText: 'There is no such dashboard' }).waitFor();
    assert.equal(await page.locator('#edit').isVisible(), false);
    await page.locator('#boards > summary').click();
    await page.getByRole('link', { name: 'Overview' }).waitFor();
    assert.equal(await button(page, 'Rename …').count(), 0);
    await page.keyboard.press('Escape');
    await page.locator('#create').click();
    await page.getByRole('dialog').getByLabel('Name').fill('Night shift');
    await button(page, 'Create').click();
    await page.locator('#board-name', { hasText: 'Night shift' }).waitFor();
    await button(page, 'Edit').waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('a printed dashboard has all charts at the width of the paper, no controls, and a title with the time', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.shop', data: { a: 1 } });
    await putDashboard(server, [...'abcdefgh'].map((id) => chart(id, 'a', { width: 12, height: 6 })));
    const page = await open(t, server, { viewport: { width: 1_600, height: 700 }, colorScheme: 'dark' });
    await tile(page, 'A').locator('canvas').waitFor();
    const printed = await page.evaluate(() => {
      dispatchEvent(new Event('beforeprint'));
      const canvases = [...document.querySelectorAll('.chart-plot canvas')];
      const widest = Math.max(...canvases.map((canvas) => canvas.getBoundingClientRect().right));
      const drawn = canvases.filter((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.some((value) => value > 0);
      });
      const hidden = ['.controls', '#badge', '.foot'].every((name) => document.querySelector(name).getClientRects().length === 0);
      const { backgroundColor } = getComputedStyle(document.querySelector('.card'));
      const title = document.querySelector('.print-head').textContent;
      dispatchEvent(new Event('afterprint'));
      return { canvases: canvases.length, drawn: drawn.length, widest, width: (185 / 25.4) * 96, hidden, backgroundColor, title };
    });
    assert.deepEqual([printed.canvases, printed.drawn], [8, 8]);
    assert.ok(printed.widest <= printed.width + 1, `${printed.widest} of ${printed.width}`);
    assert.ok(printed.hidden);
    assert.equal(printed.backgroundColor, 'rgb(255, 255, 255)');
    assert.match(printed.title, /Shop · 5m\s+\d+ \w+ \d{4}/);
    assert.equal(await page.locator('.controls').isVisible(), true);
    assert.deepEqual(page.problems, []);
  });

  const SCREENS = { 'a full HD screen': { width: 1920, height: 1080 }, 'a 4K screen': { width: 3840, height: 2160 } };
  for (const [name, viewport] of Object.entries(SCREENS)) {
    test(`the wall view fits all tiles on ${name} without clipping`, async (t) => {
      const server = await startServer(t);
      await server.push({ channel: 'metrics.shop', data: { a: 1 } });
      const tiles = [...'abcdefghijklABCDEFGHIJKL'].map((id, n) => number(id, 'a', { title: `${n}`, height: n < 12 ? 2 : 1, width: 4 }));
      await putDashboard(server, [...tiles, ...[...'mnopqr'].map((id) => chart(id, 'a', { width: 6, height: 4 }))]);
      const page = await open(t, server, { viewport, query: '?view=wall' });
      await page.locator('.number-value', { hasText: /^1$/ }).first().waitFor();
      let layout;
      const fits = async () => {
        layout = await page.evaluate(() => {
          const cards = [...document.querySelectorAll('.card')].filter((card) => card.getClientRects().length > 0);
          const bottom = Math.max(...cards.map((card) => card.getBoundingClientRect().bottom));
          const clipped = cards.filter((card) => {
            const inner = card.querySelector('.number-value, .legend');
            return inner !== null && inner.getBoundingClientRect().bottom > card.getBoundingClientRect().bottom;
          });
          const fontSize = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
          return { cards: cards.length, below: bottom - innerHeight, clipped: clipped.length, fontSize };
        });
        return layout.below <= 0 && layout.clipped === 0 && layout.cards > 0;
      };
      await until(fits, 'everything within the screen', () => JSON.stringify(layout));
      assert.ok(layout.fontSize >= 0.7 * (viewport.width / 120), JSON.stringify(layout));
      assert.equal(await button(page, 'Edit').count(), 0);
      // The other tiles are on further parts.
      const shown = new Set();
      const collect = async () => {
        for (const title of await page.locator('.card:visible .card-title').allTextContents()) shown.add(title);
        await page.keyboard.press('ArrowRight');
        return shown.size === 30;
      };
      await until(collect, 'all tiles on all parts', () => [...shown].join());
      assert.deepEqual(page.problems, []);
    });
  }

  test('signing in and out affects all pages of the browser', async (t) => {
    const server = await startServer(t, { env: TOKENS });
    const token = await runTricast(['token', '--user', 'ada', '--permissions', 'read:metrics,read:orders'], TOKENS);
    const page = await openPage(t, { expected: /api\// });
    await page.goto(server.url);
    await page.getByLabel('Token').fill('two words');
    await button(page, 'Sign in').click();
    await page.locator('#signin-problem', { hasText: 'That doesn’t look like a token' }).waitFor();
    await page.getByLabel('Token').fill(token);
    await button(page, 'Sign in').click();
    await waitForBadge(page, 'live');
    assert.equal(await page.evaluate(() => document.cookie), '', 'scripts can’t read it');
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);

    const other = await page.context().newPage();
    await other.goto(server.url);
    await waitForBadge(other, 'live');
    await other.locator('#user-name', { hasText: 'ada' }).waitFor();
    const plain = await page.context().newPage();
    await plain.goto(`${server.url}basic`);
    await plain.getByRole('heading', { name: 'infrastructure' }).waitFor();
    await plain.goto(`${server.url}doctor`);
    await plain.locator('#check-polling.check-ok').waitFor();

    await button(other, 'Sign out').click();
    for (const one of [other, page]) await one.getByLabel('Token').waitFor();
    await plain.goto(`${server.url}basic`);
    await plain.getByText('You are not signed in.').waitFor();
  });

  test('without a session cookie the token is kept in the tab', async (t) => {
    const server = await startServer(t, { env: TOKENS });
    const token = await runTricast(['token', '--user', 'ada', '--permissions', 'read:metrics'], TOKENS);
    const page = await openPage(t, { expected: /api\// });
    await page.route('**/api/session', (route) => route.fulfill({ status: 403, contentType: 'application/problem+json', json: { code: 'FORBIDDEN' } }));
    await page.goto(server.url);
    await page.getByLabel('Token').fill(token);
    await button(page, 'Sign in').click();
    await waitForBadge(page, 'live');
    await page.reload();
    await waitForBadge(page, 'live');
    await page.goto(`${server.url}doctor`); // the same tab
    await page.locator('#check-polling.check-ok').waitFor();
  });

  test('an expired session shows its end time and no user name', async (t) => {
    const server = await startServer(t, { env: { ...TOKENS, TRICAST_AUTH__LEEWAY: '0s' } });
    const page = await openPage(t, { expected: /./ });
    await page.goto(server.url);
    const token = await runTricast(['token', '--user', 'bob', '--permissions', 'read:metrics', '--expires', '8s'], TOKENS);
    await page.getByLabel('Token').fill(token);
    await button(page, 'Sign in').click();
    await waitForBadge(page, 'live');
    await page.locator('#signin-problem', { hasText: /^Your session ended at \d\d:\d\d\. Sign in again\.$/ }).waitFor();
    assert.equal(await page.locator('#user').isVisible(), false);
  });

  test('a tile without permission shows the reason', async (t) => {
    const server = await startServer(t, { env: TOKENS });
    const token = await runTricast(['token', '--user', 'eve', '--permissions', 'read:metrics'], TOKENS);
    const page = await openPage(t, { expected: /api\// });
    await page.goto(server.url);
    await page.getByLabel('Token').fill(token);
    await button(page, 'Sign in').click();
    await waitForBadge(page, 'live');
    await tile(page, 'Alerts').getByText('You don’t have permission to view alerts.').waitFor();
    assert.equal(await tile(page, 'Orders today').isVisible(), false, 'the first dashboard has a shop only for its readers');
    // The same applies to the parts of the snapshot.
    const admin = await runTricast(['token', '--user', 'root', '--admin'], TOKENS);
    const tiles = [
      { id: 'n', type: 'number', title: 'Revenue', channel: 'metrics', field: 'business.revenue_today' },
      { id: 'c', type: 'chart', title: 'Both', channel: 'metrics', fields: ['business.orders_today', 'api.active_users'] },
      { id: 't', type: 'table', title: 'All', channel: 'metrics' },
    ];
    const headers = { Authorization: `Bearer ${admin}`, 'Content-Type': 'application/json' };
    const response = await fetch(`${server.url}api/dashboards/default`, { method: 'PUT', headers, body: JSON.stringify({ name: 'Shop', tiles }) });
    assert.equal(response.status, 200);
    for (const title of ['Revenue', 'Both']) await tile(page, title).getByText('You don’t have permission to view orders.').waitFor();
    await tile(page, 'All').getByText('No permission').first().waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('amounts are shown with their currency, and a list of objects as a table', async (t) => {
    const server = await startServer(t);
    const nodes = [
      { node: 'a', cpu_usage: 12.5, up: true },
      { node: 'b', cpu_usage: 30, up: false },
    ];
    await server.push({ channel: 'metrics.cluster', data: { nodes } });
    await server.order('Ada');
    await putDashboard(server, [
      { id: 'b', type: 'table', title: 'Business', channel: 'metrics.business' },
      { id: 'n', type: 'table', title: 'Nodes', channel: 'metrics.cluster', fields: ['nodes'] },
    ]);
    const page = await open(t, server);
    await tile(page, 'Business').locator('td', { hasText: /^€19\.90$/ }).waitFor();
    assert.deepEqual(await tile(page, 'Nodes').locator('tbody tr').allTextContents(), ['12.5 %atrue', '30.0 %bfalse']);
    await button(page, 'Edit').click();
    await button(page, 'Edit Nodes').click();
    assert.equal(await page.getByRole('dialog').getByLabel('Columns').inputValue(), 'nodes');
    assert.deepEqual(page.problems, []);
  });

  test('a chart has axes for two units and refuses a third', async (t) => {
    const server = await startServer(t);
    const data = { orders: 3, latency_ms: 120, body_bytes: 5_000, error_ratio: 0.1, a: 1, b: 2, c: 3, d: 4, e: 5 };
    await server.push({ channel: 'metrics.shop', data });
    await putDashboard(server, [
      chart('two', undefined, { fields: ['orders', 'latency_ms'] }),
      chart('three', undefined, { fields: ['orders', 'latency_ms', 'body_bytes'] }),
    ]);
    const page = await open(t, server);
    await tile(page, 'TWO').locator('.u-over').waitFor();
    const margins = await page.locator('.card[data-tile=two] .uplot').evaluate((node) => {
      const over = node.querySelector('.u-over').getBoundingClientRect();
      const wrap = node.querySelector('.u-wrap').getBoundingClientRect();
      return [over.left - wrap.left, wrap.right - over.right];
    });
    assert.ok(margins.every((margin) => margin > 20), `margins for an axis on both sides: ${margins}`);
    await tile(page, 'THREE').getByText('Not drawn: Body bytes. A chart has room for two units.').waitFor();

    await button(page, 'Edit').click();
    await button(page, 'Add tile').click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Kind').selectOption('chart');
    await dialog.getByRole('searchbox').fill('shop');
    const field = (name) => dialog.getByRole('checkbox', { name: `${name} of metrics.shop`, exact: true });
    for (const name of ['orders', 'latency_ms']) await field(name).check();
    assert.equal(await field('body_bytes').isDisabled(), true);
    await dialog.getByText('A chart has room for two units.').waitFor();
    for (const name of ['a', 'b', 'c', 'd']) await field(name).check();
    assert.equal(await field('e').isDisabled(), true, 'at most six fields');
    await dialog.getByLabel('Title').fill('Many');
    await dialog.getByRole('button', { name: 'Add' }).click();
    await tile(page, 'Many').locator('.u-over').waitFor();
    assert.deepEqual(page.problems, []);
  });

  test('the tile dialog shows that the server isn’t responding', async (t) => {
    const server = await startServer(t);
    const page = await open(t, server, { expected: /./ });
    await button(page, 'Edit').click();
    await page.context().setOffline(true);
    await button(page, 'Add tile').click();
    await page.getByRole('dialog').getByText('The server isn’t responding.').waitFor();
  });

  test('the message about a failed change stays until it is closed or the connection is back', async (t) => {
    const server = await startServer(t);
    const { orderId } = await server.order('Ada');
    const page = await open(t, server, { expected: /./ });
    const problem = tile(page, 'Newest orders').locator('.tile-problem');
    await page.context().setOffline(true);
    await page.locator('#main[data-fresh=false]').waitFor();
    await page.getByLabel(`Priority of ${orderId}`).selectOption('urgent');
    await problem.getByText(`Couldn’t change the priority of ${orderId}: the server isn’t responding.`).waitFor();
    await problem.getByRole('button').click();
    await problem.waitFor({ state: 'hidden' });
    await page.getByLabel(`Priority of ${orderId}`).selectOption('urgent');
    await problem.waitFor();
    await page.context().setOffline(false);
    await waitForBadge(page, 'live');
    await problem.waitFor({ state: 'hidden' });
  });

  test('a notice marks demo data', async (t) => {
    const [demo, plain] = [await startServer(t, { flags: ['--demo'] }), await startServer(t)];
    const page = await open(t, demo);
    await page.getByText('Demo data: the orders, visits and deploys on this server are simulated.').waitFor();
    const other = await open(t, plain);
    assert.equal(await other.locator('#demo').isVisible(), false);
  });

  test('the demo does not overwrite pushed values', async (t) => {
    const demo = await startServer(t, { flags: ['--demo'] });
    const value = async (channel) => (await (await fetch(`${demo.url}api/metrics/${channel}`)).json()).data;
    await until(async () => (await value('metrics.checkout'))?.active_carts !== undefined, 'the simulated value');
    const orders = async () => (await value('metrics.orders')).ordersToday;
    // One overwrite is possible, by a simulated push that was already in progress.
    const isKept = async () => {
      await demo.push({ channel: 'metrics.checkout', data: { latency_p95: 180 } });
      const before = await orders();
      await until(async () => (await orders()) > before, 'the next simulated order');
      return (await value('metrics.checkout')).latency_p95 === 180;
    };
    await until(async () => (await isKept()) && (await isKept()), 'the pushed value to be kept');
  });
});
