// Unmodified programs that send metrics in protocols of their own, and readers on each transport.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { TIMEOUT_MS, TOGETHER, onTestEnd, startServer, until } from './helpers.mjs';

const PYTHON = fileURLToPath(new URL('../../target/foreign-python/bin/python', import.meta.url));

/** Runs a client in Python, which prints what it did. */
async function python(script, ...args) {
  assert.ok(existsSync(PYTHON), 'Python packages are missing: tests/run installs them below target/');
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { stdout } = await promisify(execFile)(PYTHON, [path, ...args], { timeout: TIMEOUT_MS });
  return stdout.trim();
}

/** Follows a channel over all three transports; returns a function that returns the last values of a field. */
function follow(t, server, channel, read) {
  const seen = {};
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}ws`);
  socket.on('open', () => socket.send(JSON.stringify({ type: 'subscribe', channels: [channel] })));
  socket.on('message', (text) => {
    const message = JSON.parse(text);
    if (message.type === 'metric') seen.websocket = read(message.data);
  });
  const events = new EventSource(`${server.url}events?channels=${channel}`);
  events.addEventListener('metric', ({ data }) => (seen.sse = read(JSON.parse(data).data)));
  onTestEnd(t, () => (socket.terminate(), events.close()));
  return async () => {
    const response = await fetch(`${server.url}api/metrics/${channel}`);
    if (response.ok) seen.poll = read((await response.json()).data);
    return seen;
  };
}

async function seenEverywhere(follower, expected) {
  let seen = {};
  const all = { websocket: expected, sse: expected, poll: expected };
  await until(async () => JSON.stringify((seen = await follower()), Object.keys(all)) === JSON.stringify(all), 'the values', () => JSON.stringify(seen));
}

describe('doors', TOGETHER, () => {
  for (const client of ['influxdb', 'influxdb-client']) {
    test(`${client} for Python`, async (t) => {
      const server = await startServer(t);
      const follower = follow(t, server, 'metrics.cpu', (data) => data['idle{host="a b"}']?.last);
      assert.equal(await python('influx_client.py', client, String(server.port)), 'ok');
      await seenEverywhere(follower, 98.5);
    });
  }
});
