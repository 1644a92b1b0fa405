// What every test needs: a server of its own, something pushed into it, and waiting without sleeping.
//
// A test starts what it uses and hands its context over (`t`), so that all of it ends with the test, however that ends.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';

/** How long anything may take that should happen at once, on a machine that is busy with something else. */
export const PATIENCE_MS = 15_000;

/** Tests share nothing, so those of a file run at the same time. */
export const TOGETHER = { concurrency: true, timeout: 60_000 };

export const BINARY = process.env.TRICAST_BIN ?? fileURLToPath(new URL('../../target/debug/tricast', import.meta.url));

/** Longer than the server's own limit for leaving. */
const LEAVE_MS = 25_000;

const cleanups = new WeakMap();

/** Does it when the test is over: last come, first undone, and each even if another fails. */
export function atEnd(t, undo) {
  const known = cleanups.get(t);
  if (known !== undefined) return void known.push(undo);
  const all = [undo];
  cleanups.set(t, all);
  t.after(async () => {
    const failures = [];
    for (const undo of all.reverse()) {
      try {
        await undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  });
}

/** A directory that is gone after the test. */
export function temporaryDirectory(t) {
  const path = mkdtempSync(join(tmpdir(), 'tricast-e2e-'));
  atEnd(t, () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A program that ends with the test, at the latest by `lastWord`. `child.output` is what it has written so far. */
export function start(t, command, args, { lastWord = 'SIGKILL', ...options } = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  child.output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (child.output += text));
  }
  child.ended = new Promise((resolve) => {
    child.on('error', (error) => {
      child.output += error;
      resolve({ code: null, signal: null, error });
    });
    child.on('exit', (code, signal) => resolve({ code, signal }));
  });
  const kill = () => child.kill(lastWord);
  running.add(kill);
  child.ended.then(() => running.delete(kill));
  atEnd(t, async () => {
    kill();
    await child.ended;
  });
  return child;
}

const running = new Set();
process.on('exit', () => running.forEach((kill) => kill()));

/** A server on a free port, or on `port`. It has to leave with exit code 0 when the test is over. */
export async function startServer(t, { port = 0, flags = [], env = {} } = {}) {
  // No settings of the surroundings, be they in the environment or in a file.
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRICAST_')));
  const child = start(t, BINARY, ['--listen', `127.0.0.1:${port}`, ...flags], {
    cwd: temporaryDirectory(t),
    env: { ...clean, ...env },
  });
  const greeting = () => /dashboard +http:\/\/127\.0\.0\.1:(\d+)\//.exec(child.output);
  let ended = false;
  child.ended.then(() => (ended = true));
  await until(() => ended || greeting() !== null, 'the greeting', () => child.output);
  assert.ok(greeting() !== null, `the server did not start: ${child.output}`);
  const server = new Server(child, Number(greeting()[1]));
  atEnd(t, () => (child.exitCode === null && child.signalCode === null ? server.stop() : undefined));
  return server;
}

class Server {
  constructor(child, port) {
    this.child = child;
    this.port = port;
    this.url = `http://127.0.0.1:${port}/`;
  }

  /** Pushes what `POST /api/metrics` takes: an object or an array, or its text. Answers `{accepted, cursor}`. */
  push(body) {
    return this.#post('api/metrics', body, 202);
  }

  /** A new order. */
  order(customerName) {
    return this.#post('api/orders', { items: 2, total: 19.9, customerName }, 201);
  }

  async #post(path, body, status) {
    const response = await fetch(this.url + path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const answer = await response.json();
    assert.equal(response.status, status, JSON.stringify(answer));
    return answer;
  }

  /** How many streams or held polls of one transport are open, by the server's own count. */
  async connections(transport) {
    const page = await (await fetch(`${this.url}metrics`)).text();
    return Number(new RegExp(`^tricast_connections\\{transport="${transport}"\\} (\\d+)$`, 'm').exec(page)?.[1]);
  }

  /** Asks it to leave and waits until it has left well. */
  async stop() {
    this.child.kill('SIGTERM');
    await this.hasLeft();
  }

  async hasLeft() {
    const late = setTimeout(() => this.child.kill('SIGKILL'), LEAVE_MS);
    const { code, signal } = await this.child.ended;
    clearTimeout(late);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `the server did not leave well: ${this.child.output}`);
  }

  /** Ends it without a word, as a power cut would. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.child.ended;
  }
}

/** Waits until `condition` holds; `seen` tells what there was instead. */
export async function until(condition, what, seen = () => '') {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`waited in vain for ${what}. There was: ${seen()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What came, in order. `next` reads on from where the last `next` ended. */
export class Inbox {
  all = [];
  #read = 0;
  #wake = () => {};

  add(item) {
    this.all.push(item);
    this.#wake();
  }

  /** The next one that `fits`; those before it are passed over. */
  async next(fits = () => true, what = fits) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      while (this.#read < this.all.length) {
        const item = this.all[this.#read++];
        if (fits(item)) return item;
      }
      const left = deadline - Date.now();
      if (left <= 0) assert.fail(`waited in vain for ${what}. There was: ${JSON.stringify(this.all.slice(-20), null, 1)}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => (clearTimeout(timer), resolve());
      });
    }
  }
}

/** An npm ws client. Its inbox holds messages as objects, each with its very text as `raw`. */
export class Socket {
  inbox = new Inbox();

  /** Opens one and reads the greeting. */
  static async open(t, server, { path = 'ws', protocols = [], ...options } = {}) {
    const socket = new Socket(new URL(path, server.url.replace('http', 'ws')), protocols, options);
    atEnd(t, () => socket.client.terminate());
    await once(socket.client, 'open', { signal: AbortSignal.timeout(PATIENCE_MS) });
    socket.greeting = await socket.inbox.next((message) => message.type === 'connected');
    return socket;
  }

  constructor(url, protocols, options) {
    this.client = new WebSocket(url, protocols, options);
    this.client.on('message', (data) => {
      const raw = data.toString();
      this.inbox.add({ ...JSON.parse(raw), raw, at: performance.now() });
    });
    this.closed = new Promise((resolve) => {
      this.client.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.client.on('error', (error) => (this.error = error));
  }

  say(message) {
    this.client.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  /** Says it with a `requestId` and waits for the answer to it. */
  async ask(message) {
    this.asked = (this.asked ?? 0) + 1;
    const requestId = message.requestId ?? `r${this.asked}`;
    this.say({ ...message, requestId });
    return this.inbox.next((answer) => answer.requestId === requestId, `the answer to ${JSON.stringify(message)}`);
  }

  async subscribe(channels, more = {}) {
    const answer = await this.ask({ type: 'subscribe', channels, ...more });
    assert.equal(answer.type, 'subscribed', answer.raw);
    return answer;
  }

  /** Everything that came for one channel. */
  of(channel) {
    return this.inbox.all.filter((message) => message.channel === channel);
  }

  async close() {
    this.client.close(1000);
    return this.closed;
  }
}

/** An npm eventsource client that listens to events called `names`. Its inbox holds `{name, id, data}`. */
export function openEvents(t, url, names) {
  const source = new EventSource(url);
  atEnd(t, () => source.close());
  const stream = { source, inbox: new Inbox(), opened: 0 };
  source.addEventListener('open', () => (stream.opened += 1));
  for (const name of ['connected', 'gap', 'bye', ...names]) {
    source.addEventListener(name, ({ data, lastEventId }) => stream.inbox.add({ name, id: lastEventId, data }));
  }
  stream.next = (name) => stream.inbox.next((event) => event.name === name, `the event ${name}`);
  stream.of = (name) => stream.inbox.all.filter((event) => event.name === name);
  return stream;
}

/** Runs the real curl: `{status, headers, body, seconds}`. Header names are in lower case. */
export async function curl(...args) {
  const format = '\n%{http_code} %{time_total}';
  const { error, stdout, stderr } = await new Promise((resolve) => {
    const all = ['--silent', '--show-error', '--include', '--max-time', '40', '--write-out', format, ...args];
    execFile('curl', all, (error, stdout, stderr) => resolve({ error, stdout, stderr }));
  });
  assert.equal(error, null, `curl ${args.join(' ')}: ${stderr}`);
  const [status, seconds] = stdout.slice(stdout.lastIndexOf('\n') + 1).split(' ').map(Number);
  const rest = stdout.slice(0, stdout.lastIndexOf('\n')).replace(/^HTTP\S+ 100 [^]*?\r\n\r\n/, '');
  const end = rest.indexOf('\r\n\r\n');
  const fields = rest.slice(0, end).split('\r\n').slice(1).map((line) => line.split(/: ?(.*)/s, 2));
  const headers = Object.fromEntries(fields.map(([name, value]) => [name.toLowerCase(), value]));
  return { status, seconds, headers, body: rest.slice(end + 4) };
}

/** A proxy in front of `port` that can cut every connection, at once or in the middle of what comes next. */
export async function startCuttingProxy(t, port) {
  const pairs = new Set();
  let opened = 0;
  let cutMidway = false;
  const cut = () => pairs.forEach((pair) => pair.forEach((socket) => socket.destroy()));
  const proxy = net.createServer((near) => {
    opened += 1;
    const far = net.connect(port, '127.0.0.1');
    const pair = [near, far];
    pairs.add(pair);
    for (const socket of pair) {
      socket.on('error', () => {});
      socket.on('close', () => {
        pairs.delete(pair);
        pair.forEach((other) => other.destroy());
      });
    }
    near.pipe(far);
    far.on('data', (bytes) => {
      if (!cutMidway) return near.write(bytes);
      cutMidway = false;
      near.write(bytes.subarray(0, bytes.length / 2), cut);
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  atEnd(t, () => {
    cut();
    proxy.close();
  });
  const { port: own } = proxy.address();
  return { port: own, url: `http://127.0.0.1:${own}/`, cut, cutMidway: () => (cutMidway = true), opened: () => opened };
}

/** JSON as the server writes it: in one line, with sorted keys. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const fields = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${fields.join(',')}}`;
}

/** The very text of the member `name` in the text of an object, `{...}` by itself. */
export function memberText(text, name) {
  const start = text.indexOf(`"${name}":{`) + name.length + 3;
  assert.ok(start > name.length + 2, `no ${name} in ${text}`);
  let depth = 0;
  for (const { 0: token, index } of text.slice(start).matchAll(/"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (token === '{') depth += 1;
    if (token === '}') depth -= 1;
    if (depth === 0) return text.slice(start, start + index + 1);
  }
  return assert.fail(`${name} does not end in ${text}`);
}
