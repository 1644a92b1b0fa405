// Several nodes on one Redis behind nginx, with a consistency check: pushers record the outcome of every event, watchers on
// each transport reconnect and resume from their cursors, and the checker compares both.

import assert from 'node:assert/strict';
import http from 'node:http';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { onTestEnd, curl, start, startServer, temporaryDirectory, until } from './helpers.mjs';
import { freePort, startNginx } from './nginx.mjs';

/** Event channel of the check. Its events are `{by, n}`: the pusher and its sequence number. */
export const CHANNEL = 'checked';
/** State channel of the check: `{n}`, written by the first pusher. */
export const STATE = 'metrics.checked';

/** Most faults in a failure message. */
const MAX_REPORTED = 30;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `condition` holds, as `until` does, with a timeout of its own for slow operations such as a drain. */
export async function waitUpTo(seconds, condition, description, actual) {
  const deadline = performance.now() + seconds * 1000;
  while (!(await condition())) {
    if (performance.now() > deadline) assert.fail(`timed out after ${seconds} s waiting for ${description}; actual: ${actual?.() ?? ''}`);
    await wait(20);
  }
}

// -------------------------------------------------------------------------------------------------------------------- nodes

/** Starts a Redis on a free port, with persistence (`appendonly`). */
export async function startRedis(t) {
  const directory = temporaryDirectory(t);
  const port = await freePort();
  const redis = { port, url: `redis://127.0.0.1:${port}` };
  const flags = [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', directory],
    ...['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--maxmemory-policy', 'noeviction'],
  ];
  redis.start = async () => {
    redis.child = start(t, 'redis-server', flags, { stopSignal: 'SIGTERM' });
    const { child } = redis;
    await until(() => child.exitCode !== null || child.output.includes('Ready to accept connections'), 'Redis', () => child.output);
    assert.equal(child.exitCode, null, child.output);
  };
  redis.kill = async () => {
    redis.child.kill('SIGKILL');
    await redis.child.ended;
  };
  await redis.start();
  return redis;
}

/** One node, which keeps its port across restarts. */
class Node {
  constructor(t, port, env) {
    Object.assign(this, { t, port, env, url: `http://127.0.0.1:${port}/` });
  }

  async start() {
    this.server = await startServer(this.t, { port: this.port, env: this.env });
    await until(() => this.ready(), `the node at ${this.port} to be ready`, () => this.server.child.output);
  }

  async ready() {
    return (await curl(`${this.url}readyz`).catch(() => ({}))).status === 200;
  }

  /** Sends SIGTERM and waits for a clean exit. */
  stop() {
    return this.server.stop();
  }

  kill() {
    return this.server.kill();
  }

  connections(transport) {
    return this.server.connections(transport);
  }
}

/**
 * Starts nodes behind nginx, with a Redis if there are several.
 * @param {{nodes?: number, started?: number, env?: Record<string, string>, changes?: object}} options number of nodes, how
 *   many of them to start, and `changes` of nginx's configuration as for `render`
 */
export async function startCluster(t, { nodes: count = 3, started = count, env = {}, changes = {} } = {}) {
  const redis = count > 1 ? await startRedis(t) : undefined;
  const all = {
    TRICAST_TRUSTED_PROXIES: '127.0.0.1',
    ...(redis === undefined ? {} : { TRICAST_BUS: redis.url }),
    ...env,
  };
  const nodes = [];
  for (let n = 0; n < count; n += 1) nodes.push(new Node(t, await freePort(), all));
  await Promise.all(nodes.slice(0, started).map((node) => node.start()));
  const nginx = await startNginx(t, { ports: nodes.map(({ port }) => port), changes });
  return { redis, nodes, nginx, url: nginx.url };
}

// ------------------------------------------------------------------------------------------------------------------- pusher

/**
 * Pushes events sequentially, each after the outcome of the previous one. `pushed` has them in order with their outcome:
 * `accepted`, or `unknown` if the response was lost and nothing proves that the push was refused.
 */
export class Pusher {
  pushed = [];
  /** Number of responses by status or error code. */
  responses = {};
  #on = true;

  /** @param {string} url target @param {string} by name of this pusher @param {{pause?: number, address?: string}} options */
  constructor(t, url, by, { pause = 10, address = '127.0.0.1' } = {}) {
    Object.assign(this, { url, by, pause });
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1, localAddress: address });
    onTestEnd(t, () => ((this.#on = false), this.agent.destroy()));
    this.running = this.#run();
    this.running.catch(() => {});
  }

  get last() {
    return this.pushed.findLast(({ outcome }) => outcome === 'accepted')?.n ?? 0;
  }

  async stop() {
    this.#on = false;
    await this.running;
  }

  async #run() {
    for (let n = 1; this.#on; n += 1) {
      const entry = { by: this.by, n, outcome: undefined };
      this.pushed.push(entry);
      while (entry.outcome === undefined) {
        entry.outcome = await this.#push(n);
        if (entry.outcome === undefined) await wait(50);
      }
      await wait(this.pause);
    }
  }

  /** Returns the outcome; `undefined` if the push was certainly refused and can be repeated. */
  async #push(n) {
    const event = { channel: CHANNEL, event: 'n', data: { by: this.by, n } };
    const body = this.by === 'a' ? [event, { channel: STATE, data: { n } }] : event;
    const post = { agent: this.agent, method: 'POST', body: JSON.stringify(body) };
    const response = await sendRequest(`${this.url}api/metrics`, post).catch((error) => ({ error }));
    const result = response.error?.code ?? response.status;
    this.responses[result] = (this.responses[result] ?? 0) + 1;
    if (response.status === 202) return 'accepted';
    // No server was reached, or the server itself refused. A 502 or 504 of nginx proves nothing: the server may have
    // stopped after it accepted the push and before it responded.
    if (response.error?.code === 'ECONNREFUSED' || [429, 503].includes(response.status)) return undefined;
    if (response.error !== undefined || response.status >= 500) return 'unknown';
    throw new Error(`a push returned ${response.status}: ${response.body}`);
  }
}

// ----------------------------------------------------------------------------------------------------------------- watchers

/** Record of what one client received, in order, with its connections and faults. */
class Watcher {
  /** Events: `{by, n, cursor}`. */
  events = [];
  /** Values of the state channel: `{n, cursor}`. */
  states = [];
  /** Faults: a gap, a lost log, or a poll that failed. */
  faults = [];
  /** Number of refusals by status or error code. Clients retry after them. */
  refusals = {};
  /** `reconnectAfter` in s of each disconnect by the server. */
  reconnectDelays = [];
  /** Times of connecting, `performance.now()`. */
  connected = [];
  /** Whether it is connected; always true for a poller. */
  isConnected = false;

  constructor(name) {
    this.name = name;
  }

  record(channel, data, cursor) {
    (channel === CHANNEL ? this.events : this.states).push({ ...data, cursor });
  }

  recordRefusal(reason) {
    this.refusals[reason] = (this.refusals[reason] ?? 0) + 1;
  }

  recordConnect() {
    this.isConnected = true;
    this.connected.push(performance.now());
  }
}

/** Opens a WebSocket that reconnects after the announced delay and resumes from its cursor. */
export async function watchSocket(t, url, { address = '127.0.0.1', channels = [CHANNEL, STATE], name = 'WebSocket' } = {}) {
  const watcher = new Watcher(name);
  let over = false;
  let client;
  let since;
  onTestEnd(t, () => ((over = true), client?.terminate()));
  const connect = () =>
    new Promise((resolve) => {
      let after = 100; // ms, if the server announced no delay
      client = new WebSocket(new URL('ws', url.replace('http', 'ws')), { localAddress: address, handshakeTimeout: 10_000 });
      client.on('unexpected-response', (_, response) => {
        watcher.recordRefusal(response.statusCode);
        after = (Number(response.headers['retry-after']) || 1) * 1000;
        response.resume();
        client.terminate();
      });
      client.on('error', (error) => error.code && watcher.recordRefusal(error.code));
      client.on('open', () => {
        const position = since === undefined ? {} : { since };
        client.send(JSON.stringify({ type: 'subscribe', requestId: 'r', channels, ...position }));
      });
      client.on('message', (text) => {
        const message = JSON.parse(text);
        if (message.type === 'connected') since ??= message.cursor;
        if (message.type === 'event' || message.type === 'metric') {
          watcher.record(message.channel, message.data, message.cursor);
          since = message.cursor;
        }
        if (message.type === 'gap') watcher.faults.push(`gap: ${text}`);
        if (message.type === 'error') watcher.faults.push(`error: ${text}`);
        if (message.type === 'disconnecting') {
          watcher.reconnectDelays.push(message.reconnectAfter);
          after = message.reconnectAfter * 1000;
        }
        if (message.type === 'subscribed') {
          if (message.resume !== undefined && message.resume === 'reset') watcher.faults.push(`lost: ${text}`);
          watcher.recordConnect();
        }
      });
      client.on('close', () => {
        watcher.isConnected = false;
        resolve(after);
      });
    });
  (async () => {
    while (!over) await wait(await connect());
  })();
  await until(() => watcher.isConnected, `${name} to be connected`, () => JSON.stringify(watcher));
  return watcher;
}

/** Opens an EventSource, which reconnects and resumes by itself. */
export async function watchEvents(t, url, { name = 'EventSource' } = {}) {
  const watcher = new Watcher(name);
  const source = new EventSource(`${url}events?channels=${CHANNEL},${STATE}`);
  onTestEnd(t, () => source.close());
  source.addEventListener('connected', ({ data }) => {
    const { resume, reason } = JSON.parse(data);
    if (watcher.connected.length > 0 && resume !== 'replayed') watcher.faults.push(`lost: ${resume}, ${reason}`);
    watcher.recordConnect();
  });
  for (const event of ['n', 'metric']) {
    source.addEventListener(event, ({ data, lastEventId }) => {
      const { channel, data: value } = JSON.parse(data);
      watcher.record(channel, value, lastEventId);
    });
  }
  source.addEventListener('gap', ({ data }) => watcher.faults.push(`gap: ${data}`));
  source.addEventListener('bye', ({ data }) => watcher.reconnectDelays.push(JSON.parse(data).reconnectAfter));
  source.addEventListener('error', (event) => {
    watcher.isConnected = false;
    if (event.data !== undefined) watcher.recordRefusal(JSON.parse(event.data).status);
    if (source.readyState === source.CLOSED) watcher.faults.push(`closed permanently: ${event.code} ${event.message}`);
  });
  await until(() => watcher.isConnected, `${name} to be connected`, () => JSON.stringify(watcher));
  return watcher;
}

/**
 * Polls by cursor; long polls if `hold` is set, in seconds. Each poll goes to the next of `urls`. If there are several, which
 * are nodes, unavailable ones are skipped.
 */
export async function watchPolls(t, urls, { address = '127.0.0.1', hold, name = hold ? 'long poll' : 'poll', keep = true } = {}) {
  const watcher = new Watcher(name);
  const agent = new http.Agent({ keepAlive: keep, localAddress: address });
  const onRetry = () => watcher.recordRefusal('closed');
  let over = false;
  let turn = 0;
  const poll = async (since) => {
    for (let tries = 0; ; tries += 1) {
      const url = urls[turn++ % urls.length];
      const query = `channels=${CHANNEL},${STATE}${since ? `&since=${since}` : ''}${since && hold ? `&wait=${hold}` : ''}`;
      const response = await sendRequest(`${url}api/metrics?${query}`, { agent, onRetry }).catch((error) => ({ error }));
      const { status, body, error } = response;
      if (urls.length > 1 && tries < 100 && (error !== undefined || status === 503)) {
        watcher.recordRefusal(error?.code ?? status);
        await wait(10);
        continue;
      }
      if (error !== undefined || status !== 200) watcher.faults.push(`${error ?? status}: ${body}`);
      return status === 200 ? JSON.parse(body) : undefined;
    }
  };
  onTestEnd(t, () => ((over = true), agent.destroy()));
  const first = await poll();
  assert.ok(first !== undefined, `${name} failed: ${watcher.faults}`);
  let { cursor } = first;
  const offsets = (a, b) => offset(a) - offset(b);
  watcher.recordConnect();
  (async () => {
    while (!over) {
      const body = await poll(cursor);
      if (over) return;
      if (body !== undefined) {
        if (body.gap) watcher.faults.push(`gap: since ${cursor}, now ${body.cursor}`);
        for (const { channel, data, cursor } of body.events) watcher.record(channel, data, cursor);
        if (body.channels[STATE]) watcher.record(STATE, body.channels[STATE], undefined);
        if (offsets(body.cursor, cursor) < 0) watcher.faults.push(`back from ${cursor} to ${body.cursor}`);
        cursor = body.cursor;
      }
      if (!hold || body === undefined) await wait(25);
    }
  })();
  return watcher;
}

/** Polls the value with the ETag of the last response. */
export async function watchTags(t, url, { address = '127.0.0.1', name = 'poll with a tag' } = {}) {
  const watcher = new Watcher(name);
  const agent = new http.Agent({ keepAlive: true, localAddress: address });
  let over = false;
  let tag;
  watcher.unchanged = 0;
  onTestEnd(t, () => ((over = true), agent.destroy()));
  (async () => {
    while (!over) {
      const headers = tag === undefined ? {} : { 'If-None-Match': tag };
      const onRetry = () => watcher.recordRefusal('closed');
      const response = await sendRequest(`${url}api/metrics/${STATE}`, { agent, headers, onRetry }).catch((error) => ({ error }));
      if (over) return;
      if (response.status === 200) {
        const { data, cursor } = JSON.parse(response.body);
        watcher.record(STATE, data, cursor);
        tag = response.headers.etag;
      } else if (response.status === 304 && response.headers.etag === tag) watcher.unchanged += 1;
      else watcher.faults.push(`${response.error ?? response.status}: ${response.body}, tag ${tag}`);
      await wait(5);
    }
  })();
  watcher.recordConnect();
  return watcher;
}

/**
 * Sends a request and returns `{status, headers, body}`. A GET on a reused connection that is closed before the response is
 * repeated, as clients do (RFC 9112, section 9.3.1), and `onRetry` is called.
 */
function sendRequest(url, { agent, method = 'GET', headers = {}, body, onRetry = () => {} }) {
  return new Promise((resolve, reject) => {
    const json = body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const request = http.request(url, { agent, method, headers: { ...json, ...headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => (text += piece));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: text }));
      response.on('error', reject);
    });
    request.on('error', (error) => {
      if (!request.reusedSocket || error.code !== 'ECONNRESET' || method !== 'GET') return reject(error);
      onRetry();
      sendRequest(url, { agent, method, headers, body, onRetry }).then(resolve, reject);
    });
    request.end(body);
  });
}

// ------------------------------------------------------------------------------------------------------------------ checker

const keyOf = ({ by, n }) => `${by}${n}`;
/** Returns the offset of a cursor `EPOCH:OFFSET` or `EPOCH:OFFSET.STATE`. */
const offset = (cursor) => Number.parseInt(cursor.split(':')[1], 10);
const withoutStates = (cursor) => cursor.split('.')[0];

/**
 * Returns the faults of one watcher as sentences: events that were lost, repeated, out of order or never pushed, and the faults
 * that the watcher recorded. Events with an unknown outcome may be missing.
 * @param {{by: string, n: number, outcome: string}[]} pushed in the order of each pusher
 * @param {Watcher} watcher
 */
export function faultsOf(pushed, { name, events, states = [], faults = [] }) {
  const found = faults.map((fault) => `${name}: ${fault}`);
  const report = (text) => found.push(`${name}: ${text}`);
  const known = new Map(pushed.map((entry) => [keyOf(entry), entry]));
  const seen = new Map();
  const lasts = {};
  let before;
  for (const event of events) {
    const key = keyOf(event);
    if (!known.has(key)) report(`${key} was never pushed`);
    if (seen.has(key)) report(`${key} was received twice`);
    else if (event.n < (lasts[event.by] ?? 0)) report(`${key} was received after ${event.by}${lasts[event.by]}`);
    if (before !== undefined && offset(event.cursor) <= offset(before)) report(`${key} at ${event.cursor} was received after ${before}`);
    lasts[event.by] = Math.max(lasts[event.by] ?? 0, event.n);
    before = event.cursor;
    seen.set(key, event.cursor);
  }
  for (const { n, by, outcome } of pushed) if (outcome === 'accepted' && !seen.has(keyOf({ by, n }))) report(`${by}${n} was lost`);
  let value = 0;
  for (const { n } of states) {
    if (n < value) report(`the value went back from ${value} to ${n}`);
    value = Math.max(value, n);
  }
  return found;
}

/** Returns the differences between watchers: events that only some received, or at another cursor, or in another order. */
export function differences(watchers) {
  const found = [];
  const [first, ...others] = watchers;
  const at = new Map(first.events.map((event, index) => [keyOf(event), { ...event, index }]));
  for (const { name, events } of others) {
    let before = -1;
    for (const event of events) {
      const own = at.get(keyOf(event));
      if (own === undefined) found.push(`${keyOf(event)} was received by ${name}, but not by ${first.name}`);
      else {
        const [theirs, ours] = [event, own].map(({ cursor }) => cursor);
        if (withoutStates(ours) !== withoutStates(theirs)) found.push(`${keyOf(event)} is ${theirs} for ${name}, and ${ours} for ${first.name}`);
        if (own.index < before) found.push(`${keyOf(event)} was received by ${name} in another order`);
        before = own.index;
      }
    }
    const received = new Set(events.map(keyOf));
    for (const key of at.keys()) if (!received.has(key)) found.push(`${key} was received by ${first.name}, but not by ${name}`);
  }
  return found;
}

/** Starts pushers and watchers of all kinds on a cluster. `stop` ends the pushers, waits for the last event and returns the faults. */
export async function startConsistencyCheck(t, { url, nodes }, { pushers = 2 } = {}) {
  const first = new Pusher(t, url, 'a', { address: '127.0.2.1' });
  await until(() => first.last > 0, 'the first push', () => JSON.stringify(first.responses));
  for (const { server, url } of nodes) {
    const hasState = async () => (await curl(`${url}api/metrics/${STATE}`)).status === 200;
    if (server !== undefined) await until(hasState, 'the value on each node');
  }
  const watchers = await Promise.all([
    ...[1, 2, 3].map((n) => watchSocket(t, url, { address: `127.0.1.${n}`, name: `WebSocket ${n}` })),
    ...[1, 2, 3].map((n) => watchEvents(t, url, { name: `EventSource ${n}` })),
    ...[1, 2, 3].map((n) => watchPolls(t, [url], { address: `127.0.1.${n}`, hold: 20, name: `long poll ${n}` })),
    ...[4, 5, 6].map((n) => watchPolls(t, [url], { address: `127.0.1.${n}`, name: `poll ${n}` })),
    // Each poll goes to the next node, with the cursor of the previous one.
    watchPolls(t, nodes.map((node) => node.url), { address: '127.0.1.7', name: 'poll of each node in turn' }),
    watchPolls(t, nodes.map((node) => node.url), { address: '127.0.1.8', hold: 5, name: 'long poll of each node in turn' }),
  ]);
  const tags = await Promise.all([7, 8, 9].map((n) => watchTags(t, url, { address: `127.0.1.${n}`, name: `tag ${n}` })));
  // Watchers that started between two events have not received the first ones. From here on all have to receive every event.
  const begin = first.last;
  const from = ({ by, n }) => by !== 'a' || n > begin;
  const more = Array.from({ length: pushers - 1 }, (_, n) => new Pusher(t, url, 'bcdef'[n], { address: `127.0.2.${n + 2}` }));
  const all = [first, ...more];
  const pushed = () => all.flatMap((pusher) => pusher.pushed.filter(from));
  const own = (watcher) => ({ ...watcher, events: watcher.events.filter(from) });
  return {
    watchers,
    tags,
    pushers: all,
    pushed,
    /** Returns whether all watchers have the last event of each pusher. */
    caughtUp: () =>
      all.every(({ by, last }) => watchers.every(({ events }) => events.findLast((event) => event.by === by)?.n >= last)),
    async stop() {
      await Promise.all(all.map((pusher) => pusher.stop()));
      let late;
      const state = () => JSON.stringify(watchers.map(({ name, isConnected, events, refusals }) => [name, isConnected, events.at(-1), refusals]));
      await waitUpTo(40, this.caughtUp, 'all watchers to have the last event', state).catch((error) => (late = error));
      const found = [
        ...watchers.flatMap((watcher) => faultsOf(pushed(), own(watcher))),
        ...differences(watchers.map(own)),
        ...tags.flatMap((watcher) => faultsOf([], watcher)),
      ];
      if (found.length === 0 && late) throw late;
      return found.length > MAX_REPORTED ? [...found.slice(0, MAX_REPORTED), `and ${found.length - MAX_REPORTED} more`] : found;
    },
    summary: () => ({
      pushed: pushed().length,
      responses: all.map(({ responses }) => responses),
      watchers: Object.fromEntries(
        [...watchers, ...tags].map(({ name, connected, refusals, unchanged }) => {
          return [name, { connected: connected.length, ...refusals, unchanged }];
        }),
      ),
    }),
  };
}
