// Polling with curl.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Socket, TOGETHER, canonical, curl, runTricast, startServer, temporaryDirectory, until } from './helpers.mjs';

const TOKENS = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: 'a secret of at least thirty-two bytes' };

describe('polling', TOGETHER, () => {
  test('a poll with the current etag returns 304 without a body until the value changes', async (t) => {
    const server = await startServer(t);
    const directory = temporaryDirectory(t);
    const [tag, output] = [join(directory, 'tag'), join(directory, 'output')];
    const url = `${server.url}api/metrics/metrics.checkout`;
    await server.push({ channel: 'metrics.checkout', data: { p95: 180 } });

    const first = await curl('--etag-save', tag, url);
    assert.equal(first.status, 200);
    assert.ok(first.body.includes('"data":{"p95":180}'), first.body);

    const same = await curl('--etag-compare', tag, '--etag-save', tag, url);
    assert.deepEqual([same.status, same.body], [304, '']);
    for (const name of ['etag', 'cache-control', 'vary']) assert.equal(same.headers[name], first.headers[name], name);
    await curl('--etag-compare', tag, '--output', output, '--no-include', url);
    assert.ok(!existsSync(output), 'a 304 has nothing to write');

    await server.push({ channel: 'metrics.checkout', data: { p95: 240 } });
    const changed = await curl('--etag-compare', tag, '--etag-save', tag, url);
    assert.equal(changed.status, 200);
    assert.ok(changed.body.includes('"data":{"p95":240}'), changed.body);
    assert.notEqual(changed.headers.etag, first.headers.etag);

    await server.push({ channel: 'metrics.checkout', data: { p95: 180 } });
    assert.equal((await curl(url)).headers.etag, first.headers.etag, 'the same value has the same tag');
  });

  test('the snapshot has every section, a cursor and a timestamp', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.checkout', data: { b: 2, a: 1 } });
    const { status, headers, body } = await curl(`${server.url}api/metrics`);
    assert.equal(status, 200);
    assert.match(headers['content-type'], /^application\/json\b/);
    assert.equal(headers['cache-control'], 'no-cache');
    assert.ok(headers['x-request-id'].length > 0);
    assert.ok(body.includes('"checkout":{"a":1,"b":2}'), body);
    const names = ['api', 'business', 'cursor', 'custom', 'database', 'infrastructure', 'timestamp'];
    assert.deepEqual(Object.keys(JSON.parse(body)).sort(), names);
  });

  test('HEAD returns the headers of GET and no body', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.checkout', data: { p95: 180 } });
    const url = `${server.url}api/metrics/metrics.checkout`;
    let get; // Last-Modified has a resolution of a second, and is sent only after the second of the change
    await until(async () => 'last-modified' in (get = await curl(url)).headers, 'Last-Modified');
    const head = await curl('--head', url);
    assert.deepEqual([head.status, head.body], [200, '']);
    for (const name of ['etag', 'last-modified', 'content-type', 'content-length', 'cache-control', 'vary']) {
      assert.ok(get.headers[name], name);
      assert.equal(head.headers[name], get.headers[name], name);
    }
    assert.equal((await curl('--head', '--header', `If-None-Match: ${get.headers.etag}`, url)).status, 304);
  });

  test('a long poll is held and returns as soon as a value is pushed', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.checkout', data: { p95: 180 } });
    const url = `${server.url}api/metrics/metrics.checkout`;
    const { etag } = (await curl(url)).headers;
    const poll = curl('--header', `If-None-Match: ${etag}`, '--header', 'Prefer: wait=20', url);
    const ended = poll.then(() => performance.now());
    await until(async () => (await server.connections('long_poll')) === 1, 'the poll to be held');

    const pushedAt = performance.now();
    await server.push({ channel: 'metrics.checkout', data: { p95: 240 } });
    const { status, headers, body } = await poll;
    assert.equal(status, 200);
    assert.ok(body.includes('"data":{"p95":240}'), body);
    assert.equal(headers['preference-applied'], 'wait=20');
    assert.ok((await ended) - pushedAt < 2_000, `${(await ended) - pushedAt} ms after the push`);
  });

  test('a long poll without a change returns 304 after its wait, and a first poll is never held', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.quiet', data: { n: 1 } });
    const url = `${server.url}api/metrics/metrics.quiet`;
    const first = await curl('--header', 'Prefer: wait=20', url);
    assert.equal(first.status, 200);
    assert.ok(first.seconds < 5, `${first.seconds} s`);
    const held = await curl('--header', `If-None-Match: ${first.headers.etag}`, '--header', 'Prefer: wait=1', url);
    assert.deepEqual([held.status, held.body, held.headers['preference-applied']], [304, '', 'wait=1']);
    assert.ok(held.seconds >= 1 && held.seconds < 5, `${held.seconds} s`);
  });

  test('a poll resumes from the cursor of a WebSocket, and a WebSocket from the cursor of a poll', async (t) => {
    const server = await startServer(t);
    const deploy = (n) => server.push({ channel: 'deploys', event: 'released', data: { n } });
    const first = await Socket.open(t, server);
    await first.subscribe(['deploys', 'metrics.level']);
    await server.push({ channel: 'metrics.level', data: { n: 1 } });
    await deploy(1);
    const { cursor } = await first.inbox.next((message) => message.type === 'event');
    await first.close();

    await deploy(2);
    await server.push({ channel: 'metrics.other', data: { n: 9 } });
    const poll = (since) => curl(`${server.url}api/metrics?channels=deploys,metrics.level&since=${since}`);
    const missed = JSON.parse((await poll(cursor)).body);
    assert.deepEqual(missed.channels, {}, 'the level has not changed since');
    assert.deepEqual(missed.events.map((event) => event.data), [{ n: 2 }]);
    assert.ok(!('gap' in missed));

    await deploy(3);
    const second = await Socket.open(t, server);
    await second.subscribe(['deploys'], { since: missed.cursor });
    const next = await second.inbox.next((message) => message.type === 'event');
    assert.deepEqual(next.data, { n: 3 });

    await server.push({ channel: 'metrics.level', data: { n: 2 } });
    const rest = JSON.parse((await poll(next.cursor)).body);
    assert.deepEqual([rest.channels, rest.events], [{ 'metrics.level': { n: 2 } }, []]);
    assert.equal(JSON.parse((await poll('elsewhere:1')).body).gap, true);
  });

  test('?format=text returns aligned lines of name and value', async (t) => {
    const server = await startServer(t);
    await server.push({ channel: 'metrics.checkout', data: { a_rather_long_name_of_a_field: 1.5, p95: 180 } });
    let response; // the host's first measurement takes a moment
    await until(async () => {
      response = await curl(`${server.url}api/metrics?format=text`);
      return /^infrastructure\.cpu_usage +\d/m.test(response.body);
    }, 'the CPU usage', () => response.body);
    const { headers, body } = response;
    assert.match(headers['content-type'], /^text\/plain\b/);
    const lines = body.trimEnd().split('\n');
    const columns = lines.map((line) => /^(\S+ {2,})\S/.exec(line)?.[1].length);
    assert.equal(new Set(columns).size, 1, body);
    assert.match(body, /^custom\.checkout\.p95 +180$/m);
    const accepted = await curl('--header', 'Accept: text/plain', `${server.url}api/metrics/metrics.checkout`);
    assert.equal(accepted.headers['content-type'], headers['content-type']);
    assert.match(accepted.body, /^data\.p95 +180$/m);
  });

  test('a compressed response has the same body and tag as a plain one', async (t) => {
    const server = await startServer(t);
    const data = { text: 'again and '.repeat(500) };
    await server.push({ channel: 'metrics.long', data });
    const url = `${server.url}api/metrics/metrics.long`;
    const [plain, small] = [await curl(url), await curl('--compressed', url)];
    assert.equal(plain.headers['content-encoding'], undefined);
    assert.match(small.headers['content-encoding'], /^(br|gzip)$/);
    assert.ok(Number(small.headers['content-length']) < 500);
    assert.equal(small.body, plain.body);
    assert.ok(plain.body.includes(`"data":${canonical(data)}`));
    assert.equal(small.headers.etag, plain.headers.etag, 'a weak tag does not depend on the encoding');
  });

  test('invalid parameters return 400 with a problem that has the request id', async (t) => {
    const server = await startServer(t);
    const queries = { 'since=nonsense': 400, 'wait=soon': 400, 'channels=no%20such!': 400, 'channel=metrics': 400 };
    for (const [query, status] of Object.entries(queries)) {
      const response = await curl(`${server.url}api/metrics?${query}`);
      assert.equal(response.status, status, query);
      assert.match(response.headers['content-type'], /^application\/problem\+json\b/);
      const problem = JSON.parse(response.body);
      assert.equal(problem.status, status);
      assert.equal(problem.instance, response.headers['x-request-id']);
    }
  });

  test('a token that is bound to channels is accepted as curl sends it', async (t) => {
    const server = await startServer(t, { env: TOKENS });
    const token = await runTricast(['token', '--user', 'ci', '--push', 'metrics.ci.*', '--read', 'metrics.ci.*'], TOKENS);
    const value = '{"channel": "metrics.ci.build", "data": {"seconds": 93}}';
    const ways = [['-H', `X-API-Key: ${token}`], ['-u', `ci:${token}`], ['--oauth2-bearer', token], ['-H', `Authorization: Token ${token}`]];
    for (const way of ways) {
      assert.equal((await curl(...way, '-d', value, `${server.url}api/metrics`)).status, 202, way[0]);
      assert.equal((await curl(...way, `${server.url}api/metrics/metrics.ci.build`)).status, 200, way[0]);
      assert.equal((await curl(...way, '-d', value.replace('ci', 'other'), `${server.url}api/metrics`)).status, 403, way[0]);
    }
    assert.equal((await curl('-u', 'ci:nonsense', '-d', value, `${server.url}api/metrics`)).status, 401);
  });
});
