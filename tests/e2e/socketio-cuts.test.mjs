// socket.io-client on connections that are cut: between two events, and at random bytes of either direction.
// SEED=N repeats the cuts of a run that printed it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { describe, test } from 'node:test';
import { TIMEOUT_MS, TOGETHER, onTestEnd, startServer, until } from './helpers.mjs';
import { TRANSPORTS, ask, connect } from './socketio.mjs';

// A client whose WebSocket is cut while it pauses polling for the upgrade stops polling: engine.io-client does not resume
// it. It reconnects when no ping arrives, so pings have to be frequent here.
const HEARTBEAT = { TRICAST_HEARTBEAT__INTERVAL: '1s', TRICAST_HEARTBEAT__TIMEOUT: '3s' };

/** Returns a function that returns random numbers from 0 to below 1, the same ones for the same seed (mulberry32). */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A relay to the server. `cut()` ends all its connections. `limit`, if set, returns for each direction of a new connection the
 * number of bytes after which the connection is cut; `cuts` counts those.
 */
async function startRelay(t, port) {
  const relay = { limit: undefined, cuts: 0 };
  const open = new Set();
  const listener = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1');
    const cut = () => (client.destroy(), server.destroy());
    for (const [from, to] of [[client, server], [server, client]]) {
      open.add(from);
      from.on('error', () => {}).on('close', () => (open.delete(from), to.destroySoon()));
      let left = relay.limit?.() ?? Infinity;
      from.on('data', (bytes) => {
        if (left === 0) return;
        if (bytes.length < left) {
          left -= bytes.length;
          if (!to.write(bytes)) from.pause();
          return;
        }
        // The bytes before the cut arrive.
        to.write(bytes.subarray(0, left), cut);
        left = 0;
        relay.cuts += 1;
      });
      to.on('drain', () => from.resume());
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  relay.url = `http://127.0.0.1:${listener.address().port}/`;
  relay.cut = () => open.forEach((socket) => socket.destroy());
  onTestEnd(t, () => (listener.close(), relay.cut()));
  return relay;
}

/** A server, a relay to it, and a client through it that is subscribed to events, with the numbers of the events it received. */
async function startClient(t, transports) {
  const server = await startServer(t, { env: HEARTBEAT });
  const relay = await startRelay(t, server.port);
  // A client whose WebSocket is cut between the handshake and the first packet waits for `timeout` before it reconnects.
  const options = { transports, reconnectionDelayMax: 100, timeout: 1_000 };
  const { socket, inbox } = await connect(t, relay.url, '/tricast', options);
  const client = { server, relay, recovered: 0, lost: 0 };
  socket.on('connect', () => (socket.recovered ? (client.recovered += 1) : (client.lost += 1)));
  await ask(socket, 'subscribe', { channels: ['deploys'] });
  client.numbers = () => inbox.all.filter((event) => event.name === 'event').map(({ data }) => data.data.n);
  client.push = (n) => server.push({ channel: 'deploys', event: 'released', data: { n } });
  return client;
}

const numbersTo = (count) => Array.from({ length: count }, (_, n) => n);

describe('socket.io clients that are cut', { ...TOGETHER, timeout: 180_000 }, () => {
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    test(`a client by ${name} that is cut again and again gets every event once`, async (t) => {
      const client = await startClient(t, transports);
      const rounds = 12;
      for (let n = 0; n < rounds * 5; n += 1) {
        await client.push(n);
        // Between two polls there may be nothing to cut.
        if (n % 5 === 2) client.relay.cut();
        if (n % 5 === 4) await until(() => client.numbers().length > n, 'the events of this round', () => client.numbers().join());
      }
      assert.deepEqual(client.numbers(), numbersTo(rounds * 5));
      assert.ok(client.recovered > 0 && client.lost === 0, `${client.recovered} ${client.lost}`);
    });

    test(`a client by ${name} that is cut at random bytes gets every event once`, async (t) => {
      const seed = Number(process.env.SEED ?? 1);
      const random = randomOf(seed);
      const client = await startClient(t, transports);
      const state = () => `SEED=${seed}, ${client.relay.cuts} cuts, recovered ${client.recovered}, lost ${client.lost}: ${client.numbers()}`;
      // Half of the directions are cut: after some bytes of the head, or after some thousand.
      client.relay.limit = () => (random() < 0.5 ? Infinity : Math.ceil(2 ** (random() * 13)));
      client.relay.cut();
      let count = 0;
      for (let round = 0; round < 20 || client.relay.cuts < 10; round += 1) {
        for (let burst = Math.ceil(random() * 6); burst > 0; burst -= 1) await client.push(count++);
        if (random() < 0.5) client.relay.cut();
        const deadline = Date.now() + 3 * TIMEOUT_MS;
        while (client.numbers().length < count) {
          assert.ok(Date.now() < deadline, `the events of round ${round} did not arrive: ${state()}`);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
      assert.deepEqual(client.numbers(), numbersTo(count), state());
      assert.ok(client.recovered > 0 && client.lost === 0, state());
    });
  }
});
