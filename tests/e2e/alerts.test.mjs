// Alert notifications to independent receivers: a mail server and a webhook receiver that verifies signatures, also after a
// crash of the server before delivery.

import assert from 'node:assert/strict';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { SMTPServer } from 'smtp-server';
import { Inbox, Socket, TOGETHER, onTestEnd, startServer, temporaryDirectory, until } from './helpers.mjs';

const SECRET = 'a shared secret';

/** Verifies a request as docs/operations.md recommends, and returns its body. */
function verify(headers, body) {
  const stamp = headers['x-tricast-timestamp'];
  assert.ok(Math.abs(Date.now() / 1000 - Number(stamp)) < 300, 'an old timestamp, possibly a replay');
  const expected = createHmac('sha256', SECRET).update(`${stamp}.`).update(body).digest();
  const given = Buffer.from(headers['x-tricast-signature'].replace(/^v1=/, ''), 'hex');
  assert.ok(given.length === expected.length && timingSafeEqual(given, expected), 'the signature is wrong');
  return JSON.parse(body);
}

/** Starts a webhook receiver that responds with `status()`, or never if that is null. */
async function startReceiver(t, status = () => 204) {
  const inbox = new Inbox();
  const server = http.createServer(async (request, response) => {
    const body = await buffer(request);
    inbox.add({ delivery: request.headers['x-tricast-delivery'], ...verify(request.headers, body) });
    const code = status();
    if (code !== null) response.writeHead(code).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(t, () => (server.closeAllConnections(), server.close()));
  return { inbox, url: `http://127.0.0.1:${server.address().port}/hook` };
}

/** Starts a mail server that requires a password. */
async function startMailServer(t) {
  const inbox = new Inbox();
  const server = new SMTPServer({
    allowInsecureAuth: true,
    onAuth({ username, password }, _session, done) {
      const known = username === 'tricast' && password === 'open sesame';
      done(known ? null : new Error('invalid credentials'), { user: username });
    },
    async onData(stream, session, done) {
      const source = await text(stream);
      const { mailFrom, rcptTo } = session.envelope;
      inbox.add({ from: mailFrom.address, to: rcptTo.map(({ address }) => address), text: source });
      done();
    },
  });
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  onTestEnd(t, () => new Promise((resolve) => server.close(resolve)));
  return { inbox, port: server.server.address().port };
}

function settings(webhook, mail) {
  const env = { TRICAST_WEBHOOK__URL: webhook.url, TRICAST_WEBHOOK__SECRET: SECRET, TRICAST_WEBHOOK__TIMEOUT: '1s' };
  if (mail === undefined) return env;
  return {
    ...env,
    TRICAST_SMTP__HOST: '127.0.0.1',
    TRICAST_SMTP__PORT: String(mail.port),
    TRICAST_SMTP__TLS: 'none',
    TRICAST_SMTP__USERNAME: 'tricast',
    TRICAST_SMTP__PASSWORD: 'open sesame',
    TRICAST_SMTP__FROM: 'Tricast <tricast@shop.example>',
    TRICAST_SMTP__TO: 'ops@shop.example, ada@shop.example',
  };
}

async function createRule(server, more = {}) {
  const rule = {
    id: 'load', name: 'Zu viel Last ⚠', channel: 'metrics.shop', field: 'load', condition: { above: 90, clear: 80 },
    severity: 'critical', ...more,
  };
  const response = await fetch(`${server.url}api/alerts/rules`, { method: 'POST', body: JSON.stringify(rule) });
  assert.equal(response.status, 201, await response.text());
}

const pushLoad = (server, value) => server.push({ channel: 'metrics.shop', data: { load: value } });

describe('alerts', TOGETHER, () => {
  test('a critical alert and its resolution are delivered once by WebSocket, mail and webhook', async (t) => {
    const [webhook, mail] = [await startReceiver(t), await startMailServer(t)];
    const server = await startServer(t, { env: settings(webhook, mail) });
    const socket = await Socket.open(t, server);
    await socket.subscribe(['alerts']);
    await createRule(server);
    await pushLoad(server, 97);
    const { data: alert } = await socket.inbox.next((message) => message.event === 'alert_raised', 'the alert');
    const request = await webhook.inbox.next();
    assert.deepEqual([request.event, request.alert, request.delivery], ['alert_raised', alert, request.id]);
    const message = await mail.inbox.next();
    assert.deepEqual([message.from, message.to], ['tricast@shop.example', ['ops@shop.example', 'ada@shop.example']]);
    assert.match(message.text, /^Subject: \[critical\] Zu viel Last =\?utf-8\?b\?4pqg\?=\r$/m);
    assert.match(message.text, /^Auto-Submitted: auto-generated\r$/m);
    await pushLoad(server, 10);
    await socket.inbox.next((message) => message.event === 'alert_resolved', 'the resolution');
    assert.equal((await webhook.inbox.next()).event, 'alert_resolved');
    assert.match((await mail.inbox.next()).text, /^Subject: \[resolved\]/m);
    assert.deepEqual([webhook.inbox.all.length, mail.inbox.all.length, socket.received('alerts').length], [2, 2, 2]);
  });

  test('an undelivered notification is sent after a crash and restart of the server', async (t) => {
    let status = null; // no response
    const webhook = await startReceiver(t, () => status);
    const flags = ['--data-dir', temporaryDirectory(t)];
    const first = await startServer(t, { flags, env: settings(webhook) });
    await createRule(first);
    await pushLoad(first, 97);
    const attempt = await webhook.inbox.next();
    await first.kill();
    status = 204;
    const second = await startServer(t, { flags, env: settings(webhook) });
    const retry = await webhook.inbox.next();
    assert.deepEqual([retry.id, retry.alert], [attempt.id, attempt.alert]);
    const open = await (await fetch(`${second.url}api/alerts?status=open`)).json();
    assert.deepEqual(open.alerts, [attempt.alert], 'the same alert is still open');
    await pushLoad(second, 10);
    assert.equal((await webhook.inbox.next()).event, 'alert_resolved');
    const page = async () => (await fetch(`${second.url}metrics`)).text();
    await until(async () => (await page()).includes('tricast_notifications_total{target="webhook",result="delivered"} 2'), 'two deliveries', page);
  });
});
