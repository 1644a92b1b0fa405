// Refusals by nginx itself: their format, and limits per client address.

import assert from 'node:assert/strict';
import net from 'node:net';
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Socket, TOGETHER, onTestEnd, curl, openEvents, temporaryDirectory, until } from './helpers.mjs';
import { startServerWithNginx } from './nginx.mjs';

/** Checks that a response is a problem with the code and the id of the request. */
function assertProblem({ status, headers, body }, expected, code) {
  assert.equal(status, expected, body);
  assert.equal(headers['content-type'], 'application/problem+json');
  const problem = JSON.parse(body);
  assert.deepEqual([problem.type, problem.status, problem.code], ['about:blank', expected, code], body);
  assert.ok(problem.title.length > 3 && problem.detail.length > 10, body);
  assert.equal(problem.instance, headers['x-request-id'], 'the id of the request');
  assert.equal(headers['cache-control'], 'no-store');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal(headers['retry-after'], problem.retryAfter?.toString());
  return problem;
}

/** Sends the bytes unchanged and returns the raw response. */
function sendRaw(t, port, text) {
  return new Promise((resolve) => {
    let response = '';
    const client = net.connect(port, '127.0.0.1', () => client.write(text));
    onTestEnd(t, () => client.destroy());
    client.setEncoding('latin1').on('data', (piece) => (response += piece)).on('close', () => resolve(response));
    client.on('error', () => {}); // nginx closes before it has read everything
  });
}

/** Sends a request from another address of this machine. */
const curlFrom = (address, ...more) => curl('--interface', address, ...more);

describe('a refusal by nginx', TOGETHER, () => {
  test('is a problem in the format of the server', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    assertProblem(await curl(`${nginx.url}nothing`), 404, 'RESOURCE_NOT_FOUND'); // by the server
    assertProblem(await curl(`${nginx.url}metrics`), 404, 'RESOURCE_NOT_FOUND');
    const path = join(temporaryDirectory(t), 'body');
    writeFileSync(path, 'x'.repeat(1_048_577));
    const large = ['--header', 'Expect:', '--data-binary', `@${path}`];
    assertProblem(await curl(...large, `${nginx.url}api/metrics`), 413, 'INVALID_MESSAGE');
    assertProblem(await curl(`${nginx.url}?${'x'.repeat(66_000)}`), 414, 'INVALID_MESSAGE');
    assertProblem(await curl('--header', `X-Long: ${'x'.repeat(66_000)}`, nginx.url), 431, 'INVALID_MESSAGE');
    assertProblem(await curl('--request', 'TRACE', nginx.url), 405, 'INVALID_MESSAGE');

    await server.kill();
    const problem = assertProblem(await curl(`${nginx.url}api/metrics`), 502, 'SERVER_ERROR');
    assert.equal(problem.retryAfter, 2);
    assertProblem(await curl('--data', '{}', `${nginx.url}api/orders`), 502, 'SERVER_ERROR');
    assertProblem(await curl(`${nginx.url}events`), 503, 'SERVER_ERROR');
    const upgrade = ['--header', 'Connection: Upgrade', '--header', 'Upgrade: websocket'];
    assertProblem(await curl(...upgrade, `${nginx.url}ws`), 502, 'SERVER_ERROR');
  });

  test('of a malformed request is a problem, too', async (t) => {
    const { nginx } = await startServerWithNginx(t);
    for (const text of [
      'GET / HTTP/1.1\r\n\r\n', // no Host
      'GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n',
      'GET / HTTP/1.1\r\nHost: a\r\nX-Nul: a\0b\r\n\r\n',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      'GET /api/metrics HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n',
      'nonsense\r\n\r\n',
    ]) {
      const response = await sendRaw(t, nginx.port, text);
      assert.match(response, /^HTTP\/1\.1 400 /, text);
      assert.match(response, /\r\nContent-Type: application\/problem\+json\r\n/, text);
      assert.match(response, /"status":400,.*"code":"INVALID_MESSAGE"/, text);
      // The line in the log has the same id and the reason.
      const [, id] = /"instance":"(\w+)"/.exec(response);
      await until(() => nginx.log().includes(id), 'the line in the log', nginx.log);
      assert.match(nginx.log().split('\n').find((line) => line.includes(id)), /"the request can't be read: /);
    }
  });

  test('limits the request rate of one address, with Retry-After, and does not affect others', async (t) => {
    const changes = { 'snippets/limits.conf': [['burst=400', 'burst=3']], 'conf.d/zones.conf': [['200r/s', '1r/m']] };
    const { nginx } = await startServerWithNginx(t, { changes });
    const url = `${nginx.url}api/channels`;
    for (let n = 0; n < 4; n += 1) assert.equal((await curl(url)).status, 200);
    assert.equal(assertProblem(await curl(url), 429, 'RATE_LIMITED').retryAfter, 1);
    const forged = ['--header', 'X-Forwarded-For: 192.0.2.1', '--header', 'X-Real-IP: 192.0.2.1'];
    assertProblem(await curl(...forged, url), 429, 'RATE_LIMITED');
    assert.equal((await curlFrom('127.0.0.2', url)).status, 200);
    // Streams are limited by the server, which can refuse them so that an EventSource reconnects.
    const stream = openEvents(t, `${nginx.url}events`, []);
    await stream.next('connected');
    await Socket.open(t, nginx);
  });

  test('counts IPv6 clients by their /64 network', async (t) => {
    const { nginx } = await startServerWithNginx(t, {
      changes: {
        'snippets/limits.conf': [[' burst=400 nodelay', '']],
        'conf.d/zones.conf': [['200r/s', '1r/m']],
        'snippets/client-address.conf': [['# set_real_ip_from 10.0.0.0/8;', 'set_real_ip_from 127.0.0.1;']],
      },
    });
    const as = async (address) => (await curl('--header', `X-Forwarded-For: ${address}`, `${nginx.url}api/channels`)).status;
    const statuses = [];
    for (const address of ['2001:db8::1', '2001:db8::2', '2001:db8:0:0:a0a:a0a:a0a:a0a', '2001:db8:0:1::1', '2001:db8:1::1', '32.1.13.184']) {
      statuses.push(await as(address));
    }
    assert.deepEqual(statuses, [200, 429, 429, 200, 200, 200]);
  });

  test('limits the open polls of one address', async (t) => {
    const changes = { 'snippets/limits.conf': [['tricast_open 1000', 'tricast_open 2']] };
    const { server, nginx } = await startServerWithNginx(t, { changes });
    await server.push({ channel: 'metrics.checkout', data: { n: 1 } });
    const url = `${nginx.url}api/metrics/metrics.checkout`;
    const { etag } = (await curl(url)).headers;
    const hold = () => curl('--header', `If-None-Match: ${etag}`, '--header', 'Prefer: wait=20', url);
    const held = [hold(), hold()];
    await until(async () => (await server.connections('long_poll')) === 2, 'two polls to be held');
    assertProblem(await curl(url), 429, 'RATE_LIMITED');
    assert.equal((await curlFrom('127.0.0.2', url)).status, 200);
    await server.push({ channel: 'metrics.checkout', data: { n: 2 } });
    for (const { status } of await Promise.all(held)) assert.equal(status, 200);
  });
});

describe('the address of a client', TOGETHER, () => {
  const one = { TRICAST_LIMITS__MAX_CONNECTIONS_PER_ADDRESS: '1' };
  const open = (t, nginx, address, headers = {}) => Socket.open(t, nginx, { localAddress: address, headers });

  test('is known to the server and cannot be forged by headers', async (t) => {
    const { nginx } = await startServerWithNginx(t, { env: one });
    await open(t, nginx, '127.0.0.2');
    await open(t, nginx, '127.0.0.3');
    for (const headers of [
      {},
      { 'X-Forwarded-For': '192.0.2.1' },
      { 'X-Forwarded-For': '192.0.2.1, 127.0.0.1' },
      { Forwarded: 'for=192.0.2.1' },
      { 'X-Real-IP': '192.0.2.1' },
    ]) {
      await assert.rejects(open(t, nginx, '127.0.0.2', headers), /429/, JSON.stringify(headers));
    }
  });

  test('is taken from the last entry of X-Forwarded-For if a trusted proxy is in front', async (t) => {
    const trusted = [['# set_real_ip_from 10.0.0.0/8;', 'set_real_ip_from 127.0.0.9;']];
    const { nginx } = await startServerWithNginx(t, { env: one, changes: { 'snippets/client-address.conf': trusted } });
    const via = (list) => open(t, nginx, '127.0.0.9', { 'X-Forwarded-For': list });
    await via('192.0.2.1');
    await via('192.0.2.2');
    await assert.rejects(via('192.0.2.1'), /429/);
    await assert.rejects(via('203.0.113.5, 192.0.2.1'), /429/, 'earlier addresses were written by the client');
    await open(t, nginx, '127.0.0.2', { 'X-Forwarded-For': '192.0.2.1' });
    await until(() => nginx.log().split('\n').some((line) => line.startsWith('192.0.2.1 ')), 'the log', nginx.log);
  });
});
