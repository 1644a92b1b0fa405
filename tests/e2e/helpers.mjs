// Helpers of all tests: a server per test, pushes, clients, and waiting without sleeping.
//
// Helpers that start something take the context of the test (`t`) and stop it when the test ends, also after a failure.

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

/** Longest wait for a condition that normally holds within milliseconds, with room for a busy machine. */
export const TIMEOUT_MS = 15_000;

/** Options of a suite: its tests share nothing, so they run concurrently. */
export const TOGETHER = { concurrency: true, timeout: 60_000 };

export const BINARY = process.env.TRICAST_BIN ?? fileURLToPath(new URL('../../target/debug/tricast', import.meta.url));

/** Longest wait for the server to exit. Above the server's own drain limit. */
const EXIT_MS = 25_000;

const cleanups = new WeakMap();

/** Registers a cleanup for the end of the test. Cleanups run in reverse order, each even if another one fails. */
export function onTestEnd(t, undo) {
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

/** Creates a directory that is removed after the test. */
export function temporaryDirectory(t) {
  const path = mkdtempSync(join(tmpdir(), 'tricast-e2e-'));
  onTestEnd(t, () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Starts a program, which is ended by `stopSignal` when the test ends. `child.output` has its output so far. */
export function start(t, command, args, { stopSignal = 'SIGKILL', ...options } = {}) {
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
  const kill = () => child.kill(stopSignal);
  running.add(kill);
  child.ended.then(() => running.delete(kill));
  onTestEnd(t, async () => {
    kill();
    await child.ended;
  });
  return child;
}

const running = new Set();
process.on('exit', () => running.forEach((kill) => kill()));

/** Starts a server on a free port, or on `port`. At the end of the test it has to stop with exit code 0. */
export async function startServer(t, { port = 0, flags = [], env = {} } = {}) {
  // Removes settings of the environment; the temporary directory has no configuration file.
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
  onTestEnd(t, () => (child.exitCode === null && child.signalCode === null ? server.stop() : undefined));
  return server;
}

class Server {
  constructor(child, port) {
    this.child = child;
    this.port = port;
    this.url = `http://127.0.0.1:${port}/`;
  }

  /** Pushes the body of a `POST /api/metrics`: an object, an array or JSON text. Returns `{accepted, cursor}`. */
  push(body) {
    return this.#post('api/metrics', body, 202);
  }

  /** Creates an order. */
  order(customerName) {
    return this.#post('api/orders', { items: 2, total: 19.9, customerName }, 201);
  }

  #post(path, body, status) {
    return this.send('POST', path, body, [status]);
  }

  /** Sends a request and returns the parsed body of the response, null if it is empty. */
  async send(method, path, body, statuses = [200, 201, 202, 204]) {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'Content-Type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(statuses.includes(response.status), `${method} ${path}: ${response.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  /** Returns the number of open streams or held polls of a transport, according to the server's metrics. */
  async connections(transport) {
    const page = await (await fetch(`${this.url}metrics`)).text();
    return Number(new RegExp(`^tricast_connections\\{transport="${transport}"\\} (\\d+)$`, 'm').exec(page)?.[1]);
  }

  /** Sends SIGTERM and waits for a clean exit. */
  async stop() {
    this.child.kill('SIGTERM');
    await this.waitForExit();
  }

  async waitForExit() {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), EXIT_MS);
    const { code, signal } = await this.child.ended;
    clearTimeout(timer);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `the server did not stop cleanly: ${this.child.output}`);
  }

  /** Sends SIGKILL, as a crash or a power cut would end the process. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.child.ended;
  }
}

/** Waits until `condition` holds. The failure names `description` and the result of `actual`. */
export async function until(condition, description, actual = () => '') {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`timed out waiting for ${description}; actual: ${actual()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Received items in order. Each `next` continues behind the item that the last one returned. */
export class Inbox {
  all = [];
  #read = 0;
  #wake = () => {};

  add(item) {
    this.all.push(item);
    this.#wake();
  }

  /** Returns the next item that `matches`, and skips those before it. */
  async next(matches = () => true, description = matches) {
    const deadline = Date.now() + TIMEOUT_MS;
    for (;;) {
      while (this.#read < this.all.length) {
        const item = this.all[this.#read++];
        if (matches(item)) return item;
      }
      const left = deadline - Date.now();
      if (left <= 0) assert.fail(`timed out waiting for ${description}; last items: ${JSON.stringify(this.all.slice(-20), null, 1)}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => (clearTimeout(timer), resolve());
      });
    }
  }
}

/** Client of npm's ws. Its inbox has messages as objects, each with its original text as `raw`. */
export class Socket {
  inbox = new Inbox();

  /** Opens a socket and waits for the greeting. */
  static async open(t, server, { path = 'ws', protocols = [], ...options } = {}) {
    const socket = new Socket(new URL(path, server.url.replace('http', 'ws')), protocols, options);
    onTestEnd(t, () => socket.client.terminate());
    await once(socket.client, 'open', { signal: AbortSignal.timeout(TIMEOUT_MS) });
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

  send(message) {
    this.client.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  /** Sends a message with a `requestId` and waits for its reply. */
  async request(message) {
    this.requests = (this.requests ?? 0) + 1;
    const requestId = message.requestId ?? `r${this.requests}`;
    this.send({ ...message, requestId });
    return this.inbox.next((reply) => reply.requestId === requestId, `the reply to ${JSON.stringify(message)}`);
  }

  async subscribe(channels, more = {}) {
    const reply = await this.request({ type: 'subscribe', channels, ...more });
    assert.equal(reply.type, 'subscribed', reply.raw);
    return reply;
  }

  /** Returns all messages received for a channel. */
  received(channel) {
    return this.inbox.all.filter((message) => message.channel === channel);
  }

  async close() {
    this.client.close(1000);
    return this.closed;
  }
}

/** Opens a client of npm's eventsource that listens to the events `names`. Its inbox has `{name, id, data}`. */
export function openEvents(t, url, names) {
  const source = new EventSource(url);
  onTestEnd(t, () => source.close());
  const stream = { source, inbox: new Inbox(), opened: 0 };
  source.addEventListener('open', () => (stream.opened += 1));
  for (const name of ['connected', 'gap', 'bye', ...names]) {
    source.addEventListener(name, ({ data, lastEventId }) => stream.inbox.add({ name, id: lastEventId, data }));
  }
  stream.next = (name) => stream.inbox.next((event) => event.name === name, `the event ${name}`);
  stream.received = (name) => stream.inbox.all.filter((event) => event.name === name);
  return stream;
}

/** Runs curl and returns `{status, headers, all, body, seconds}`. Header names are in lower case; `all` includes repeated ones. */
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
  return { status, seconds, headers, all: fields.map(([name]) => name.toLowerCase()), body: rest.slice(end + 4) };
}

/** Starts a proxy in front of `port` that can cut all connections, immediately or in the middle of the next message. */
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
  onTestEnd(t, () => {
    cut();
    proxy.close();
  });
  const { port: own } = proxy.address();
  return { port: own, url: `http://127.0.0.1:${own}/`, cut, cutMidway: () => (cutMidway = true), opened: () => opened };
}

/** Returns JSON as the server writes it: in one line, with sorted keys. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const fields = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${fields.join(',')}}`;
}

/** Returns the unparsed text of the member `name`, an object, of a JSON text. */
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

/** Runs a command of the program and returns its output. */
export async function runTricast(args, env = {}) {
  return new Promise((resolve, reject) => {
    execFile(BINARY, args, { env: { PATH: process.env.PATH, ...env }, cwd: tmpdir() }, (error, stdout, stderr) =>
      error === null ? resolve(stdout.trim()) : reject(new Error(stderr)),
    );
  });
}
