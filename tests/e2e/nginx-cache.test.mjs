// What nginx keeps: copies of the pages' files, and, where an operator wants it, 304s for a second.

import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { TOGETHER, atEnd, curl, until } from './helpers.mjs';
import { POLL_CACHE, startBoth, startNginx } from './nginx.mjs';

/** How often nginx has answered from a cache, by its log. */
const hits = (nginx) => nginx.log().match(/ HIT "-"\n/g)?.length ?? 0;

/** Asks until nginx answers from its cache. A second may end between two questions, so the first repeat may miss. */
async function untilHit(nginx, ask) {
  await until(async () => {
    const before = hits(nginx);
    await ask();
    return hits(nginx) > before;
  }, 'an answer from the cache', nginx.log);
}

const offset = (cursor) => Number(cursor.split(':')[1]);

/** A server that answers what it is told to, and counts. `answer` gives `{status, tag, body}`. */
async function startOrigin(t, answer) {
  const origin = { asked: [], answer };
  const server = http.createServer(async (request, response) => {
    if (request.url === '/healthz') return response.end(); // whether it answers at all
    origin.asked.push(request);
    const { status = 200, tag, body = '', headers = {} } = await origin.answer(request);
    response.writeHead(status, { ETag: tag, 'Cache-Control': 'no-cache', ...headers }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => (server.closeAllConnections(), server.close()));
  return Object.assign(origin, { port: server.address().port });
}

describe('the cache of 304s', TOGETHER, () => {
  test('is off unless it was asked for', async (t) => {
    const { nginx } = await startBoth(t);
    const url = `${nginx.url}api/channels`;
    for (let n = 0; n < 3; n += 1) await curl('--header', 'If-None-Match: "x"', url);
    await until(() => nginx.log().match(/ - "-"\n/g)?.length === 3, 'three lines', nginx.log);
  });

  test('answers by itself, with the headers of the server and an id of its own', async (t) => {
    const { server, nginx } = await startBoth(t, { changes: POLL_CACHE });
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
    assert.ok(ids.size > 1, 'each answer has its own id');
  });

  test('no reader goes back in time while values change and change back', async (t) => {
    const changes = { ...POLL_CACHE, 'conf.d/zones.conf': [['rate=200r/s', 'rate=100000r/s']] };
    const { server, nginx } = await startBoth(t, { changes });
    const url = `${nginx.url}api/metrics/metrics.flip`;
    // Few values, so that the same tags come again and again.
    const push = (n) => server.push({ channel: 'metrics.flip', data: { n } });
    await push(0);
    const counts = { 200: 0, 304: 0 };
    // Holds what it was given until it is given something else; some don't say what they hold.
    const poller = async (tells) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      atEnd(t, () => agent.destroy());
      let held = { cursor: 0 };
      while (held.n !== 'last') {
        const headers = tells && held.tag !== undefined ? { 'If-None-Match': held.tag } : {};
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
    const pollers = Promise.all(Array.from({ length: 24 }, (_, n) => poller(n % 8 !== 0)));
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

  test('who has an older value is given the newest at the latest when the second is over', async (t) => {
    const { server, nginx } = await startBoth(t, { changes: POLL_CACHE });
    const url = `${nginx.url}api/metrics/metrics.checkout`;
    await server.push({ channel: 'metrics.checkout', data: { n: 1 } });
    const { etag } = (await curl(url)).headers;
    const ask = () => curl('--header', `If-None-Match: ${etag}`, url);
    await untilHit(nginx, ask);
    await server.push({ channel: 'metrics.checkout', data: { n: 2 } });
    // Who holds nothing is never answered from the cache.
    assert.match((await curl(url)).body, /"data":\{"n":2\}/);
    let answer;
    await until(async () => (answer = await ask()).status === 200, 'the newest value', () => nginx.log());
    assert.match(answer.body, /"data":\{"n":2\}/);
    assert.equal((await ask()).status, 200, 'from now on');
  });

  test('an answer that comes late is not kept for those who hold something newer', async (t) => {
    // Two askers with one tag: the first is answered with an old body after the second was given a new one.
    const origin = await startOrigin(t, () => ({ tag: 'W/"a"', body: 'a' }));
    const nginx = await startNginx(t, { ports: [origin.port], changes: POLL_CACHE });
    const url = `${nginx.url}api/metrics`;
    const ask = (tag) => curl('--header', `If-None-Match: ${tag}`, url);
    let release;
    const gate = new Promise((resolve) => (release = resolve));
    origin.answer = async () => {
      if (origin.asked.length > 1) return { tag: 'W/"c"', body: 'c' };
      await gate;
      return { tag: 'W/"b"', body: 'b' };
    };
    const late = ask('W/"a"');
    await until(() => origin.asked.length === 1, 'the first question');
    assert.equal((await ask('W/"a"')).body, 'c');
    release();
    assert.equal((await late).body, 'b');
    for (let n = 0; n < 5; n += 1) assert.equal((await ask('W/"a"')).body, 'c', 'never the late one again');
    assert.equal(hits(nginx), 0);
  });

  test('who accepts something else, or asks from another page, has an answer of their own', async (t) => {
    const origin = await startOrigin(t, () => ({ status: 304, tag: '"a"' }));
    const nginx = await startNginx(t, { ports: [origin.port], changes: POLL_CACHE });
    const kinds = [['Accept: application/json'], ['Accept: text/plain'], ['Origin: https://shop.example'], ['Origin: https://other.example']];
    const kind = ({ headers }) => `${headers.accept} ${headers.origin}`;
    for (const [header] of kinds) {
      await untilHit(nginx, () => curl('--header', 'If-None-Match: "a"', '--header', header, `${nginx.url}api/metrics`));
    }
    assert.equal(new Set(origin.asked.map(kind)).size, kinds.length, 'the server was asked by each');
  });

  test('what is personal or a question of its own goes to the server each time', async (t) => {
    const origin = await startOrigin(t, () => ({ status: 304, tag: '"a"' }));
    const nginx = await startNginx(t, { ports: [origin.port], changes: POLL_CACHE });
    const url = `${nginx.url}api/metrics`;
    const alone = [
      ['--header', 'Authorization: Bearer x'],
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
    for (const more of alone) {
      const tagged = more[1].startsWith('If-') ? more : ['--header', 'If-None-Match: "a"', ...more];
      const before = origin.asked.length;
      for (let n = 0; n < 4; n += 1) assert.equal((await curl(...tagged, url)).status, 304);
      assert.equal(origin.asked.length - before, 4, more.join(' '));
    }
    // The question reaches the server as it was asked.
    const passed = origin.asked.map(({ headers }) => headers['if-none-match'] ?? headers['if-modified-since']);
    assert.ok(passed.includes('"a", "b"') && passed.includes('*') && passed.some((value) => value.includes('1994')));

    origin.answer = () => ({ status: 304, tag: '"p"', headers: { 'Cache-Control': 'private, no-cache' } });
    const before = origin.asked.length;
    for (let n = 0; n < 4; n += 1) await curl('--header', 'If-None-Match: "p"', url);
    assert.equal(origin.asked.length - before, 4, 'what the server calls private');
    assert.equal(hits(nginx), 0);
  });
});

describe('the copies of files', TOGETHER, () => {
  test('are kept in each coding, and compared with their tag by nginx itself', async (t) => {
    const { server, nginx } = await startBoth(t);
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
      const ask = (base, ...more) => curl('--header', `Accept-Encoding: ${accepted}`, '--output', '-', ...more, base + path);
      const direct = await ask(server.url);
      let kept;
      await untilHit(nginx, async () => (kept = await ask(nginx.url)));
      for (const name of ['content-type', 'etag', 'cache-control', 'vary', 'x-content-type-options']) {
        assert.equal(kept.headers[name], direct.headers[name], `${name} for ${accepted}`);
      }
      assert.equal(kept.headers['content-encoding'], coding, accepted);
      const same = await ask(nginx.url, '--header', `If-None-Match: ${kept.headers.etag}`);
      assert.deepEqual([same.status, same.body], [304, ''], accepted);
    }
    assert.equal(nginx.kept('tricast-static').filter((name) => /[0-9a-f]{32}$/.test(name)).length, 3, 'one per coding');
  });

  test('are still there while the server is away', async (t) => {
    const changes = { 'snippets/static.conf': [['valid 200 10s', 'valid 200 1s']] };
    const { server, nginx } = await startBoth(t, { changes });
    const url = `${nginx.url}static/css/tokens.css`;
    const { body } = await curl(url);
    await server.kill();
    await until(async () => {
      const away = await curl(url);
      assert.deepEqual([away.status, away.body], [200, body]);
      return / (STALE|UPDATING) "-"\n/.test(nginx.log());
    }, 'the copy to be old', nginx.log);
    assert.equal((await curl(nginx.url)).status, 502);
  });
});

/** A request over a connection that is kept: `{status, tag, body}`. */
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
