// A real nginx in front of a real server: with the configuration in nginx/, or with one of the test's own.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, cpSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start, temporaryDirectory, until } from './helpers.mjs';

const SOURCE = fileURLToPath(new URL('../../nginx', import.meta.url));

const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

const temporaryPaths = (directory) => TEMPORARY.map((kind) => `${kind}_temp_path ${directory}/${kind};`).join('\n');

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** The configuration of the project with other ports and places, and nothing else changed. */
export function render(t, port, serverPort) {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755); // the workers are another user
  cpSync(SOURCE, directory, { recursive: true });
  const change = (file, changes) => {
    const path = join(directory, file);
    let text = readFileSync(path, 'utf8');
    for (const [from, to] of changes) {
      assert.ok(text.includes(from), `${file} has no ${from}`);
      text = text.replaceAll(from, to);
    }
    writeFileSync(path, text);
  };
  change('nginx.conf', [
    ['pid /run/nginx.pid;', `pid ${directory}/pid;`],
    ['/var/log/nginx', directory],
    ['http {', `http {\n${temporaryPaths(directory)}`],
  ]);
  change('conf.d/tricast.conf', [
    ['listen 80;', `listen 127.0.0.1:${port};`],
    ['listen [::]:80;', ''],
    ['server 127.0.0.1:8080;', `server 127.0.0.1:${serverPort};`],
  ]);
  return directory;
}

export const nginxArguments = (directory) => [
  '-p', directory, '-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log'),
];

async function run(t, port, directory) {
  const child = start(t, 'nginx', [...nginxArguments(directory), '-g', 'daemon off;'], { lastWord: 'SIGTERM' });
  const read = (name) => readFileSync(join(directory, name), 'utf8');
  await until(
    () =>
      new Promise((resolve) => {
        assert.equal(child.exitCode, null, child.output);
        const probe = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
        probe.on('connect', () => probe.destroy());
      }),
    'nginx',
    () => child.output,
  );
  return { port, url: `http://127.0.0.1:${port}/`, log: () => read('access.log') };
}

/** The project's configuration in front of `serverPort`: `{url, log()}`. */
export async function startNginx(t, serverPort) {
  const port = await freePort();
  return run(t, port, render(t, port, serverPort));
}

/** What every location of a small and proper configuration says. */
const COMMON = [
  'proxy_http_version 1.1;',
  'proxy_set_header Host $http_host;',
  'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;',
];

const LOCATIONS = {
  '= /ws': ['proxy_set_header Upgrade $http_upgrade;', 'proxy_set_header Connection "upgrade";'],
  '= /events': ['proxy_set_header Connection "";'],
  '/api/': ['proxy_set_header Connection "";'],
  '/': ['proxy_set_header Connection "";'],
};

/**
 * A small and proper configuration, spoiled: `without` drops every directive that holds one of these words (in the
 * locations of `within`, if that is given), `drop` drops locations, `more` adds lines to locations, to the server, or to
 * http.
 */
export async function startSpoiltNginx(t, serverPort, { without = [], within = Object.keys(LOCATIONS), more = {}, drop = [] }) {
  const [port, directory] = [await freePort(), temporaryDirectory(t)];
  chmodSync(directory, 0o755);
  const locations = Object.entries(LOCATIONS)
    .filter(([path]) => !drop.includes(path))
    .map(([path, own]) => {
      const spoilt = (line) => within.includes(path) && without.some((word) => line.includes(word));
      const lines = [...COMMON, ...own].filter((line) => !spoilt(line));
      return `location ${path} {\n${[...lines, more[path] ?? ''].join('\n')}\nproxy_pass http://127.0.0.1:${serverPort};\n}`;
    });
  writeFileSync(
    join(directory, 'nginx.conf'),
    `worker_processes 1;
pid ${directory}/pid;
events { worker_connections 256; }
http {
${temporaryPaths(directory)}
access_log ${directory}/access.log;
${(more.http ?? '').replace('DIRECTORY', directory)}
server {
listen 127.0.0.1:${port};
${more.server ?? ''}
${locations.join('\n')}
}
}
`,
  );
  return run(t, port, directory);
}
