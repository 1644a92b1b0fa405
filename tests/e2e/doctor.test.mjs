// The path doctor, on the command line and as a page: right in front of the server, behind the configuration in nginx/,
// and behind proxies that each have one thing wrong.

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
import { BINARY, PATIENCE_MS, TOGETHER, atEnd, startServer } from './helpers.mjs';
import { freePort, startNginx } from './nginx.mjs';
import { startSpoiltNginx } from './spoilt-nginx.mjs';

const TRUSTED = { TRICAST_TRUSTED_PROXIES: '127.0.0.1' };

const TOKENS = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: 'a secret of at least thirty-two bytes' };

const quick = ['--quick'];

/** A token of a server with these settings. */
const mint = async (args) =>
  (await promisify(execFile)(BINARY, args, { env: { PATH: process.env.PATH, ...TOKENS }, cwd: tmpdir() })).stdout.trim();

/** Runs `tricast doctor`: `{code, report, checks}` with the checks by their names. */
async function examine(url, flags = quick) {
  const [code, stdout, stderr] = await new Promise((resolve) => {
    execFile(BINARY, ['doctor', url, '--json', ...flags], (error, out, err) => resolve([error?.code ?? 0, out, err]));
  });
  assert.ok(stdout.startsWith('{'), `${stdout}${stderr}`);
  const report = JSON.parse(stdout);
  const checks = Object.fromEntries(report.checks.map((check) => [check.id, check]));
  return { code, report, checks };
}

/** The names of the checks that found something, each with the names of its remedies. */
function findings({ report }) {
  // An uneven stream says that this machine was busy; there is no remedy for it in the configuration.
  const found = report.checks.filter(({ verdict, headline }) => ['warn', 'fail'].includes(verdict) && !headline.startsWith('uneven'));
  return Object.fromEntries(found.map(({ id, remedies }) => [id, remedies.map((remedy) => remedy.id)]));
}

/** A proxy that passes the answer to a handshake and then swallows whatever `from` one side ('client' or 'server') comes. */
async function startSwallowing(t, port, from) {
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
  atEnd(t, () => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return `http://127.0.0.1:${proxy.address().port}/`;
}

/** TLS with a certificate that nobody trusts, in front of `port`. */
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
  atEnd(t, () => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return `https://127.0.0.1:${proxy.address().port}/`;
}

/**
 * Two proxies: the inner one takes X-Accel-Buffering for itself, so the outer one never hears of it. And nginx gives
 * chunks on as they come, whatever is set; an answer in HTTP/1.0 has none.
 */
const OLD_EVENTS = { proxies: 2, without: ['proxy_http_version'], within: ['= /events'] };
const BUFFERED = 'proxy_http_version 1.0;';

/** Each: what is wrong, how nginx is spoilt, what is found with which remedy, and what the summary has to say. */
const SPOILT = [
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
    'bodies that are rewritten',
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
  ['answers that keep', { more: { '/api/': 'expires 1h;' } }, { polling: ['caching'] }, 'expires off;'],
  ['small bodies', { more: { server: 'client_max_body_size 1k;' } }, { push: ['body'] }, 'client_max_body_size 1m;'],
  ['no address', { without: ['X-Forwarded-For'] }, { address: ['forwarded'] }, 'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;'],
  ['no path for WebSockets', { drop: ['= /ws'], more: { '/': 'location = /ws { return 404; }' } }, { websocket: ['passed'] }, 'proxy_pass'],
];

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--no-first-run'];

/** Each takes seconds and measures time: not all at once. */
const FEW = { concurrency: 6, timeout: 240_000 };

/** The server behind nginx that is spoilt so. */
async function startSpoilt(t, spoilt) {
  const server = await startServer(t, { env: TRUSTED });
  const port = spoilt.proxies === 2 ? (await startSpoiltNginx(t, server.port, {})).port : server.port;
  return startSpoiltNginx(t, port, spoilt);
}

describe('doctor on the command line', FEW, () => {
  test('right in front of the server all is well', async (t) => {
    const server = await startServer(t);
    const { code, report, checks } = await examine(server.url);
    assert.deepEqual([code, report.verdict], [0, 'ok'], JSON.stringify(report, null, 1));
    assert.match(report.summary, /^WebSocket: works, .+\. Events: work, .+\. Polling: works, .+\.$/);
    assert.equal(checks.websocket.figures.largest_sent_bytes, 65_536);
    assert.ok(checks.websocket.figures.largest_received_bytes > 10_000);
  });

  test('behind the configuration in nginx/ all is well, also in silence', async (t) => {
    const server = await startServer(t, { env: TRUSTED });
    const nginx = await startNginx(t, { ports: [server.port] });
    const { code, report, checks } = await examine(nginx.url, ['--idle', '4']);
    assert.deepEqual([code, report.verdict], [0, 'ok'], JSON.stringify(report, null, 1));
    assert.match(checks.proxy.headline, /nginx/);
    assert.deepEqual([checks.idle_events.verdict, checks.idle_websocket.verdict], ['ok', 'ok']);
  });

  test('a server that was not told to trust its proxy is told so', async (t) => {
    const server = await startServer(t);
    const nginx = await startNginx(t, { ports: [server.port] });
    const { code, report, checks } = await examine(nginx.url);
    assert.deepEqual([code, findings({ report })], [1, { address: ['trusted'] }]);
    assert.match(report.summary, /trusted_proxies = \["127\.0\.0\.1"\]/);
    assert.equal(checks.address.remedies[0].nginx, '');
  });

  for (const [name, spoilt, expected, said] of SPOILT) {
    test(`nginx with ${name}`, async (t) => {
      const nginx = await startSpoilt(t, spoilt);
      const { code, report } = await examine(nginx.url);
      assert.deepEqual([code, findings({ report })], [1, expected], JSON.stringify(report, null, 1));
      assert.ok(report.summary.includes(said) || JSON.stringify(report.checks).includes(said), report.summary);
    });
  }

  test('a short proxy_read_timeout is found for streams, sockets and held polls', async (t) => {
    const nginx = await startSpoilt(t, { more: { server: 'proxy_read_timeout 2s;' } });
    const examined = await examine(nginx.url, ['--idle', '5']);
    assert.deepEqual(findings(examined), {
      long_poll: ['poll_timeout'], idle_events: ['events_timeout'], idle_websocket: ['websocket_timeout'],
    }, JSON.stringify(examined.report, null, 1));
    for (const id of ['idle_events', 'idle_websocket', 'long_poll']) {
      const cut = examined.checks[id].figures.cut_after_ms;
      assert.ok(cut > 1_500 && cut < 4_500, `${id}: ${cut}`);
    }
    assert.match(examined.report.summary, /`proxy_read_timeout 60s;` is missing/);
  });

  for (const [from, part] of [['client', /one direction is blocked/], ['server', /greeting never comes/]]) {
    test(`a proxy that swallows the frames of the ${from}`, async (t) => {
      const server = await startServer(t);
      const { code, report, checks } = await examine(await startSwallowing(t, server.port, from));
      assert.deepEqual([code, findings({ report })], [1, { websocket: ['inspection'] }], JSON.stringify(report, null, 1));
      assert.equal(checks.websocket.headline, 'frames are swallowed');
      assert.match(checks.websocket.detail, part);
    });
  }

  test('a certificate that nobody trusts is named, and taken if one insists', async (t) => {
    const port = await freePort();
    // A proxy that says nothing of TLS: the server has to be given its address.
    const server = await startServer(t, { env: { TRICAST_PUBLIC_URL: `https://127.0.0.1:${port}/` } });
    const url = await startTls(t, server.port, port);
    const { code, checks } = await examine(url);
    assert.equal(code, 1);
    assert.match(checks.reach.detail, /certificate is not trusted \(TLS\)/);
    const insecure = await examine(url, ['--quick', '--insecure']);
    assert.deepEqual([insecure.code, insecure.report.verdict], [0, 'ok'], JSON.stringify(insecure.report, null, 1));
    const unaware = await startServer(t);
    const { report } = await examine(await startTls(t, unaware.port), ['--quick', '--insecure']);
    assert.match(report.summary, /X-Forwarded-Proto \$scheme/, 'pages over TLS are foreign to a server that does not know of it');
  });

  test('a server that is not there, and one that is something else', async (t) => {
    const nowhere = await examine(`http://127.0.0.1:${await freePort()}/`);
    assert.deepEqual([nowhere.code, Object.keys(nowhere.checks)], [1, ['reach']]);
    assert.match(nowhere.checks.reach.detail, /connection refused/);
    const nginx = await startSpoiltNginx(t, await freePort(), {});
    const away = await examine(nginx.url);
    assert.match(away.checks.reach.headline, /^502, by nginx/);
  });
});

describe('doctor as a page', { ...FEW, concurrency: 4 }, () => {
  let browser;
  before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? PATHS.find(existsSync), args: FLAGS });
  });
  after(() => browser?.close());

  /** The page, when it has come to its first conclusion. `complaints` fills with whatever goes wrong in it. */
  async function openDoctor(t, url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    atEnd(t, () => context.close());
    context.setDefaultTimeout(2 * PATIENCE_MS);
    const page = await context.newPage();
    const complaints = [];
    // A violation of the content security policy is an error on the console.
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('response', (response) => {
      if (!response.url().startsWith(url)) complaints.push(`elsewhere: ${response.url()}`);
    });
    await page.goto(`${url}doctor`);
    if (options.javaScriptEnabled !== false) await concluded(page);
    return { page, context, complaints };
  }

  const concluded = (page) => page.locator('#verdict:not(.verdict-busy)').waitFor();

  /** What it found, in the words of the command line's report. */
  const foundOn = async (page) =>
    Object.fromEntries(
      await page.locator('.check-warn, .check-fail').evaluateAll((all) =>
        all.map((item) => [item.id.replace('check-', ''), [...item.querySelectorAll('.remedy')].map((code) => code.textContent)]),
      ),
    );

  test('right in front of the server all is well', async (t) => {
    const server = await startServer(t);
    const { page, complaints } = await openDoctor(t, server.url);
    assert.match(await page.locator('#summary').textContent(), /^WebSocket: works, .+\. Events: work, .+\. Polling: works, .+\.$/);
    assert.equal(await page.locator('.check-ok').count(), 8);
    assert.deepEqual(complaints, []);
  });

  test('behind the configuration in nginx/ all is well', async (t) => {
    const server = await startServer(t, { env: TRUSTED });
    const nginx = await startNginx(t, { ports: [server.port] });
    const { page, complaints } = await openDoctor(t, nginx.url);
    assert.deepEqual(await foundOn(page), {}, await page.locator('#summary').textContent());
    assert.match(await page.locator('#check-proxy').textContent(), /nginx/);
    assert.deepEqual(complaints, []);
  });

  for (const [name, spoilt, expected] of SPOILT) {
    test(`nginx with ${name}`, async (t) => {
      const nginx = await startSpoilt(t, spoilt);
      const { page } = await openDoctor(t, nginx.url);
      const found = await foundOn(page);
      // A page says Origin with each push, too.
      if (expected.websocket?.[0] === 'host') delete found.push;
      // As in `findings`.
      if (!expected.events && found.events?.length === 0) delete found.events;
      assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort(), await page.locator('#summary').textContent());
      const lines = (await (await fetch(`${nginx.url}api/doctor`)).json()).remedies;
      for (const [id, remedies] of Object.entries(expected)) {
        assert.deepEqual(found[id], remedies.map((remedy) => lines[remedy].nginx.replaceAll('; ', ';\n')), id);
      }
    });
  }

  test('a proxy that swallows frames', async (t) => {
    const server = await startServer(t);
    const { page } = await openDoctor(t, await startSwallowing(t, server.port, 'client'));
    assert.match(await page.locator('#summary').textContent(), /WebSocket: frames are swallowed\./);
  });

  test('the report can be copied, and the examination repeated with a token, by keyboard', async (t) => {
    const server = await startServer(t, { env: TOKENS });
    const { page, context, complaints } = await openDoctor(t, server.url);
    await page.locator('#check-polling.check-skipped', { hasText: 'a token is needed' }).waitFor();
    await page.getByLabel('Token').fill(await mint(['token', '--user', 'ada']));
    await page.keyboard.press('Enter');
    await page.locator('#verdict.verdict-busy').waitFor();
    await concluded(page);
    await page.locator('#check-polling.check-ok').waitFor();
    await page.locator('#check-websocket.check-ok').waitFor();
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Copy report' }).press('Enter');
    await page.locator('#announcer', { hasText: 'Copied' }).waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^tricast doctor http:[^]+\nok +WebSocket +works, [^]+Polling: works, .+\.\n$/);
    // The first examination came without a token, and was refused.
    assert.deepEqual(complaints.filter((text) => !text.includes('401')), []);
  });

  test('nothing scrolls sideways on a screen of 360 pixels, findings and all', async (t) => {
    const nginx = await startSpoilt(t, { without: ['Upgrade', 'upgrade', 'X-Forwarded-For'] });
    const { page } = await openDoctor(t, nginx.url, { viewport: { width: 360, height: 740 } });
    const [width, visible] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(width <= visible, `${width} pixels on ${visible}`);
  });

  test('without scripts, and without modules, there is a sentence', async (t) => {
    const server = await startServer(t);
    const { page } = await openDoctor(t, server.url, { javaScriptEnabled: false });
    assert.match(await page.locator('noscript').textContent(), /tricast doctor/);
    assert.ok(await page.locator('noscript').isVisible());
    assert.ok(await page.locator('#controls').isHidden());
    const old = await (await browser.newContext()).newPage();
    atEnd(t, () => old.context().close());
    await old.route('**/doctor', async (route) => {
      const response = await route.fetch();
      const body = (await response.text()).replaceAll('type="module"', 'type="unknown"').replace('nomodule ', '');
      await route.fulfill({ response, body });
    });
    await old.goto(`${server.url}doctor`);
    await old.getByRole('alert').filter({ hasText: 'too old' }).waitFor();
  });
});
