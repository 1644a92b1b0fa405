// A node that accepts connections and answers nothing, as one whose process is stopped or whose machine hangs: its kernel
// goes on accepting. nginx has to find another node for whatever may go to another one.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PATIENCE_MS, Socket, TOGETHER, atEnd, curl, openEvents, startServer, until } from './helpers.mjs';
import { startBoth, startNginx } from './nginx.mjs';

const ADDRESSES = Array.from({ length: 12 }, (_, n) => `127.0.4.${n + 1}`);
const ENV = { TRICAST_TRUSTED_PROXIES: '127.0.0.1' };

/** Answered within the patience of every other test; what nginx once took for it was 40 s and more. */
const soon = (address, ...more) => curl('--interface', address, '--max-time', String(PATIENCE_MS / 1000), ...more);

/** Two nodes behind nginx, each with a share of the addresses, of which the first one is stopped. */
async function startWithOneStopped(t) {
  const nodes = await Promise.all([startServer(t, { env: ENV }), startServer(t, { env: ENV })]);
  for (const node of nodes) await node.push({ channel: 'metrics.node', data: { port: node.port } });
  const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port) });
  const asked = ADDRESSES.map((address) => curl('--interface', address, `${nginx.url}api/metrics/metrics.node`));
  const answering = (await Promise.all(asked)).map(({ body }) => JSON.parse(body).data.port);
  const theirs = ADDRESSES.filter((_, n) => answering[n] === nodes[0].port);
  assert.ok(theirs.length > 0 && theirs.length < ADDRESSES.length, 'each node has some addresses');
  atEnd(t, () => nodes[0].child.kill('SIGCONT'));
  nodes[0].child.kill('SIGSTOP');
  return { nodes, nginx, theirs, alive: nodes[1] };
}

describe('a node that accepts and does not answer', TOGETHER, () => {
  test('is left by polls', async (t) => {
    const { nginx, theirs, alive } = await startWithOneStopped(t);
    const polls = await Promise.all(theirs.map((address) => soon(address, `${nginx.url}api/metrics/metrics.node`)));
    for (const { status, body } of polls) assert.deepEqual([status, JSON.parse(body).data.port], [200, alive.port]);
  });

  test('is left by held polls, pages, reads and changes that wait for a store', async (t) => {
    const { nginx, theirs, alive } = await startWithOneStopped(t);
    const { etag } = (await curl(`${alive.url}api/metrics/metrics.node`)).headers;
    const held = ['--header', `If-None-Match: ${etag}`, '--header', 'Prefer: wait=1', `${nginx.url}api/metrics/metrics.node`];
    const order = ['--json', '{"items":1,"total":5,"customerName":"Ada"}', `${nginx.url}api/orders`];
    const kinds = { held, page: [nginx.url], read: [`${nginx.url}api/orders`], order };
    for (const [kind, request] of Object.entries(kinds)) {
      const answers = await Promise.all(theirs.map((address) => soon(address, ...request)));
      const expected = { held: 304, order: 201 }[kind] ?? 200;
      assert.deepEqual(answers.map(({ status }) => status), theirs.map(() => expected), kind);
    }
  });

  test('is left by WebSockets and event streams that are opened', async (t) => {
    const { nginx, alive } = await startWithOneStopped(t);
    const epoch = ({ cursor }) => cursor.split(':')[0];
    const known = epoch((await Socket.open(t, alive)).greeting);
    const sockets = await Promise.all(ADDRESSES.map((localAddress) => Socket.open(t, nginx, { localAddress })));
    for (const { greeting } of sockets) assert.equal(epoch(greeting), known);
    for (let n = 0; n < 6; n += 1) {
      const stream = openEvents(t, `${nginx.url}events?channels=deploys`, []);
      assert.equal(epoch(JSON.parse((await stream.next('connected')).data)), known);
    }
  });

  test('has a push that was sent to it: it may have been accepted, and is not sent to another one', async (t) => {
    const { nginx, theirs, alive } = await startWithOneStopped(t);
    const push = ['--json', '{"channel":"deploys","event":"released","data":{"n":1}}', `${nginx.url}api/metrics`];
    const { status, headers, body } = await soon(theirs[0], ...push);
    assert.deepEqual([status, headers['content-type']], [504, 'application/problem+json'], body);
    const { code, detail, instance } = JSON.parse(body);
    assert.equal(code, 'SERVER_ERROR');
    assert.match(detail, /may or may not have been accepted/);
    await until(() => nginx.log().includes(`${instance} `), 'the line in the log', nginx.log);
    assert.match(nginx.log().split('\n').find((line) => line.includes(instance)), /may or may not have been accepted/);
    // The next one goes to a node that answers.
    assert.equal((await soon(theirs[0], ...push)).status, 202);
    const events = async (node) => (await (await fetch(`${node.url}metrics`)).text()).match(/^tricast_readings_accepted_total (\d+)/m)[1];
    assert.equal(Number(await events(alive)), 2, 'its own value and the second push');
  });

  test('is asked again when it answers', async (t) => {
    const { nodes, nginx, theirs } = await startWithOneStopped(t);
    const url = `${nginx.url}api/metrics/metrics.node`;
    assert.equal((await soon(theirs[0], url)).status, 200);
    nodes[0].child.kill('SIGCONT');
    await until(async () => JSON.parse((await soon(theirs[0], url)).body).data.port === nodes[0].port, 'its node');
  });
});

test('a question whether the server answers refuses nothing and is seen by nobody', TOGETHER, async (t) => {
  const { server, nginx } = await startBoth(t);
  for (const path of ['.tricast-streams', '.tricast-pinned', '.tricast-problem']) {
    assert.equal((await curl(nginx.url + path)).status, 404, path);
  }
  await server.kill();
  assert.equal((await curl(`${nginx.url}api/orders`)).status, 502);
});
