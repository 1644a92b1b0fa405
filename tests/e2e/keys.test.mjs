// Machine keys as foreign programs send them: curl, requests, ws, websocket-client, EventSource with fetch, socket.io-client.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { Inbox, TIMEOUT_MS, TOGETHER, curl, onTestEnd, runTricast, start, startServer, temporaryDirectory, until } from './helpers.mjs';

const VALUE = { channel: 'metrics.ci.build', data: { seconds: 93 } };

/** Starts a server that accepts tokens and keys, and returns it with a function that runs `tricast key` on its store. */
async function startWithKeys(t) {
  const data = join(temporaryDirectory(t), 'data');
  const env = { TRICAST_AUTH__MODE: 'jwt', TRICAST_AUTH__SECRET: 'a secret of at least thirty-two bytes' };
  const server = await startServer(t, { flags: ['--data-dir', data], env });
  const key = (...args) => runTricast(['key', ...args, '--data-dir', data]);
  return { server, key, token: (...args) => runTricast(['token', ...args], env) };
}

/** Opens a stream of each foreign client, and returns `[name, promise of its end]` for each. */
async function openStreams(t, server, key) {
  const ends = [];

  const socket = new WebSocket(`${server.url.replace('http', 'ws')}ws`, { headers: { 'X-API-Key': key } });
  onTestEnd(t, () => socket.terminate());
  ends.push(['ws', once(socket, 'close').then(([code]) => code)]);
  const messages = new Inbox();
  socket.on('message', (data) => messages.add(JSON.parse(data)));
  await messages.next((message) => message.type === 'connected');

  // The package lets fetch set the headers, as polyfills in pages do.
  const basic = `Basic ${Buffer.from(`ci:${key}`).toString('base64')}`;
  const source = new EventSource(`${server.url}events?channels=metrics.ci.*`, {
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, Authorization: basic } }),
  });
  onTestEnd(t, () => source.close());
  const events = new Inbox();
  for (const name of ['connected', 'metric', 'error']) source.addEventListener(name, (event) => events.add({ name, data: event.data }));
  // The server's event, not the one of a broken connection, which has no data.
  ends.push(['EventSource', events.next(({ name, data }) => name === 'error' && data !== undefined).then(({ data }) => JSON.parse(data).code)]);
  await until(() => events.all.some(({ name }) => name === 'connected'), 'the stream');

  for (const transports of [['polling'], ['websocket']]) {
    const client = io(`${server.url}tricast`, { auth: { token: key }, transports, reconnection: false });
    onTestEnd(t, () => client.disconnect());
    ends.push([`socket.io ${transports}`, once(client, 'error').then(([error]) => error.code)]);
    await once(client, 'connect');
    await client.emitWithAck('subscribe', { channels: ['metrics.ci.*'] });
  }

  const url = `${server.url}api/metrics/metrics.ci.build`;
  const first = await fetch(url, { headers: { Authorization: `Token ${key}` } });
  const tag = first.headers.get('etag');
  await first.text();
  const held = fetch(`${url}?wait=25`, { headers: { Authorization: `Token ${key}`, 'If-None-Match': tag } });
  ends.push(['held poll', held.then(({ status }) => status)]);
  return ends;
}

describe('machine keys', TOGETHER, () => {
  test('are accepted from programs beside tokens, and end all of their streams when they are revoked', async (t) => {
    const { server, key, token } = await startWithKeys(t);
    const text = await key('create', 'ci', '--push', 'metrics.ci.*', '--read', 'metrics.ci.*', '--expires', '90d');
    const url = `${server.url}api/metrics`;
    const ways = [['-u', `ci:${text}`], ['--oauth2-bearer', text], ['-H', `Authorization: Token ${text}`], ['-H', `X-API-Key: ${text}`]];
    for (const way of ways) {
      assert.equal((await curl(...way, '-d', JSON.stringify(VALUE), url)).status, 202, way[0]);
      const read = await curl(...way, `${url}/metrics.ci.build`);
      assert.equal(read.status, 200, way[0]);
      assert.match(read.headers['cache-control'], /private/);
      assert.match(read.headers.vary, /X-API-Key/);
      const other = { ...VALUE, channel: 'metrics.other' };
      assert.equal((await curl(...way, '-d', JSON.stringify(other), url)).status, 403, way[0]);
    }
    const ada = await token('--user', 'ada', '--permissions', 'read:metrics');
    assert.equal((await curl('--oauth2-bearer', ada, `${url}/metrics.ci.build`)).status, 200, 'a token of the same server');

    const ends = await openStreams(t, server, text);
    await key('revoke', 'ci');
    const expected = { ws: 4401, EventSource: 'UNAUTHORIZED', 'socket.io polling': 'UNAUTHORIZED', 'socket.io websocket': 'UNAUTHORIZED', 'held poll': 401 };
    for (const [name, end] of ends) assert.equal(await end, expected[name], name);
    for (const way of ways) assert.equal((await curl(...way, `${url}/metrics.ci.build`)).status, 401, way[0]);
    assert.equal((await curl('--oauth2-bearer', ada, `${url}/metrics.ci.build`)).status, 200, 'the token is not affected');
    assert.ok(!server.child.output.includes(text.split('_')[2]), server.child.output);
  });

  test('are accepted from requests and websocket-client in Python', async (t) => {
    const python = fileURLToPath(new URL('../../target/foreign-python/bin/python', import.meta.url));
    assert.ok(existsSync(python), 'the virtual environment is missing: tests/run installs it below target/');
    const { server, key } = await startWithKeys(t);
    const text = await key('create', 'ci', '--push', 'metrics.ci.*', '--read', 'metrics.ci.*');
    const script = fileURLToPath(new URL('keys_client.py', import.meta.url));
    const child = start(t, python, [script, server.url, text]);
    await until(() => child.output.includes('open\n') || child.exitCode !== null, 'the client', () => child.output);
    await key('revoke', 'ci');
    const { code } = await Promise.race([child.ended, new Promise((_, reject) => setTimeout(reject, TIMEOUT_MS, new Error(child.output)).unref())]);
    assert.deepEqual([code, child.output], [0, 'open\nclosed 4401\n401\n']);
  });
});
