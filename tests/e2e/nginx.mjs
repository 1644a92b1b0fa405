// Runs nginx with the configuration in nginx/. Only ports and paths are changed.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, copyFileSync, cpSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start, startServer, temporaryDirectory, until } from './helpers.mjs';

const SOURCE = fileURLToPath(new URL('../../nginx', import.meta.url));
const KEYS = fileURLToPath(new URL('../keys', import.meta.url));

const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

/** Returns the directives of nginx's temporary directories. */
export const temporaryPaths = (directory) => TEMPORARY.map((kind) => `${kind}_temp_path ${directory}/${kind};`).join('\n');

/** Returns the arguments of nginx for the configuration in `directory`. */
export const flagsOf = (directory) => [
  ...['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log')],
  ...['-g', `pid ${directory}/pid;`],
];

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * Writes the configuration to a temporary directory, ready to start.
 * @param {{ports: number[], site?: string, changes?: Record<string, [string | RegExp, any][]>}} options `ports` of the nodes;
 *   `site` of nginx/choices to use instead of the plain one; `changes` to files, each of which has to match
 */
export async function render(t, { ports, site, changes = {} }) {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755); // the workers run as another user
  cpSync(SOURCE, directory, { recursive: true });
  if (site !== undefined) copyFileSync(join(directory, 'choices', `${site}.conf`), join(directory, 'conf.d/tricast.conf'));
  if (ports.length > 1) {
    copyFileSync(join(directory, 'choices/upstream-several.conf'), join(directory, 'conf.d/upstream.conf'));
  }
  const change = (file, all) => {
    const path = join(directory, file);
    let text = readFileSync(path, 'utf8');
    for (const [from, to] of all) {
      assert.ok(typeof from === 'string' ? text.includes(from) : from.test(text), `${file} has no ${from}`);
      text = typeof from === 'string' || from.global ? text.replaceAll(from, to) : text.replace(from, to);
    }
    writeFileSync(path, text);
  };
  const port = await freePort();
  const securePort = await freePort();
  change('nginx.conf', [
    ['user www-data;', process.getuid() === 0 ? 'user www-data;' : ''],
    ['/var/log/nginx', directory],
    ['buffer=64k flush=1s', ''],
    ['http {', `http {\n${temporaryPaths(directory)}`],
  ]);
  change('conf.d/zones.conf', [
    ['/var/cache', directory],
    ['/run', directory],
  ]);
  const nodes = (line) => ports.map((own) => line.replace(':8080', `:${own}`)).join('');
  change('conf.d/upstream.conf', [
    ...(ports.length > 1 ? [[/ *server 127\.0\.0\.1:8081.*\n/g, '']] : []),
    [/ *server 127\.0\.0\.1:8080.*\n/g, nodes],
  ]);
  change('conf.d/tricast.conf', [
    [/listen \[::\][^;]*;/g, ''],
    ['listen 80', `listen 127.0.0.1:${port}`],
    ...(site === 'tls' ? [['listen 443', `listen 127.0.0.1:${securePort}`]] : []),
  ]);
  change('snippets/tls.conf', [
    ['/etc/ssl/tricast/fullchain.pem', join(KEYS, 'localhost.cert.pem')],
    ['/etc/ssl/tricast/privkey.pem', join(KEYS, 'rsa.pem')],
  ]);
  for (const [file, all] of Object.entries(changes)) change(file, all);
  return { directory, port, securePort, flags: flagsOf(directory) };
}

/** Starts nginx in front of servers at `ports`: `{url, secureUrl, log(), errors(), reload(), ...}`. */
export async function startNginx(t, options) {
  return runNginx(t, await render(t, options));
}

/** Starts nginx with a written configuration, and waits until it listens. */
export async function runNginx(t, { directory, port, securePort, flags }) {
  const child = start(t, 'nginx', [...flags.slice(0, -1), `${flags.at(-1)} daemon off;`], { stopSignal: 'SIGTERM' });
  const read = (name) => readFileSync(join(directory, name), 'utf8');
  const listens = () =>
    new Promise((resolve) => {
      assert.equal(child.exitCode, null, child.output);
      const probe = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      probe.on('connect', () => probe.destroy());
    });
  await until(listens, 'nginx', () => child.output);
  const workers = () => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ');
  return {
    port,
    url: `http://127.0.0.1:${port}/`,
    secureUrl: `https://127.0.0.1:${securePort}/`,
    log: () => read('access.log'),
    errors: () => read('error.log'),
    cachedFiles: (cache) => readdirSync(join(directory, cache), { recursive: true }),
    workers,
    /** Reloads the configuration and waits for new workers. */
    async reload() {
      const before = workers();
      child.kill('SIGHUP');
      await until(() => workers().some((pid) => !before.includes(pid)), 'new workers', () => read('error.log'));
    },
  };
}

/** Change that enables the cache of polls. */
export const POLL_CACHE = { 'snippets/poll.conf': [['# include snippets/poll-cache.conf;', 'include snippets/poll-cache.conf;']] };

/** Starts a server that trusts nginx as its proxy, and nginx in front of it. */
export async function startServerWithNginx(t, { env = {}, ...options } = {}) {
  const server = await startServer(t, { env: { TRICAST_TRUSTED_PROXIES: '127.0.0.1', ...env } });
  return { server, nginx: await startNginx(t, { ports: [server.port], ...options }) };
}
