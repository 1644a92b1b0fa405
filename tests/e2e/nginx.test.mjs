// The configuration in nginx/, run by nginx in front of the server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import {
  Socket, TOGETHER, onTestEnd, canonical, curl, openEvents, startCuttingProxy, startServer, temporaryDirectory, until,
} from './helpers.mjs';
import { POLL_CACHE, render, startServerWithNginx, startNginx } from './nginx.mjs';

describe('nginx', TOGETHER, () => {
  test('every variant passes nginx -t without a warning', async (t) => {
    for (const site of [undefined, 'tls', 'sub-path']) {
      for (const ports of [[8080], [8080, 8081]]) {
        const { flags } = await render(t, { ports, site, changes: POLL_CACHE });
        const { stderr } = await promisify(execFile)('nginx', [...flags, '-t']);
        const problems = stderr.split('\n').filter((line) => /\[(warn|error|emerg)\]/.test(line));
        assert.deepEqual(problems.filter((line) => !line.includes('super-user privileges')), [], `${site} ${ports}`);
      }
    }
  });

  test('the upstream of deploy/compose equals the one in nginx/, except for addresses', async (t) => {
    const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
    const directives = (text) => text.split('\n').filter((line) => !/^ *(#|$)/.test(line)).join('\n');
    const several = directives(read('nginx/choices/upstream-several.conf'));
    const docker = directives(read('deploy/compose/upstream.conf'));
    const servers = / *server [\d.]+:\d+(.*\n)(?: *server [\d.]+:\d+\1)*/g;
    assert.equal(docker.replace(servers, '(servers)$1'), several.replace(servers, '(servers)$1'));
    // Each node has its address in compose.yaml, and nginx has the address that nodes trust.
    const compose = read('deploy/compose.yaml');
    for (const [, address] of docker.matchAll(/server ([\d.]+):/g)) assert.ok(compose.includes(`ipv4_address: ${address}\n`), address);
    const [, trusted] = /TRICAST_TRUSTED_PROXIES: (.*)/.exec(compose);
    assert.match(compose, new RegExp(`  nginx:\n[^]*ipv4_address: ${trusted}\n`));
    const { flags } = await render(t, { ports: [8080, 8081], changes: { 'conf.d/upstream.conf': [[/^[^]*$/, docker]] } });
    await promisify(execFile)('nginx', [...flags, '-t']);
  });

  test('a WebSocket is upgraded from the own origin and refused from a foreign one', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    for (const path of ['ws', 'v1/dashboard/ws']) {
      const socket = await Socket.open(t, nginx, { path, origin: new URL(nginx.url).origin });
      await socket.subscribe(['metrics.checkout']);
      const data = { path, n: 1 };
      await server.push({ channel: 'metrics.checkout', data });
      const metric = await socket.inbox.next((message) => message.data?.path === path);
      assert.ok(metric.raw.includes(`"data":${canonical(data)}`), metric.raw);
      assert.equal((await socket.close()).code, 1000);
    }
    await assert.rejects(Socket.open(t, nginx, { origin: 'https://evil.example' }), /Unexpected server response: 403/);
  });

  test('an invalid handshake is refused by the server', async (t) => {
    const { nginx } = await startServerWithNginx(t);
    const key = ['Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dHJpY2FzdCByZWFkeSEhIQ=='];
    for (const [more, expected] of [
      [['--http1.0', '--header', 'Connection: Upgrade'], [400, 426]],
      [['--header', 'Connection:'], [400, 426]],
      [['--header', 'Connection: keep-alive, Upgrade', '--max-time', '1'], []],
    ]) {
      const response = curl(...more, ...key.flatMap((field) => ['--header', field]), `${nginx.url}ws`);
      if (expected.length === 0) await assert.rejects(response, /timed out/i, 'upgraded, and stays open');
      else assert.ok(expected.includes((await response).status), `${more}: ${(await response).status}`);
    }
  });

  test('events are forwarded while the stream is open, and a resumed stream misses none', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    const cuttable = await startCuttingProxy(t, new URL(nginx.url).port);
    const stream = openEvents(t, `${cuttable.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    for (const n of [1, 2, 3]) {
      await server.push({ channel: 'deploys', event: 'released', data: { n } });
      assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n });
    }
    assert.equal(stream.opened, 1);
    cuttable.cut();
    await server.push({ channel: 'deploys', event: 'released', data: { n: 4 } });
    assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n: 4 });
    assert.deepEqual([stream.opened, stream.received('released').length], [2, 4]);
  });

  test('a slow client receives the newest value instead of all missed ones', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    const client = net.connect(new URL(nginx.url).port, '127.0.0.1');
    onTestEnd(t, () => client.destroy());
    client.write('GET /events?channels=metrics.big HTTP/1.1\r\nHost: tricast\r\nAccept: text/event-stream\r\n\r\n');
    await until(async () => (await server.connections('sse')) === 1, 'the stream');
    const padding = 'x'.repeat(900_000);
    const last = 60;
    for (let n = 1; n <= last; n += 1) await server.push({ channel: 'metrics.big', data: { n, padding } });

    let text = ''; // without the padding
    client.setEncoding('latin1').on('data', (piece) => (text = (text + piece).replace(/x{100,}/g, '')));
    await until(() => text.includes(`"n":${last},`), 'the newest value', () => text.slice(-500));
    const versions = text.match(/"n":\d+,/g).length;
    assert.ok(versions <= last / 2, `${versions} of ${last} versions`);
  });

  test('a long poll is held and returns as soon as a value is pushed', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    await server.push({ channel: 'metrics.checkout', data: { p95: 180 } });
    const url = `${nginx.url}api/metrics/metrics.checkout`;
    const { etag } = (await curl(url)).headers;
    const poll = curl('--header', `If-None-Match: ${etag}`, '--header', 'Prefer: wait=20', url);
    await until(async () => (await server.connections('long_poll')) === 1, 'the poll to be held');
    const push = await curl('--json', '{"channel":"metrics.checkout","data":{"p95":240}}', `${nginx.url}api/metrics`);
    assert.equal(push.status, 202, push.body);
    const { status, headers, body } = await poll;
    assert.deepEqual([status, headers['preference-applied']], [200, 'wait=20']);
    assert.ok(body.includes('"data":{"p95":240}'), body);
  });

  test('a 304 is forwarded without a body and with the same tag, also for a compressed response', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    await server.push({ channel: 'metrics.long', data: { text: 'again and '.repeat(500) } });
    const url = `${nginx.url}api/metrics/metrics.long`;
    const direct = await curl('--compressed', url.replace(nginx.url, server.url));
    const first = await curl('--compressed', url);
    for (const name of ['etag', 'content-encoding', 'content-length', 'cache-control', 'vary']) {
      assert.equal(first.headers[name], direct.headers[name], name);
    }
    assert.equal(first.body, direct.body);
    const same = await curl('--compressed', '--header', `If-None-Match: ${first.headers.etag}`, url);
    assert.deepEqual([same.status, same.body, same.headers.etag], [304, '', first.headers.etag]);
  });

  test('polls reuse connections to the server', async (t) => {
    const server = await startServer(t);
    const counting = await startCuttingProxy(t, server.port);
    const nginx = await startNginx(t, { ports: [counting.port] });
    for (let n = 0; n < 30; n += 1) assert.equal((await curl(`${nginx.url}api/metrics`)).status, 200);
    assert.ok(counting.opened() <= 8, `${counting.opened()} connections for 30 polls`);
  });

  test('the response and the log have the same request id, and the log has no token', async (t) => {
    const { nginx } = await startServerWithNginx(t);
    const { headers } = await curl('--header', 'X-Request-Id: made-up', `${nginx.url}api/channels?token=hush`);
    assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/);
    await until(() => nginx.log().includes(headers['x-request-id']), 'the line in the log', nginx.log);
    assert.match(nginx.log(), /"GET \/api\/channels HTTP\/1\.1" 200/);
    assert.ok(!nginx.log().includes('hush'), nginx.log());
  });

  test('nginx and the server have the same limit for the size of a push', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    const head = '{"channel":"metrics.big","data":{"x":"';
    const path = join(temporaryDirectory(t), 'body');
    const push = async (url, bytes) => {
      writeFileSync(path, `${head}${'x'.repeat(bytes - head.length - 3)}"}}`);
      return (await curl('--header', 'Expect: 100-continue', '--data-binary', `@${path}`, `${url}api/metrics`)).status;
    };
    for (const { url } of [server, nginx]) {
      assert.equal(await push(url, 1_048_576), 202, url);
      assert.equal(await push(url, 1_048_577), 413, url);
    }
  });

  test('the Location of a created resource is forwarded unchanged', async (t) => {
    const { nginx } = await startServerWithNginx(t);
    const order = await curl('--json', '{"items":1,"total":5,"customerName":"Ada"}', `${nginx.url}api/orders`);
    assert.match(order.headers.location, /^\/api\/orders\//);
  });

  test('security headers are present once, in responses of the server and of nginx', async (t) => {
    const { nginx } = await startServerWithNginx(t);
    for (const path of ['', 'static/js/main.js', 'api/metrics', 'metrics', 'nothing']) {
      const { headers, all } = await curl(nginx.url + path);
      assert.equal(headers['x-content-type-options'], 'nosniff', path);
      assert.match(headers['permissions-policy'], /camera=\(\)/, path);
      assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/, path);
      assert.equal(headers['strict-transport-security'], undefined, 'only over TLS');
      assert.deepEqual(all.filter((name, at) => all.indexOf(name) !== at), [], `twice in ${path}`);
    }
  });

  test('the server can listen on a Unix socket', async (t) => {
    const path = join(temporaryDirectory(t), 'tricast.sock');
    const server = await startServer(t, {
      flags: ['--listen', `unix:${path}`],
      env: { TRICAST_TRUSTED_PROXIES: 'unix:', TRICAST_LIMITS__MAX_CONNECTIONS_PER_ADDRESS: '1' },
    });
    chmodSync(path.replace(/[^/]*$/, ''), 0o755);
    chmodSync(path, 0o666); // the workers are another user
    const changes = { 'conf.d/upstream.conf': [[/server 127\.0\.0\.1:\d+;/g, `server unix:${path};`]] };
    const nginx = await startNginx(t, { ports: [server.port], changes });
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released']);
    await stream.next('connected');
    await server.push({ channel: 'deploys', event: 'released', data: { n: 1 } });
    assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n: 1 });
    await assert.rejects(Socket.open(t, nginx), /429/, 'the client address is known');
    await Socket.open(t, nginx, { localAddress: '127.0.0.2' });
  });

  test('the dashboard and its files are public, the Prometheus metrics are not', async (t) => {
    const { nginx } = await startServerWithNginx(t);
    const page = await curl(nginx.url);
    assert.equal(page.status, 200);
    assert.match(page.headers['content-security-policy'], /default-src 'none'/);
    assert.equal((await curl(`${nginx.url}static/js/main.js`)).status, 200);
    assert.equal((await curl(`${nginx.url}basic`)).status, 200);
    assert.equal((await curl(`${nginx.url}metrics`)).status, 404);
  });

  test('the farewell messages of a stopping server are forwarded', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    const socket = await Socket.open(t, nginx);
    const stream = openEvents(t, `${nginx.url}events`, []);
    await stream.next('connected');
    await server.stop();
    assert.equal((await socket.inbox.next((message) => message.type === 'disconnecting')).reason, 'SERVER_MAINTENANCE');
    assert.equal((await socket.closed).code, 1001);
    assert.equal(JSON.parse((await stream.next('bye')).data).reason, 'SERVER_MAINTENANCE');
  });

  test('an EventSource reconnects after an outage of the server, and other clients receive 503', async (t) => {
    const { server, nginx } = await startServerWithNginx(t);
    const stream = openEvents(t, `${nginx.url}events?channels=deploys`, ['released', 'error']);
    await stream.next('connected');
    await server.kill();

    const refusal = await stream.inbox.next(({ name, data }) => name === 'error' && data !== undefined, 'the refusal');
    assert.deepEqual([JSON.parse(refusal.data).status, stream.source.readyState], [503, stream.source.OPEN]);
    assert.equal((await curl(`${nginx.url}events`)).status, 503);
    const retry = await curl('--header', 'Accept: text/event-stream', `${nginx.url}events`);
    assert.deepEqual([retry.status, retry.headers['content-type']], [200, 'text/event-stream']);
    assert.match(retry.body, /^retry: [2468]000\n\nevent: error\ndata: \{.*\}\n\n$/);
    assert.equal((await curl(`${nginx.url}api/metrics`)).status, 502);

    const restarted = await startServer(t, { port: server.port });
    await stream.next('connected');
    await restarted.push({ channel: 'deploys', event: 'released', data: { n: 1 } });
    assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { n: 1 });
  });
});
