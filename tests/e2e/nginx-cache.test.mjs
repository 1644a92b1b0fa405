// Caches of nginx: the files of the pages, and optionally 304 responses for a second.

import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { TOGETHER, onTestEnd, curl, until } from './helpers.mjs';
import { POLL_CACHE, startServerWithNginx, startNginx } from './nginx.mjs';

/** Returns the number of cache hits in nginx's log. */
const hits = (nginx) => nginx.log().match(/ HIT "-"\n/g)?.length ?? 0;

/** Sends requests until one is a cache hit. The first repetition may miss, because entries are valid for a second. */
async function untilHit(nginx, request) {
  await until(async () => {
    const before = hits(nginx);
    await request();
    return hits(nginx) > before;
  }, 'a response from the cache', nginx.log);
}

const offset = (cursor) => Number(cursor.split(':')[1]);

/** Starts a server that records requests and responds with the result of `respond`, `{status, tag, body, headers}`. */
async function startOrigin(t, respond) {
  const origin = { requests: [], respond };
  const server = http.createServer(async (request, response) => {
    if (request.url === '/healthz') return response.end(); // nginx's health check
    origin.requests.push(request);
    const { status = 200, tag, body = '', headers = {} } = await origin.respond(request);
    response.writeHead(status, { ETag: tag, 'Cache-Control': 'no-cache', ...headers }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(t, () => (server.closeAllConnections(), server.close()));
  return Object.assign(origin, { port: server.address().port });
}

describe('the cache of 304 responses', TOGETHER, () => {
  test('is off by default', async (t) => {
    const { nginx } = await startServerWithNginx(t);
    const url = `${nginx.url}api/channels`;
    for (let n = 0; n < 3; n += 1) await curl('--header', 'If-None-Match: "x"', url);
    await until(() => nginx.log().match(/ - "-"\n/g)?.length === 3, 'three lines in the log', nginx.log);
  });

  test('serves responses with the headers of the server and request ids of their own', async (t) => {
    const { server, nginx } = await startServerWithNginx(t, { changes: POLL_CACHE });
    await server.push({ channel: 'metrics.checkout', data: { n: 1 } });
    const url = `${nginx.url}api/metrics/metrics.checkout`;
    const first = await curl(url);
    const ids = new Set();
    let last;
    await untilHit(nginx, async () => {
      last = await curl('--header', `If-None-Match: ${first.headers.etag}`, url);
      ids.add(last.headers['x-request-id']);
    });
    assert.deepEqual([last.status, last.body], [304, '']);
    for (const name of ['etag', 'cache-control', 'vary']) assert.equal(last.headers[name], first.headers[name], name);
    assert.ok(nginx.log().includes(`${last.headers['x-request-id']} - HIT`), nginx.log());
    assert.ok(ids.size > 1, 'each response has its own id');
  });

  test('never serves an older value to a client while values change and change back', async (t) => {
    const changes = { ...POLL_CACHE, 'conf.d/zones.conf': [['rate=200r/s', 'rate=100000r/s']] };
    const { server, nginx } = await startServerWithNginx(t, { changes });
    const url = `${nginx.url}api/metrics/metrics.flip`;
    // Uses few values, so that tags repeat.
    const push = (n) => server.push({ channel: 'metrics.flip', data: { n } });
    await push(0);
    const counts = { 200: 0, 304: 0 };
    // Polls until the last value, with or without the tag of the value that it has.
    const poll = async (sendsTag) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      onTestEnd(t, () => agent.destroy());
      let held = { cursor: 0 };
      while (held.n !== 'last') {
        const headers = sendsTag && held.tag !== undefined ? { 'If-None-Match': held.tag } : {};
        const { status, tag, body } = await get(url, { agent, headers });
        counts[status] += 1;
        if (status === 304) {
          assert.equal(tag, held.tag, 'a 304 of another value');
          continue;
        }
        assert.equal(status, 200, body);
        const { cursor: text, data } = JSON.parse(body);
        const cursor = offset(text);
        assert.ok(cursor >= held.cursor, `from ${held.cursor} back to ${cursor}`);
        held = { tag, cursor, n: data.n };
      }
    };
    const pollers = Promise.all(Array.from({ length: 24 }, (_, n) => poll(n % 8 !== 0)));
    const pushes = async () => {
      for (let n = 1; n <= 80; n += 1) {
        const before = counts[304];
        await push([1, 2, 1, 3][n % 4]);
        await until(() => counts[304] > before + 24, 'polls in between');
      }
      await push('last');
    };
    await Promise.race([pollers, pushes()]);
    await pollers;
    assert.ok(counts[200] > 80 && hits(nginx) > 80, `${JSON.stringify(counts)}, ${hits(nginx)} from the cache`);
  });

  test('serves the newest value to a client with an older one when the entry expires', async (t) => {
    const { server, nginx } = await startServerWithNginx(t, { changes: POLL_CACHE });
    const url = `${nginx.url}api/metrics/metrics.checkout`;
    await server.push({ channel: 'metrics.checkout', data: { n: 1 } });
    const { etag } = (await curl(url)).headers;
    const poll = () => curl('--header', `If-None-Match: ${etag}`, url);
    await untilHit(nginx, poll);
    await server.push({ channel: 'metrics.checkout', data: { n: 2 } });
    // Requests without a tag are never served from the cache.
    assert.match((await curl(url)).body, /"data":\{"n":2\}/);
    let response;
    await until(async () => (response = await poll()).status === 200, 'the newest value', () => nginx.log());
    assert.match(response.body, /"data":\{"n":2\}/);
    assert.equal((await poll()).status, 200, 'also afterwards');
  });

  test('does not store a late response that is older than one already served', async (t) => {
    // Two clients have the same tag: the first receives an old body after the second has received a new one.
    const origin = await startOrigin(t, () => ({ tag: 'W/"a"', body: 'a' }));
    const nginx = await startNginx(t, { ports: [origin.port], changes: POLL_CACHE });
    const url = `${nginx.url}api/metrics`;
    const poll = (tag) => curl('--header', `If-None-Match: ${tag}`, url);
    let release;
    const gate = new Promise((resolve) => (release = resolve));
    origin.respond = async () => {
      if (origin.requests.length > 1) return { tag: 'W/"c"', body: 'c' };
      await gate;
      return { tag: 'W/"b"', body: 'b' };
    };
    const late = poll('W/"a"');
    await until(() => origin.requests.length === 1, 'the first request');
    assert.equal((await poll('W/"a"')).body, 'c');
    release();
    assert.equal((await late).body, 'b');
    for (let n = 0; n < 5; n += 1) assert.equal((await poll('W/"a"')).body, 'c', 'not the late response');
    assert.equal(hits(nginx), 0);
  });

  test('has separate entries by Accept and Origin', async (t) => {
    const origin = await startOrigin(t, () => ({ status: 304, tag: '"a"' }));
    const nginx = await startNginx(t, { ports: [origin.port], changes: POLL_CACHE });
    const kinds = [['Accept: application/json'], ['Accept: text/plain'], ['Origin: https://shop.example'], ['Origin: https://other.example']];
    const kind = ({ headers }) => `${headers.accept} ${headers.origin}`;
    for (const [header] of kinds) {
      await untilHit(nginx, () => curl('--header', 'If-None-Match: "a"', '--header', header, `${nginx.url}api/metrics`));
    }
    assert.equal(new Set(origin.requests.map(kind)).size, kinds.length, 'one request to the server of each kind');
  });

  test('is bypassed by personal, conditional and resuming requests', async (t) => {
    const origin = await startOrigin(t, () => ({ status: 304, tag: '"a"' }));
    const nginx = await startNginx(t, { ports: [origin.port], changes: POLL_CACHE });
    const url = `${nginx.url}api/metrics`;
    const bypassing = [
      ['--header', 'Authorization: Bearer x'],
      ['--header', 'X-API-Key: tck_x'],
      ['-u', 'ci:tck_x'],
      ['--header', 'Authorization: Token x'],
      ['--header', 'Cookie: session=x'],
      ['--header', 'Prefer: wait=1'],
      ['--url-query', 'since=k:1'],
      ['--url-query', 'wait=1'],
      ['--url-query', 'token=x'],
      ['--url-query', 'ticket=x'],
      ['--header', 'If-None-Match: "a", "b"'],
      ['--header', 'If-None-Match: *'],
      ['--header', 'If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT'],
    ];
    for (const more of bypassing) {
      const tagged = more[1].startsWith('If-') ? more : ['--header', 'If-None-Match: "a"', ...more];
      const before = origin.requests.length;
      for (let n = 0; n < 4; n += 1) assert.equal((await curl(...tagged, url)).status, 304);
      assert.equal(origin.requests.length - before, 4, more.join(' '));
    }
    // Conditional headers reach the server unchanged.
    const passed = origin.requests.map(({ headers }) => headers['if-none-match'] ?? headers['if-modified-since']);
    assert.ok(passed.includes('"a", "b"') && passed.includes('*') && passed.some((value) => value.includes('1994')));

    origin.respond = () => ({ status: 304, tag: '"p"', headers: { 'Cache-Control': 'private, no-cache' } });
    const before = origin.requests.length;
    for (let n = 0; n < 4; n += 1) await curl('--header', 'If-None-Match: "p"', url);
    assert.equal(origin.requests.length - before, 4, 'private responses');
    assert.equal(hits(nginx), 0);
  });
});

describe('the cache of files', TOGETHER, () => {
  test('has one entry per encoding and handles conditional requests', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    const path = 'static/js/main.js';
    for (const [accepted, coding] of [
      ['gzip, deflate, br, zstd', 'br'],
      ['br;q=0.5, gzip', 'br'],
      ['gzip, br;q=0', 'gzip'],
      ['*', undefined],
      ['br;q=0, gzip;q=0.000', undefined],
      ['identity', undefined],
      ['xbr, gzipped', undefined],
    ]) {
      const request = (base, ...more) => curl('--header', `Accept-Encoding: ${accepted}`, '--output', '-', ...more, base + path);
      const direct = await request(server.url);
      let cached;
      await untilHit(nginx, async () => (cached = await request(nginx.url)));
      for (const name of ['content-type', 'etag', 'cache-control', 'vary', 'x-content-type-options']) {
        assert.equal(cached.headers[name], direct.headers[name], `${name} for ${accepted}`);
      }
      assert.equal(cached.headers['content-encoding'], coding, accepted);
      const same = await request(nginx.url, '--header', `If-None-Match: ${cached.headers.etag}`);
      assert.deepEqual([same.status, same.body], [304, ''], accepted);
    }
    assert.equal(nginx.cachedFiles('tricast-static').filter((name) => /[0-9a-f]{32}$/.test(name)).length, 3, 'one per encoding');
  });

  test('serves files while the server is down', async (t) => {
    const changes = { 'snippets/static.conf': [['valid 200 10s', 'valid 200 1s']] };
    const { server, nginx } = await startServerWithNginx(t, { changes });
    const url = `${nginx.url}static/css/tokens.css`;
    const { body } = await curl(url);
    await server.kill();
    await until(async () => {
      const stale = await curl(url);
      assert.deepEqual([stale.status, stale.body], [200, body]);
      return / (STALE|UPDATING) "-"\n/.test(nginx.log());
    }, 'a stale response', nginx.log);
    assert.equal((await curl(nginx.url)).status, 502);
  });
});

/** Sends a request over a keep-alive connection and returns `{status, tag, body}`. */
function get(url, options) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, options, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (piece) => (body += piece));
      response.on('end', () => resolve({ status: response.statusCode, tag: response.headers.etag, body }));
    });
    request.on('error', reject);
  });
}
