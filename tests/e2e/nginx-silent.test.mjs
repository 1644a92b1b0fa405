// A node that accepts connections and never responds, as when its process is stopped or its machine hangs: its kernel keeps
// accepting. nginx has to send retryable requests to another node.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TIMEOUT_MS, Socket, TOGETHER, onTestEnd, curl, openEvents, startServer, until } from './helpers.mjs';
import { startServerWithNginx, startNginx } from './nginx.mjs';

const ADDRESSES = Array.from({ length: 12 }, (_, n) => `127.0.4.${n + 1}`);
const ENV = { TRICAST_TRUSTED_PROXIES: '127.0.0.1' };

/** Sends a request from an address, with a timeout below the 40 s that nginx would need without its short timeouts. */
const curlFrom = (address, ...more) => curl('--interface', address, '--max-time', String(TIMEOUT_MS / 1000), ...more);

/** Starts nodes behind nginx, each with some of the addresses, and stops the processes of the first ones. */
async function startWithStopped(t, { stopped = 1, changes } = {}) {
  const nodes = await Promise.all(Array.from({ length: stopped + 1 }, () => startServer(t, { env: ENV })));
  for (const node of nodes) await node.push({ channel: 'metrics.node', data: { port: node.port } });
  const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port), changes });
  const polls = ADDRESSES.map((address) => curl('--interface', address, `${nginx.url}api/metrics/metrics.node`));
  const portOf = (await Promise.all(polls)).map(({ body }) => JSON.parse(body).data.port);
  const alive = nodes.at(-1);
  const affected = ADDRESSES.filter((_, n) => portOf[n] !== alive.port);
  assert.ok(affected.length > 0 && affected.length < ADDRESSES.length, 'each node has some addresses');
  for (const { child } of nodes.slice(0, stopped)) {
    onTestEnd(t, () => child.kill('SIGCONT'));
    child.kill('SIGSTOP');
  }
  return { nodes, nginx, affected, alive };
}

describe('a node that accepts connections and does not respond', TOGETHER, () => {
  test('is replaced for polls', async (t) => {
    const { nginx, affected, alive } = await startWithStopped(t);
    const polls = await Promise.all(affected.map((address) => curlFrom(address, `${nginx.url}api/metrics/metrics.node`)));
    for (const { status, body } of polls) assert.deepEqual([status, JSON.parse(body).data.port], [200, alive.port]);
  });

  for (const [number, stopped] of [['one', 1], ['two', 2]]) {
    test(`is replaced for long polls, pages, reads and writes: ${number}`, async (t) => {
      const { nginx, affected, alive } = await startWithStopped(t, { stopped });
      const { etag } = (await curl(`${alive.url}api/metrics/metrics.node`)).headers;
      const held = ['--header', `If-None-Match: ${etag}`, '--header', 'Prefer: wait=1', `${nginx.url}api/metrics/metrics.node`];
      const order = ['--json', '{"items":1,"total":5,"customerName":"Ada"}', `${nginx.url}api/orders`];
      const push = ['--json', '{"channel":"deploys","event":"released","data":{"n":1}}', `${nginx.url}api/metrics`];
      const kinds = { held, page: [nginx.url], read: [`${nginx.url}api/orders`], order, push };
      for (const [kind, request] of Object.entries(kinds)) {
        const responses = await Promise.all(affected.map((address) => curlFrom(address, ...request)));
        const expected = { held: 304, order: 201, push: 202 }[kind] ?? 200;
        assert.deepEqual(responses.map(({ status }) => status), affected.map(() => expected), kind);
      }
    });
  }

  for (const [number, stopped] of [['one', 1], ['two', 2]]) {
    test(`is replaced for new WebSockets and event streams: ${number}`, async (t) => {
      const { nginx, alive } = await startWithStopped(t, { stopped });
      const epoch = ({ cursor }) => cursor.split(':')[0];
      const known = epoch((await Socket.open(t, alive)).greeting);
      const sockets = await Promise.all(ADDRESSES.map((localAddress) => Socket.open(t, nginx, { localAddress })));
      for (const { greeting } of sockets) assert.equal(epoch(greeting), known);
      for (let n = 0; n < 6; n += 1) {
        const stream = openEvents(t, `${nginx.url}events?channels=deploys`, []);
        assert.equal(epoch(JSON.parse((await stream.next('connected')).data)), known);
      }
    });
  }

  test('causes a 504 for a push that was sent before it stopped, which is not repeated', async (t) => {
    const withoutProbe = { 'snippets/push.conf': [['auth_request /.tricast-pushes;', '']] };
    const { nginx, affected, alive } = await startWithStopped(t, { changes: withoutProbe });
    const push = ['--json', '{"channel":"deploys","event":"released","data":{"n":1}}', `${nginx.url}api/metrics`];
    const { status, headers, body } = await curlFrom(affected[0], ...push);
    assert.deepEqual([status, headers['content-type']], [504, 'application/problem+json'], body);
    const { code, detail, instance } = JSON.parse(body);
    assert.equal(code, 'SERVER_ERROR');
    assert.match(detail, /may or may not have been accepted/);
    await until(() => nginx.log().includes(`${instance} `), 'the line in the log', nginx.log);
    assert.match(nginx.log().split('\n').find((line) => line.includes(instance)), /may or may not have been accepted/);
    // The next push goes to the other node.
    assert.equal((await curlFrom(affected[0], ...push)).status, 202);
    const events = async (node) => (await (await fetch(`${node.url}metrics`)).text()).match(/^tricast_readings_accepted_total (\d+)/m)[1];
    assert.equal(Number(await events(alive)), 2, 'its own value and the second push');
  });

  test('is used again when it responds', async (t) => {
    const { nodes, nginx, affected } = await startWithStopped(t);
    const url = `${nginx.url}api/metrics/metrics.node`;
    assert.equal((await curlFrom(affected[0], url)).status, 200);
    nodes[0].child.kill('SIGCONT');
    await until(async () => JSON.parse((await curlFrom(affected[0], url)).body).data.port === nodes[0].port, 'the original node');
  });
});

test('internal health checks are not reachable from outside and do not refuse requests', TOGETHER, async (t) => {
  const { server, nginx } = await startServerWithNginx(t);
  for (const path of ['.tricast-streams', '.tricast-pushes', '.tricast-pinned', '.tricast-problem']) {
    assert.equal((await curl(nginx.url + path)).status, 404, path);
  }
  await server.kill();
  assert.equal((await curl(`${nginx.url}api/orders`)).status, 502);
});
