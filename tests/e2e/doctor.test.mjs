// The doctor, on the command line and as a page: connected directly, behind the configuration in nginx/, and behind
// proxies with one mistake each.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { BINARY, TIMEOUT_MS, TOGETHER, onTestEnd, startServer } from './helpers.mjs';
import { freePort, startNginx } from './nginx.mjs';
import { startMisconfiguredNginx } from './misconfigured-nginx.mjs';

const TRUSTED = { TRICAST_TRUSTED_PROXIES: '127.0.0.1' };

const TOKENS = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: 'a secret of at least thirty-two bytes' };

const quick = ['--quick'];

/** Creates a token for a server with `TOKENS`. */
const createToken = async (args) =>
  (await promisify(execFile)(BINARY, args, { env: { PATH: process.env.PATH, ...TOKENS }, cwd: tmpdir() })).stdout.trim();

/** Runs `tricast doctor` and returns `{code, report, checks}`, with the checks by id. */
async function runDoctor(url, flags = quick) {
  const [code, stdout, stderr] = await new Promise((resolve) => {
    execFile(BINARY, ['doctor', url, '--json', ...flags], (error, out, err) => resolve([error?.code ?? 0, out, err]));
  });
  assert.ok(stdout.startsWith('{'), `${stdout}${stderr}`);
  const report = JSON.parse(stdout);
  const checks = Object.fromEntries(report.checks.map((check) => [check.id, check]));
  return { code, report, checks };
}

/** Returns the ids of the checks that warned or failed, each with the ids of its remedies. */
function findings({ report }) {
  // An uneven stream is caused by a busy machine, not by the configuration.
  const found = report.checks.filter(({ verdict, headline }) => ['warn', 'fail'].includes(verdict) && !headline.startsWith('uneven'));
  return Object.fromEntries(found.map(({ id, remedies }) => [id, remedies.map((remedy) => remedy.id)]));
}

/** Starts a proxy that forwards the handshake and then swallows everything `from` one side ('client' or 'server'). */
async function startSwallowingProxy(t, port, from) {
  const sockets = new Set();
  const proxy = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    let upgraded = false;
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => other.destroy());
    }
    near.on('data', (bytes) => (upgraded && from === 'client' ? undefined : far.write(bytes)));
    far.on('data', (bytes) => {
      if (upgraded) return from === 'server' ? undefined : near.write(bytes);
      upgraded = bytes.includes('HTTP/1.1 101');
      const end = bytes.indexOf('\r\n\r\n') + 4;
      return near.write(upgraded && from === 'server' ? bytes.subarray(0, end) : bytes);
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  onTestEnd(t, () => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return `http://127.0.0.1:${proxy.address().port}/`;
}

/** Starts a TLS proxy with a self-signed certificate in front of `port`. */
async function startTls(t, port, at = 0) {
  const key = (name) => readFileSync(new URL(`../keys/${name}`, import.meta.url));
  const sockets = new Set();
  const proxy = tls.createServer({ key: key('rsa.pem'), cert: key('self-signed.pem') }, (near) => {
    const far = net.connect(port, '127.0.0.1');
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => other.destroy());
      socket.pipe(other);
    }
  });
  proxy.listen(at, '127.0.0.1');
  await once(proxy, 'listening');
  onTestEnd(t, () => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return `https://127.0.0.1:${proxy.address().port}/`;
}

/**
 * Two proxies: the inner one consumes X-Accel-Buffering, so the outer one buffers. HTTP/1.0 is needed, because nginx
 * forwards chunks immediately whatever is configured, and HTTP/1.0 has none.
 */
const OLD_EVENTS = { proxies: 2, without: ['proxy_http_version'], within: ['= /events'] };
const BUFFERED = 'proxy_http_version 1.0;';

/** Each: name, misconfiguration, expected findings with their remedies, and a text of the report. */
const MISCONFIGURATIONS = [
  ['no upgrade', { without: ['Upgrade', 'upgrade'] }, { websocket: ['upgrade'] }, 'proxy_set_header Upgrade $http_upgrade;'],
  [
    'HTTP/1.0 to the server',
    { without: ['proxy_http_version'], more: { server: 'proxy_http_version 1.0;' } },
    { websocket: ['upgrade'], proxy: ['version'] },
    'proxy_http_version 1.1;',
  ],
  ['another Host', { without: ['Host'], more: { server: 'proxy_set_header X-Any any;' } }, { websocket: ['host'] }, 'proxy_set_header Host $http_host;'],
  [
    'buffering behind another nginx',
    { ...OLD_EVENTS, more: { '= /events': BUFFERED } },
    { events: ['buffering'] },
    'proxy_buffering off;',
  ],
  [
    'a small buffer',
    { ...OLD_EVENTS, more: { '= /events': `${BUFFERED} proxy_buffer_size 2k; proxy_buffers 4 2k; proxy_busy_buffers_size 4k;` } },
    { events: ['buffering'] },
    'batches, the largest of',
  ],
  ['compressed streams', { more: { '= /events': 'gzip on; gzip_types text/event-stream;' } }, { events: ['stream_compression'] }, 'gzip off;'],
  ['no ETag', { more: { '/api/': 'proxy_hide_header ETag;' } }, { polling: ['tags'] }, 'ETag'],
  [
    'rewritten bodies',
    { more: { '/api/': 'sub_filter_types application/json; sub_filter nothing something; proxy_set_header Accept-Encoding "";' } },
    { polling: ['tags'] },
    'ETag',
  ],
  ['no If-None-Match', { more: { '/api/': 'proxy_set_header If-None-Match "";' } }, { polling: ['request_headers'] }, 'proxy_pass_request_headers on; proxy_cache off;'],
  [
    'a cache',
    { more: { http: 'proxy_cache_path DIRECTORY/cache keys_zone=polls:1m;', '/api/': 'proxy_cache polls;' } },
    { polling: ['request_headers'] },
    'proxy_cache off;',
  ],
  ['no Prefer', { more: { '/api/': 'proxy_set_header Prefer "";' } }, { long_poll: ['request_headers'] }, 'Prefer'],
  ['cacheable responses', { more: { '/api/': 'expires 1h;' } }, { polling: ['caching'] }, 'expires off;'],
  ['small bodies', { more: { server: 'client_max_body_size 1k;' } }, { push: ['body'] }, 'client_max_body_size 1m;'],
  ['no address', { without: ['X-Forwarded-For'] }, { address: ['forwarded'] }, 'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;'],
  ['no path for WebSockets', { drop: ['= /ws'], more: { '/': 'location = /ws { return 404; }' } }, { websocket: ['passed'] }, 'proxy_pass'],
];

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--no-first-run'];

/** Options of a suite whose tests take seconds and measure time, so that few of them run concurrently. */
const FEW_AT_ONCE = { concurrency: 6, timeout: 240_000 };

/** Starts a server behind a misconfigured nginx. */
async function startMisconfigured(t, misconfiguration) {
  const server = await startServer(t, { env: TRUSTED });
  const port = misconfiguration.proxies === 2 ? (await startMisconfiguredNginx(t, server.port, {})).port : server.port;
  return startMisconfiguredNginx(t, port, misconfiguration);
}

describe('doctor on the command line', FEW_AT_ONCE, () => {
  test('a direct connection has no findings', async (t) => {
    const server = await startServer(t);
    const { code, report, checks } = await runDoctor(server.url);
    assert.deepEqual([code, report.verdict], [0, 'ok'], JSON.stringify(report, null, 1));
    assert.match(report.summary, /^WebSocket: works, .+\. Events: work, .+\. Polling: works, .+\.$/);
    assert.equal(checks.websocket.figures.largest_sent_bytes, 65_536);
    assert.ok(checks.websocket.figures.largest_received_bytes > 10_000);
  });

  test('the configuration in nginx/ has no findings, also with idle streams', async (t) => {
    const server = await startServer(t, { env: TRUSTED });
    const nginx = await startNginx(t, { ports: [server.port] });
    const { code, report, checks } = await runDoctor(nginx.url, ['--idle', '4']);
    assert.deepEqual([code, report.verdict], [0, 'ok'], JSON.stringify(report, null, 1));
    assert.match(checks.proxy.headline, /nginx/);
    assert.deepEqual([checks.idle_events.verdict, checks.idle_websocket.verdict], ['ok', 'ok']);
  });

  test('a missing trusted_proxies setting is found', async (t) => {
    const server = await startServer(t);
    const nginx = await startNginx(t, { ports: [server.port] });
    const { code, report, checks } = await runDoctor(nginx.url);
    assert.deepEqual([code, findings({ report })], [1, { address: ['trusted'] }]);
    assert.match(report.summary, /trusted_proxies = \["127\.0\.0\.1"\]/);
    assert.equal(checks.address.remedies[0].nginx, '');
  });

  for (const [name, misconfiguration, expected, text] of MISCONFIGURATIONS) {
    test(`a mistake in nginx is found: ${name}`, async (t) => {
      const nginx = await startMisconfigured(t, misconfiguration);
      const { code, report } = await runDoctor(nginx.url);
      assert.deepEqual([code, findings({ report })], [1, expected], JSON.stringify(report, null, 1));
      assert.ok(report.summary.includes(text) || JSON.stringify(report.checks).includes(text), report.summary);
    });
  }

  test('a short proxy_read_timeout is found for streams, sockets and held polls', async (t) => {
    const nginx = await startMisconfigured(t, { more: { server: 'proxy_read_timeout 2s;' } });
    const examined = await runDoctor(nginx.url, ['--idle', '5']);
    assert.deepEqual(findings(examined), {
      long_poll: ['poll_timeout'], idle_events: ['events_timeout'], idle_websocket: ['websocket_timeout'],
    }, JSON.stringify(examined.report, null, 1));
    for (const id of ['idle_events', 'idle_websocket', 'long_poll']) {
      const cut = examined.checks[id].figures.cut_after_ms;
      assert.ok(cut > 1_500 && cut < 4_500, `${id}: ${cut}`);
    }
    assert.match(examined.report.summary, /`proxy_read_timeout 60s;` is missing/);
  });

  for (const [from, part] of [['client', /one direction is blocked/], ['server', /greeting does not arrive/]]) {
    test(`a proxy that swallows the frames of the ${from} is found`, async (t) => {
      const server = await startServer(t);
      const { code, report, checks } = await runDoctor(await startSwallowingProxy(t, server.port, from));
      assert.deepEqual([code, findings({ report })], [1, { websocket: ['inspection'] }], JSON.stringify(report, null, 1));
      assert.equal(checks.websocket.headline, 'frames do not arrive');
      assert.match(checks.websocket.detail, part);
    });
  }

  test('an untrusted certificate is reported, and accepted with --insecure', async (t) => {
    const port = await freePort();
    // The proxy sends no X-Forwarded-Proto, so the server needs its public URL.
    const server = await startServer(t, { env: { TRICAST_PUBLIC_URL: `https://127.0.0.1:${port}/` } });
    const url = await startTls(t, server.port, port);
    const { code, checks } = await runDoctor(url);
    assert.equal(code, 1);
    assert.match(checks.reach.detail, /certificate is not trusted \(TLS\)/);
    const insecure = await runDoctor(url, ['--quick', '--insecure']);
    assert.deepEqual([insecure.code, insecure.report.verdict], [0, 'ok'], JSON.stringify(insecure.report, null, 1));
    const unaware = await startServer(t);
    const { report } = await runDoctor(await startTls(t, unaware.port), ['--quick', '--insecure']);
    assert.match(report.summary, /X-Forwarded-Proto \$scheme/, 'a server that does not know of TLS refuses the origin of its pages');
  });

  test('an unreachable server and a proxy without a server are reported', async (t) => {
    const unreachable = await runDoctor(`http://127.0.0.1:${await freePort()}/`);
    assert.deepEqual([unreachable.code, Object.keys(unreachable.checks)], [1, ['reach']]);
    assert.match(unreachable.checks.reach.detail, /connection refused/);
    const nginx = await startMisconfiguredNginx(t, await freePort(), {});
    const away = await runDoctor(nginx.url);
    assert.match(away.checks.reach.headline, /^502, by nginx/);
  });
});

describe('doctor as a page', { ...FEW_AT_ONCE, concurrency: 4 }, () => {
  let browser;
  before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? PATHS.find(existsSync), args: FLAGS });
  });
  after(() => browser?.close());

  /** Opens the page and waits for its first result. `problems` collects console errors, exceptions and foreign requests. */
  async function openDoctor(t, url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    onTestEnd(t, () => context.close());
    context.setDefaultTimeout(2 * TIMEOUT_MS);
    const page = await context.newPage();
    const problems = [];
    // A violation of the content security policy is an error on the console.
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('response', (response) => {
      if (!response.url().startsWith(url)) problems.push(`request to another origin: ${response.url()}`);
    });
    await page.goto(`${url}doctor`);
    if (options.javaScriptEnabled !== false) await waitForResult(page);
    return { page, context, problems };
  }

  const waitForResult = (page) => page.locator('#verdict:not(.verdict-busy)').waitFor();

  /** Returns the checks that warned or failed by id, each with the texts of its remedies. */
  const findingsOn = async (page) =>
    Object.fromEntries(
      await page.locator('.check-warn, .check-fail').evaluateAll((all) =>
        all.map((item) => [item.id.replace('check-', ''), [...item.querySelectorAll('.remedy')].map((code) => code.textContent)]),
      ),
    );

  test('a direct connection has no findings', async (t) => {
    const server = await startServer(t);
    const { page, problems } = await openDoctor(t, server.url);
    assert.match(await page.locator('#summary').textContent(), /^WebSocket: works, .+\. Events: work, .+\. Polling: works, .+\.$/);
    assert.equal(await page.locator('.check-ok').count(), 8);
    assert.deepEqual(problems, []);
  });

  test('the configuration in nginx/ has no findings', async (t) => {
    const server = await startServer(t, { env: TRUSTED });
    const nginx = await startNginx(t, { ports: [server.port] });
    const { page, problems } = await openDoctor(t, nginx.url);
    assert.deepEqual(await findingsOn(page), {}, await page.locator('#summary').textContent());
    assert.match(await page.locator('#check-proxy').textContent(), /nginx/);
    assert.deepEqual(problems, []);
  });

  for (const [name, misconfiguration, expected] of MISCONFIGURATIONS) {
    test(`a mistake in nginx is found: ${name}`, async (t) => {
      const nginx = await startMisconfigured(t, misconfiguration);
      const { page } = await openDoctor(t, nginx.url);
      const found = await findingsOn(page);
      // A page sends Origin with each push, which fails for the same reason.
      if (expected.websocket?.[0] === 'host') delete found.push;
      // Caused by a busy machine, as in `findings`.
      if (!expected.events && found.events?.length === 0) delete found.events;
      assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort(), await page.locator('#summary').textContent());
      const lines = (await (await fetch(`${nginx.url}api/doctor`)).json()).remedies;
      for (const [id, remedies] of Object.entries(expected)) {
        assert.deepEqual(found[id], remedies.map((remedy) => lines[remedy].nginx.replaceAll('; ', ';\n')), id);
      }
    });
  }

  test('a proxy that swallows frames is found', async (t) => {
    const server = await startServer(t);
    const { page } = await openDoctor(t, await startSwallowingProxy(t, server.port, 'client'));
    assert.match(await page.locator('#summary').textContent(), /WebSocket: frames do not arrive\./);
  });

  test('the checks can be repeated with a token and the report copied, by keyboard', async (t) => {
    const server = await startServer(t, { env: TOKENS });
    const { page, context, problems } = await openDoctor(t, server.url);
    await page.locator('#check-polling.check-skipped', { hasText: 'a token is needed' }).waitFor();
    await page.getByLabel('Token').fill(await createToken(['token', '--user', 'ada']));
    await page.keyboard.press('Enter');
    await page.locator('#verdict.verdict-busy').waitFor();
    await waitForResult(page);
    await page.locator('#check-polling.check-ok').waitFor();
    await page.locator('#check-websocket.check-ok').waitFor();
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Copy report' }).press('Enter');
    await page.locator('#announcer', { hasText: 'Copied' }).waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^tricast doctor http:[^]+\nok +WebSocket +works, [^]+Polling: works, .+\.\n$/);
    // The first run had no token and was refused.
    assert.deepEqual(problems.filter((text) => !text.includes('401')), []);
  });

  test('the page with findings has no horizontal scrolling at a width of 360 pixels', async (t) => {
    const nginx = await startMisconfigured(t, { without: ['Upgrade', 'upgrade', 'X-Forwarded-For'] });
    const { page } = await openDoctor(t, nginx.url, { viewport: { width: 360, height: 740 } });
    const [width, visible] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(width <= visible, `content of ${width} pixels in ${visible}`);
  });

  test('browsers without scripts or without modules show an explanation', async (t) => {
    const server = await startServer(t);
    const { page } = await openDoctor(t, server.url, { javaScriptEnabled: false });
    assert.match(await page.locator('noscript').textContent(), /tricast doctor/);
    assert.ok(await page.locator('noscript').isVisible());
    assert.ok(await page.locator('#controls').isHidden());
    const old = await (await browser.newContext()).newPage();
    onTestEnd(t, () => old.context().close());
    await old.route('**/doctor', async (route) => {
      const response = await route.fetch();
      const body = (await response.text()).replaceAll('type="module"', 'type="unknown"').replace('nomodule ', '');
      await route.fulfill({ response, body });
    });
    await old.goto(`${server.url}doctor`);
    await old.getByRole('alert').filter({ hasText: 'too old' }).waitFor();
  });
});
