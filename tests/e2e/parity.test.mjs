// Parity of the transports: the same data at the same cursor.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Socket, TOGETHER, curl, memberText, openEvents, startServer, until } from './helpers.mjs';

/** JSON texts in unusual notations: unsorted, with spaces, escapes, and various number formats. */
const PUSHED = [
  '{ "b" : 1 , "a" : 2 }',
  '{"n":[0,-0,1.0,1e3,0.1,123456789012,1e-7,9007199254740993,-2.50]}',
  '{"z":{"z":{},"a":[]},"t":"\\u00fc \\ud83d\\ude00 \\/ \\" \\\\ \\n \\u2028 </script>","true":true,"null":null}',
  '{}',
  `{"long":"${'x'.repeat(5000)}","ключ":1}`,
];

describe('parity', TOGETHER, () => {
  test('values have equal bytes and cursors over WebSocket, SSE and polling', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    await socket.subscribe(['metrics.same']);
    const stream = openEvents(t, `${server.url}events?channels=metrics.same`, ['metric']);
    await stream.next('connected');

    for (const pushed of PUSHED) {
      await server.push(`{"channel":"metrics.same","data":${pushed}}`);
      const message = await socket.inbox.next(({ type }) => type === 'metric');
      const event = await stream.next('metric');
      const poll = await curl(`${server.url}api/metrics/metrics.same`);

      const texts = [message.raw, event.data, poll.body].map((text) => memberText(text, 'data'));
      assert.deepEqual(texts, [texts[0], texts[0], texts[0]]);
      assert.deepEqual(JSON.parse(texts[0]), JSON.parse(pushed));
      const cursors = [message.cursor, event.id, JSON.parse(poll.body).cursor];
      assert.deepEqual(cursors, [cursors[0], cursors[0], cursors[0]]);
      const times = [message, JSON.parse(event.data), JSON.parse(poll.body)].map(({ timestamp }) => timestamp);
      assert.deepEqual(times, [times[0], times[0], times[0]]);
    }
  });

  test('events have the same order and cursors over WebSocket, SSE and polling', async (t) => {
    const server = await startServer(t);
    const socket = await Socket.open(t, server);
    await socket.subscribe(['deploys', 'alarms']);
    const stream = openEvents(t, `${server.url}events?channels=deploys,alarms`, ['released', 'rang']);
    const { cursor } = JSON.parse((await stream.next('connected')).data);
    const events = PUSHED.map((data, index) => {
      const [channel, event] = index % 2 === 0 ? ['deploys', 'released'] : ['alarms', 'rang'];
      return `{"channel":"${channel}","event":"${event}","data":${data}}`;
    });
    await server.push(`[${events.join(',')}]`);

    const messages = await collect(socket.inbox, ({ type }) => type === 'event');
    const received = messages.map(({ cursor, raw }) => [cursor, memberText(raw, 'data')]);
    const streamed = (await collect(stream.inbox, () => true)).map(({ id, data }) => [id, memberText(data, 'data')]);
    const { body } = await curl(`${server.url}api/metrics?channels=deploys,alarms&since=${cursor}`);
    const polled = body.slice(body.indexOf('"events":[')).split(/(?=\{"channel":)/).slice(1);
    assert.deepEqual(received.map(([, data]) => JSON.parse(data)), PUSHED.map((data) => JSON.parse(data)));
    assert.deepEqual(streamed, received);
    assert.deepEqual(polled.map((event) => [/"cursor":"([^"]+)"/.exec(event)[1], memberText(event, 'data')]), received);
  });

  test('the snapshot has equal bytes at the same cursor over WebSocket, SSE and polling', async (t) => {
    const server = await startServer(t);
    for (const [index, data] of PUSHED.entries()) await server.push(`{"channel":"metrics.part${index}","data":${data}}`);
    const socket = await Socket.open(t, server);
    await socket.subscribe(['metrics']);
    const stream = openEvents(t, `${server.url}events?channels=metrics`, ['metrics']);

    // The server's own metrics change the snapshot all the time: polls until both streams have received the same version.
    let same;
    await until(async () => {
      const poll = await curl(`${server.url}api/metrics`);
      const { cursor } = JSON.parse(poll.body);
      const message = socket.received('metrics').find((message) => message.cursor === cursor);
      const event = stream.received('metrics').find(({ id }) => id === cursor);
      if (message !== undefined && event !== undefined) same = { cursor, poll, message, event };
      return same !== undefined;
    }, 'a version that all three have received', () => `${socket.received('metrics').length} and ${stream.received('metrics').length} versions`);

    const { timestamp } = same.message;
    assert.equal(memberText(same.message.raw, 'data'), same.event.data);
    assert.equal(same.poll.body, `${same.event.data.slice(0, -1)},"cursor":"${same.cursor}","timestamp":"${timestamp}"}`);
  });
});

/** Collects as many matching items as were pushed. */
async function collect(inbox, matches) {
  const found = [];
  while (found.length < PUSHED.length) found.push(await inbox.next(matches));
  return found;
}
