// The path doctor, on the command line and as a page: right in front of the server, behind the configuration in nginx/,
// and behind proxies that each have one thing wrong.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { describe, test } from 'node:test';
import { BINARY, TOGETHER, atEnd, startServer } from './helpers.mjs';
import { freePort, startNginx, startSpoiltNginx } from './nginx.mjs';

const TRUSTED = { TRICAST_TRUSTED_PROXIES: '127.0.0.1' };

const quick = ['--quick'];

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
  const found = report.checks.filter(({ verdict }) => ['warn', 'fail'].includes(verdict));
  return Object.fromEntries(found.map(({ id, remedies }) => [id, remedies.map((remedy) => remedy.id)]));
}

/** A server behind a proper nginx with one thing wrong. */
async function behind(t, spoilt, { env = TRUSTED } = {}) {
  const server = await startServer(t, { env });
  return startSpoiltNginx(t, server.port, spoilt);
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
    'lumps, the largest of',
  ],
  ['compressed streams', { more: { '= /events': 'gzip on; gzip_types text/event-stream;' } }, { events: ['stream_compression'] }, 'gzip off;'],
  ['no ETag', { more: { '/api/': 'proxy_hide_header ETag;' } }, { polling: ['tags'] }, 'ETag'],
  [
    'bodies that are rewritten',
    { more: { '/api/': 'sub_filter_types application/json; sub_filter nothing something; proxy_set_header Accept-Encoding "";' } },
    { polling: ['tags'] },
    'ETag',
  ],
  ['no If-None-Match', { more: { '/api/': 'proxy_set_header If-None-Match "";' } }, { polling: ['request_headers'] }, 'proxy_pass_request_headers on;'],
  ['no Prefer', { more: { '/api/': 'proxy_set_header Prefer "";' } }, { long_poll: ['request_headers'] }, 'Prefer'],
  ['answers that keep', { more: { '/api/': 'expires 1h;' } }, { polling: ['caching'] }, 'expires off;'],
  ['small bodies', { more: { server: 'client_max_body_size 1k;' } }, { push: ['body'] }, 'client_max_body_size 1m;'],
  ['no address', { without: ['X-Forwarded-For'] }, { address: ['forwarded'] }, 'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;'],
  ['no path for WebSockets', { drop: ['= /ws', '/'], more: { server: 'location = /healthz { proxy_pass http://127.0.0.1:SERVER; }' } }, { websocket: ['passed'] }, 'proxy_pass'],
];

describe('doctor', TOGETHER, () => {
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
    const nginx = await startNginx(t, server.port);
    const { code, report, checks } = await examine(nginx.url, ['--idle', '4']);
    assert.deepEqual([code, report.verdict], [0, 'ok'], JSON.stringify(report, null, 1));
    assert.match(checks.proxy.headline, /nginx/);
    assert.deepEqual([checks.idle_events.verdict, checks.idle_websocket.verdict], ['ok', 'ok']);
  });

  test('a server that was not told to trust its proxy is told so', async (t) => {
    const server = await startServer(t);
    const nginx = await startNginx(t, server.port);
    const { code, report, checks } = await examine(nginx.url);
    assert.deepEqual([code, findings({ report })], [1, { address: ['trusted'] }]);
    assert.match(report.summary, /trusted_proxies = \["127\.0\.0\.1"\]/);
    assert.equal(checks.address.remedies[0].nginx, '');
  });

  for (const [name, spoilt, expected, said] of SPOILT) {
    test(`nginx with ${name}`, async (t) => {
      const server = await startServer(t, { env: TRUSTED });
      const more = Object.entries(spoilt.more ?? {}).map(([path, lines]) => [path, lines.replace('SERVER', server.port)]);
      const port = spoilt.proxies === 2 ? (await startSpoiltNginx(t, server.port, {})).port : server.port;
      const nginx = await startSpoiltNginx(t, port, { ...spoilt, more: Object.fromEntries(more) });
      const { code, report } = await examine(nginx.url);
      assert.deepEqual([code, findings({ report })], [1, expected], JSON.stringify(report, null, 1));
      assert.ok(report.summary.includes(said) || JSON.stringify(report.checks).includes(said), report.summary);
    });
  }

  test('a short proxy_read_timeout is found for streams, sockets and held polls', async (t) => {
    const nginx = await behind(t, { more: { server: 'proxy_read_timeout 2s;' } });
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

  for (const [from, part] of [['client', /one direction is swallowed/], ['server', /greeting never comes/]]) {
    test(`a proxy that swallows the frames of the ${from}`, async (t) => {
      const server = await startServer(t);
      const { code, report, checks } = await examine(await startSwallowing(t, server.port, from));
      assert.deepEqual([code, findings({ report })], [1, { websocket: ['inspection'] }], JSON.stringify(report, null, 1));
      assert.equal(checks.websocket.headline, 'frames are swallowed');
      assert.match(checks.websocket.detail, part);
    });
  }

  test('a server that is not there, and one that is something else', async (t) => {
    const nowhere = await examine(`http://127.0.0.1:${await freePort()}/`);
    assert.deepEqual([nowhere.code, Object.keys(nowhere.checks)], [1, ['reach']]);
    assert.match(nowhere.checks.reach.detail, /connection refused/);
    const nginx = await startSpoiltNginx(t, await freePort(), {});
    const away = await examine(nginx.url);
    assert.match(away.checks.reach.headline, /^502, by nginx/);
  });
});
