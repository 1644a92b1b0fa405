// Several nodes on one Redis with nginx in front, and those who know what has to come out of it: a pusher that keeps account
// of every event, watchers on each transport that go on from their cursor whatever happens, and the checker.

import assert from 'node:assert/strict';
import http from 'node:http';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { atEnd, curl, start, startServer, temporaryDirectory, until } from './helpers.mjs';
import { freePort, startNginx } from './nginx.mjs';

/** The event channel that is watched. Its events are `{by, n}`: whose, and how many of theirs that makes. */
export const CHANNEL = 'checked';
/** The state channel beside it: `{n}`, of the first pusher. */
export const STATE = 'metrics.checked';

/** A fault that repeats itself says no more in the thousandth line. */
const MOST_TOLD = 30;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for `condition` as `until` does, but for things that may take `seconds`, such as a drain. */
export async function within(seconds, condition, what, seen) {
  const deadline = performance.now() + seconds * 1000;
  while (!(await condition())) {
    if (performance.now() > deadline) assert.fail(`waited ${seconds} s in vain for ${what}. There was: ${seen?.() ?? ''}`);
    await wait(20);
  }
}

// ---------------------------------------------------------------------------------------------------------------- the parts

/** A Redis of its own that keeps what it was told (`appendonly`), on a free port. */
export async function startRedis(t) {
  const directory = temporaryDirectory(t);
  const port = await freePort();
  const redis = { port, url: `redis://127.0.0.1:${port}` };
  const flags = [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', directory],
    ...['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--maxmemory-policy', 'noeviction'],
  ];
  redis.start = async () => {
    redis.child = start(t, 'redis-server', flags, { lastWord: 'SIGTERM' });
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

/** One node, which keeps its port when it is started again. */
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

  /** Asks it to leave and waits until it has left with exit code 0. */
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
 * Nodes behind nginx, on one Redis where there are several.
 * @param {{nodes?: number, started?: number, env?: Record<string, string>, changes?: object}} how many, and how many of them
 *   are started already; `changes` as `render` takes them
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

// --------------------------------------------------------------------------------------------------------------- the pusher

/**
 * Pushes one event after the other, each when it is known what became of the one before. `pushed` has them in order, with
 * what is known: `accepted`, or `unknown` where the answer was lost on its way and nothing proves that it was refused.
 */
export class Pusher {
  pushed = [];
  /** What was answered, by status or by error, with how often. */
  answers = {};
  #on = true;

  /** @param {string} url where to @param {string} by its name @param {{pause?: number, address?: string}} how */
  constructor(t, url, by, { pause = 10, address = '127.0.0.1' } = {}) {
    Object.assign(this, { url, by, pause });
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1, localAddress: address });
    atEnd(t, () => ((this.#on = false), this.agent.destroy()));
    this.running = this.#run();
    this.running.catch(() => {});
  }

  get last() {
    return this.pushed.findLast(({ fate }) => fate === 'accepted')?.n ?? 0;
  }

  async stop() {
    this.#on = false;
    await this.running;
  }

  async #run() {
    for (let n = 1; this.#on; n += 1) {
      const entry = { by: this.by, n, fate: undefined };
      this.pushed.push(entry);
      while (entry.fate === undefined) {
        entry.fate = await this.#push(n);
        if (entry.fate === undefined) await wait(50);
      }
      await wait(this.pause);
    }
  }

  /** What became of it; `undefined` where it was refused for certain, and may be sent again. */
  async #push(n) {
    const event = { channel: CHANNEL, event: 'n', data: { by: this.by, n } };
    const body = this.by === 'a' ? [event, { channel: STATE, data: { n } }] : event;
    const post = { agent: this.agent, method: 'POST', body: JSON.stringify(body) };
    const answer = await ask(`${this.url}api/metrics`, post).catch((error) => ({ error }));
    const said = answer.error?.code ?? answer.status;
    this.answers[said] = (this.answers[said] ?? 0) + 1;
    if (answer.status === 202) return 'accepted';
    // Nobody was there, or the server itself says that it took nothing. A 502 or 504 of nginx proves nothing: the server
    // may have gone between taking it and saying so.
    if (answer.error?.code === 'ECONNREFUSED' || [429, 503].includes(answer.status)) return undefined;
    if (answer.error !== undefined || answer.status >= 500) return 'unknown';
    throw new Error(`a push was answered ${answer.status}: ${answer.body}`);
  }
}

// ------------------------------------------------------------------------------------------------------------- the watchers

/** What one reader was given, in order, and what it was told besides. */
class Watcher {
  /** Events: `{by, n, cursor}`. */
  events = [];
  /** Values of the state channel: `{n, cursor}`. */
  states = [];
  /** What must not happen: a gap, a lost log, a poll answered with an error. */
  faults = [];
  /** Refusals of streams, which their clients live through: a status or an error, with how often. */
  refusals = {};
  /** `reconnectAfter` in s, of each time it was sent away. */
  sentAway = [];
  /** When it was connected, `performance.now()`. */
  connected = [];
  /** Whether it is connected just now; a poller always is. */
  here = false;

  constructor(name) {
    this.name = name;
  }

  take(channel, data, cursor) {
    (channel === CHANNEL ? this.events : this.states).push({ ...data, cursor });
  }

  refused(what) {
    this.refusals[what] = (this.refusals[what] ?? 0) + 1;
  }

  isHere() {
    this.here = true;
    this.connected.push(performance.now());
  }
}

/** A WebSocket that comes back when it was told to, and goes on from its cursor. */
export async function watchSocket(t, url, { address = '127.0.0.1', channels = [CHANNEL, STATE], name = 'WebSocket' } = {}) {
  const watcher = new Watcher(name);
  let over = false;
  let client;
  let since;
  atEnd(t, () => ((over = true), client?.terminate()));
  const connect = () =>
    new Promise((resolve) => {
      let after = 100; // ms, of a client that was told nothing
      client = new WebSocket(new URL('ws', url.replace('http', 'ws')), { localAddress: address, handshakeTimeout: 10_000 });
      client.on('unexpected-response', (_, response) => {
        watcher.refused(response.statusCode);
        after = (Number(response.headers['retry-after']) || 1) * 1000;
        response.resume();
        client.terminate();
      });
      client.on('error', (error) => error.code && watcher.refused(error.code));
      client.on('open', () => {
        const going = since === undefined ? {} : { since };
        client.send(JSON.stringify({ type: 'subscribe', requestId: 'r', channels, ...going }));
      });
      client.on('message', (text) => {
        const message = JSON.parse(text);
        if (message.type === 'connected') since ??= message.cursor;
        if (message.type === 'event' || message.type === 'metric') {
          watcher.take(message.channel, message.data, message.cursor);
          since = message.cursor;
        }
        if (message.type === 'gap') watcher.faults.push(`gap: ${text}`);
        if (message.type === 'error') watcher.faults.push(`error: ${text}`);
        if (message.type === 'disconnecting') {
          watcher.sentAway.push(message.reconnectAfter);
          after = message.reconnectAfter * 1000;
        }
        if (message.type === 'subscribed') {
          if (message.resume !== undefined && message.resume === 'reset') watcher.faults.push(`lost: ${text}`);
          watcher.isHere();
        }
      });
      client.on('close', () => {
        watcher.here = false;
        resolve(after);
      });
    });
  (async () => {
    while (!over) await wait(await connect());
  })();
  await until(() => watcher.here, `${name} to be connected`, () => JSON.stringify(watcher));
  return watcher;
}

/** A native EventSource, which does all of that by itself. */
export async function watchEvents(t, url, { name = 'EventSource' } = {}) {
  const watcher = new Watcher(name);
  const source = new EventSource(`${url}events?channels=${CHANNEL},${STATE}`);
  atEnd(t, () => source.close());
  source.addEventListener('connected', ({ data }) => {
    const { resume, reason } = JSON.parse(data);
    if (watcher.connected.length > 0 && resume !== 'replayed') watcher.faults.push(`lost: ${resume}, ${reason}`);
    watcher.isHere();
  });
  for (const event of ['n', 'metric']) {
    source.addEventListener(event, ({ data, lastEventId }) => {
      const { channel, data: value } = JSON.parse(data);
      watcher.take(channel, value, lastEventId);
    });
  }
  source.addEventListener('gap', ({ data }) => watcher.faults.push(`gap: ${data}`));
  source.addEventListener('bye', ({ data }) => watcher.sentAway.push(JSON.parse(data).reconnectAfter));
  source.addEventListener('error', (event) => {
    watcher.here = false;
    if (event.data !== undefined) watcher.refused(JSON.parse(event.data).status);
    if (source.readyState === source.CLOSED) watcher.faults.push(`it gave up: ${event.code} ${event.message}`);
  });
  await until(() => watcher.here, `${name} to be connected`, () => JSON.stringify(watcher));
  return watcher;
}

/**
 * Polls by cursor, held ones where `hold` says for how many seconds. Each goes to the next of `urls`; where there are several,
 * which are nodes, one that is not there is passed over.
 */
export async function watchPolls(t, urls, { address = '127.0.0.1', hold, name = hold ? 'long poll' : 'poll', keep = true } = {}) {
  const watcher = new Watcher(name);
  const agent = new http.Agent({ keepAlive: keep, localAddress: address });
  const again = () => watcher.refused('closed');
  let over = false;
  let turn = 0;
  const poll = async (since) => {
    for (let tries = 0; ; tries += 1) {
      const url = urls[turn++ % urls.length];
      const query = `channels=${CHANNEL},${STATE}${since ? `&since=${since}` : ''}${since && hold ? `&wait=${hold}` : ''}`;
      const answer = await ask(`${url}api/metrics?${query}`, { agent, again }).catch((error) => ({ error }));
      const { status, body, error } = answer;
      if (urls.length > 1 && tries < 100 && (error !== undefined || status === 503)) {
        watcher.refused(error?.code ?? status);
        await wait(10);
        continue;
      }
      if (error !== undefined || status !== 200) watcher.faults.push(`${error ?? status}: ${body}`);
      return status === 200 ? JSON.parse(body) : undefined;
    }
  };
  atEnd(t, () => ((over = true), agent.destroy()));
  const began = await poll();
  assert.ok(began !== undefined, `${name} was answered ${watcher.faults}`);
  let { cursor } = began;
  const offsets = (a, b) => offset(a) - offset(b);
  watcher.isHere();
  (async () => {
    while (!over) {
      const answer = await poll(cursor);
      if (over) return;
      if (answer !== undefined) {
        if (answer.gap) watcher.faults.push(`gap: since ${cursor}, now ${answer.cursor}`);
        for (const { channel, data, cursor } of answer.events) watcher.take(channel, data, cursor);
        if (answer.channels[STATE]) watcher.take(STATE, answer.channels[STATE], undefined);
        if (offsets(answer.cursor, cursor) < 0) watcher.faults.push(`back from ${cursor} to ${answer.cursor}`);
        cursor = answer.cursor;
      }
      if (!hold || answer === undefined) await wait(25);
    }
  })();
  return watcher;
}

/** Polls the value with the tag of what it holds. */
export async function watchTags(t, url, { address = '127.0.0.1', name = 'poll with a tag' } = {}) {
  const watcher = new Watcher(name);
  const agent = new http.Agent({ keepAlive: true, localAddress: address });
  let over = false;
  let tag;
  watcher.unchanged = 0;
  atEnd(t, () => ((over = true), agent.destroy()));
  (async () => {
    while (!over) {
      const headers = tag === undefined ? {} : { 'If-None-Match': tag };
      const again = () => watcher.refused('closed');
      const answer = await ask(`${url}api/metrics/${STATE}`, { agent, headers, again }).catch((error) => ({ error }));
      if (over) return;
      if (answer.status === 200) {
        const { data, cursor } = JSON.parse(answer.body);
        watcher.take(STATE, data, cursor);
        tag = answer.headers.etag;
      } else if (answer.status === 304 && answer.headers.etag === tag) watcher.unchanged += 1;
      else watcher.faults.push(`${answer.error ?? answer.status}: ${answer.body}, tag ${tag}`);
      await wait(5);
    }
  })();
  watcher.isHere();
  return watcher;
}

/**
 * One request: `{status, headers, body}`. A read over a connection that was kept, and that is closed before anything came, is
 * asked again as every client does (RFC 9112, section 9.3.1); `again` is told.
 */
function ask(url, { agent, method = 'GET', headers = {}, body, again = () => {} }) {
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
      again();
      ask(url, { agent, method, headers, body, again }).then(resolve, reject);
    });
    request.end(body);
  });
}

// -------------------------------------------------------------------------------------------------------------- the checker

const keyOf = ({ by, n }) => `${by}${n}`;
/** Of `EPOCH:OFFSET` or `EPOCH:OFFSET.OFFSET`, where the second says how far its holder was given values. */
const offset = (cursor) => Number.parseInt(cursor.split(':')[1], 10);
const place = (cursor) => cursor.split('.')[0];

/**
 * What is wrong with what a reader of all was given, as sentences: lost, twice, out of order, never pushed, not the cursor
 * that others saw, or anything else that the watcher noted. Events whose fate is unknown may be missing.
 * @param {{by: string, n: number, fate: string}[]} pushed in the order of each pusher
 * @param {Watcher} watcher
 */
export function faultsOf(pushed, { name, events, states = [], faults = [] }) {
  const found = faults.map((fault) => `${name}: ${fault}`);
  const say = (text) => found.push(`${name}: ${text}`);
  const known = new Map(pushed.map((entry) => [keyOf(entry), entry]));
  const seen = new Map();
  const lasts = {};
  let before;
  for (const event of events) {
    const key = keyOf(event);
    if (!known.has(key)) say(`${key} was never pushed`);
    if (seen.has(key)) say(`${key} came twice`);
    else if (event.n < (lasts[event.by] ?? 0)) say(`${key} came after ${event.by}${lasts[event.by]}`);
    if (before !== undefined && offset(event.cursor) <= offset(before)) say(`${key} at ${event.cursor} came after ${before}`);
    lasts[event.by] = Math.max(lasts[event.by] ?? 0, event.n);
    before = event.cursor;
    seen.set(key, event.cursor);
  }
  for (const { n, by, fate } of pushed) if (fate === 'accepted' && !seen.has(keyOf({ by, n }))) say(`${by}${n} was lost`);
  let value = 0;
  for (const { n } of states) {
    if (n < value) say(`the value went back from ${value} to ${n}`);
    value = Math.max(value, n);
  }
  return found;
}

/** What is wrong between readers of all: an event that only some were given, or at another cursor, or in another order. */
export function differences(watchers) {
  const found = [];
  const [first, ...others] = watchers;
  const at = new Map(first.events.map((event, index) => [keyOf(event), { ...event, index }]));
  for (const { name, events } of others) {
    let before = -1;
    for (const event of events) {
      const own = at.get(keyOf(event));
      if (own === undefined) found.push(`${keyOf(event)} was given to ${name}, and not to ${first.name}`);
      else {
        const [theirs, ours] = [event, own].map(({ cursor }) => cursor);
        if (place(ours) !== place(theirs)) found.push(`${keyOf(event)} is ${theirs} for ${name}, and ${ours} for ${first.name}`);
        if (own.index < before) found.push(`${keyOf(event)} came to ${name} in another order`);
        before = own.index;
      }
    }
    const given = new Set(events.map(keyOf));
    for (const key of at.keys()) if (!given.has(key)) found.push(`${key} was given to ${first.name}, and not to ${name}`);
  }
  return found;
}

/** Pushers and watchers of all kinds on one cluster. `check` waits for the last event and says what is wrong. */
export async function startChecking(t, { url, nodes }, { pushers = 2 } = {}) {
  const first = new Pusher(t, url, 'a', { address: '127.0.2.1' });
  await until(() => first.last > 0, 'the first push', () => JSON.stringify(first.answers));
  for (const { server, url } of nodes) {
    const knows = async () => (await curl(`${url}api/metrics/${STATE}`)).status === 200;
    if (server !== undefined) await until(knows, 'each node to have it');
  }
  const watchers = await Promise.all([
    ...[1, 2, 3].map((n) => watchSocket(t, url, { address: `127.0.1.${n}`, name: `WebSocket ${n}` })),
    ...[1, 2, 3].map((n) => watchEvents(t, url, { name: `EventSource ${n}` })),
    ...[1, 2, 3].map((n) => watchPolls(t, [url], { address: `127.0.1.${n}`, hold: 20, name: `long poll ${n}` })),
    ...[4, 5, 6].map((n) => watchPolls(t, [url], { address: `127.0.1.${n}`, name: `poll ${n}` })),
    // From node to node, with the cursor of the one before.
    watchPolls(t, nodes.map((node) => node.url), { address: '127.0.1.7', name: 'poll of each node in turn' }),
    watchPolls(t, nodes.map((node) => node.url), { address: '127.0.1.8', hold: 5, name: 'long poll of each node in turn' }),
  ]);
  const tags = await Promise.all([7, 8, 9].map((n) => watchTags(t, url, { address: `127.0.1.${n}`, name: `tag ${n}` })));
  // Whoever began between two events has not seen the first ones: from here on everybody has to see everything.
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
    /** Whether everybody has the last event of each pusher. */
    caughtUp: () =>
      all.every(({ by, last }) => watchers.every(({ events }) => events.findLast((event) => event.by === by)?.n >= last)),
    async stop() {
      await Promise.all(all.map((pusher) => pusher.stop()));
      let late;
      const state = () => JSON.stringify(watchers.map(({ name, here, events, refusals }) => [name, here, events.at(-1), refusals]));
      await within(40, this.caughtUp, 'everybody to have the last event', state).catch((error) => (late = error));
      const found = [
        ...watchers.flatMap((watcher) => faultsOf(pushed(), own(watcher))),
        ...differences(watchers.map(own)),
        ...tags.flatMap((watcher) => faultsOf([], watcher)),
      ];
      if (found.length === 0 && late) throw late;
      return found.length > MOST_TOLD ? [...found.slice(0, MOST_TOLD), `and ${found.length - MOST_TOLD} more`] : found;
    },
    summary: () => ({
      pushed: pushed().length,
      answers: all.map(({ answers }) => answers),
      watchers: Object.fromEntries(
        [...watchers, ...tags].map(({ name, connected, refusals, unchanged }) => {
          return [name, { connected: connected.length, ...refusals, unchanged }];
        }),
      ),
    }),
  };
}
