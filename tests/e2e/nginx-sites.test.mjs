// Site variants: TLS with HTTP/2, and a sub-path.

import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { once } from 'node:events';
import tls from 'node:tls';
import { describe, test } from 'node:test';
import { Socket, TOGETHER, onTestEnd, canonical, curl, openEvents, until } from './helpers.mjs';
import { startServerWithNginx } from './nginx.mjs';

const insecure = { rejectUnauthorized: false };

/** Sends an HTTP/2 request and returns `{headers, text(), ended()}`, with the part of the body received so far. */
async function requestHttp2(t, session, headers) {
  const stream = session.request(headers);
  onTestEnd(t, () => stream.close());
  let text = '';
  stream.setEncoding('utf8').on('data', (piece) => (text += piece));
  const [response] = await once(stream, 'response');
  return { headers: response, text: () => text, ended: () => stream.readableEnded };
}

describe('over TLS', TOGETHER, () => {
  test('plain HTTP redirects to HTTPS and preserves the method', async (t) => {
    const { nginx } = await startServerWithNginx(t, { site: 'tls' });
    const response = await curl('--data', '{}', `${nginx.url}api/metrics?a=b`);
    assert.deepEqual([response.status, response.headers.location], [308, 'https://127.0.0.1/api/metrics?a=b']);
    assert.equal((await curl(`${nginx.url}.well-known/acme-challenge/x`)).status, 404);
    // Plain HTTP on the TLS port redirects, too.
    const wrong = await curl(nginx.secureUrl.replace('https', 'http'));
    assert.deepEqual([wrong.status, wrong.headers.location], [308, nginx.secureUrl]);
  });

  test('pages, polls and event streams share one HTTP/2 connection, and a WebSocket uses its own', async (t) => {
    const { server, nginx } = await startServerWithNginx(t, { site: 'tls' });
    const session = http2.connect(nginx.secureUrl, insecure);
    onTestEnd(t, () => session.destroy());
    await server.push({ channel: 'metrics.checkout', data: { n: 1 } });
    const stream = await requestHttp2(t, session, { ':path': '/events?channels=deploys', accept: 'text/event-stream' });
    assert.equal(stream.headers['content-type'], 'text/event-stream');
    await until(() => stream.text().includes('event: connected'), 'the stream', stream.text);
    const page = await requestHttp2(t, session, { ':path': '/' });
    assert.deepEqual([page.headers[':status'], page.headers['strict-transport-security']], [200, 'max-age=63072000']);
    const poll = await requestHttp2(t, session, { ':path': '/api/metrics/metrics.checkout' });
    const same = await requestHttp2(t, session, { ':path': '/api/metrics/metrics.checkout', 'if-none-match': poll.headers.etag });
    assert.equal(same.headers[':status'], 304);
    await server.push({ channel: 'deploys', event: 'released', data: { n: 1 } });
    await until(() => stream.text().includes('event: released'), 'the event', stream.text);
    assert.equal(stream.ended(), false);

    const secure = { url: nginx.secureUrl };
    const socket = await Socket.open(t, secure, { origin: new URL(nginx.secureUrl).origin, ...insecure });
    await socket.subscribe(['deploys']);
    await server.push({ channel: 'deploys', event: 'released', data: { n: 2 } });
    assert.deepEqual((await socket.inbox.next(({ type }) => type === 'event')).data, { n: 2 });
  });

  test('TLS 1.1 is refused, and TLS 1.2 sessions are resumed', async (t) => {
    const { nginx } = await startServerWithNginx(t, { site: 'tls' });
    const { port } = new URL(nginx.secureUrl);
    const connect = async (options) => {
      const socket = tls.connect({ port, host: '127.0.0.1', ...insecure, ...options });
      onTestEnd(t, () => socket.destroy());
      await Promise.race([once(socket, 'secureConnect'), once(socket, 'error').then(([error]) => Promise.reject(error))]);
      return socket;
    };
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await assert.rejects(connect(old), /alert|protocol|unsupported/i);
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) assert.equal((await connect({ maxVersion })).getProtocol(), maxVersion);
    const first = await connect({ maxVersion: 'TLSv1.2' });
    assert.equal((await connect({ maxVersion: 'TLSv1.2', session: first.getSession() })).isSessionReused(), true);
  });
});

describe('below a sub-path', TOGETHER, () => {
  const siteOf = (nginx) => ({ url: `${nginx.url}live/` });

  test('every transport works', async (t) => {
    const { server, nginx } = await startServerWithNginx(t, { site: 'sub-path' });
    const live = siteOf(nginx);
    for (const path of ['ws', 'v1/dashboard/ws']) {
      const socket = await Socket.open(t, live, { path, origin: new URL(nginx.url).origin });
      await socket.subscribe(['metrics.checkout']);
      await server.push({ channel: 'metrics.checkout', data: { path } });
      const metric = await socket.inbox.next((message) => message.data?.path === path);
      assert.ok(metric.raw.includes(`"data":${canonical({ path })}`), metric.raw);
    }
    for (const path of ['events', 'api/events']) {
      const stream = openEvents(t, `${live.url}${path}?channels=deploys`, ['released']);
      await stream.next('connected');
      await server.push({ channel: 'deploys', event: 'released', data: { path } });
      assert.deepEqual(JSON.parse((await stream.next('released')).data).data, { path });
    }
    const { status, headers } = await curl(`${live.url}api/metrics/metrics.checkout`);
    assert.equal(status, 200);
    const same = await curl('--header', `If-None-Match: ${headers.etag}`, `${live.url}api/metrics/metrics.checkout`);
    assert.equal(same.status, 304);
  });

  test('pages load their files, and the Location of a created resource includes the path', async (t) => {
    const env = { TRICAST_PUBLIC_URL: 'https://site.example/live' };
    const { nginx } = await startServerWithNginx(t, { site: 'sub-path', env });
    const live = siteOf(nginx);
    for (const path of ['', 'basic', 'docs']) {
      const { status, body } = await curl(live.url + path);
      assert.equal(status, 200, path);
      const files = [...body.matchAll(/(?:href|src)="([^"?#]+)"/g)].map(([, file]) => new URL(file, live.url).href);
      assert.ok(files.length > 2 && files.every((file) => file.startsWith(live.url)), files.join('\n'));
      for (const file of files.slice(0, 5)) assert.equal((await curl(file)).status, 200, file);
    }
    const order = await curl('--json', '{"items":1,"total":5,"customerName":"Ada"}', `${live.url}api/orders`);
    assert.equal(order.status, 201, order.body);
    assert.match(order.headers.location, /^\/live\/api\/orders\//);
    assert.equal((await curl(new URL(order.headers.location, live.url).href)).status, 200);
    const document = JSON.parse((await curl(`${live.url}api/openapi.json`)).body);
    assert.equal(document.servers[0].url, 'https://site.example/live');
  });

  test('percent-encoding is preserved', async (t) => {
    const { server, nginx } = await startServerWithNginx(t, { site: 'sub-path' });
    await server.push({ channel: 'metrics.a:b', data: { n: 1 } });
    for (const path of ['api/metrics/metrics.a%3Ab', 'api/metrics/metrics.a%2Fb', 'api/metrics?channels=metrics.a%3Ab%2Cx']) {
      const [direct, through] = [await curl(server.url + path), await curl(siteOf(nginx).url + path)];
      // Cursors and times differ between requests, because the server's own metrics change all the time.
      const detail = ({ status, body }) => [status, JSON.parse(body).detail ?? body.replace(/"(cursor|timestamp)":"[^"]*"/g, '')];
      assert.deepEqual(detail(through), detail(direct), path);
    }
  });

  test('the bare path redirects to the page, and the server is not reachable elsewhere', async (t) => {
    const { nginx } = await startServerWithNginx(t, { site: 'sub-path' });
    const bare = await curl(`${nginx.url}live`);
    assert.deepEqual([bare.status, new URL(bare.headers.location, nginx.url).pathname], [308, '/live/']);
    for (const path of ['', 'ws', 'events', 'api/metrics', 'metrics', 'live/metrics', 'liveapi/metrics', 'live../etc/passwd']) {
      assert.equal((await curl('--path-as-is', nginx.url + path)).status, 404, path);
    }
  });
});
