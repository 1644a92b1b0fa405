// Runs nginx with a minimal configuration that has a mistake.

import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from './helpers.mjs';
import { flagsOf, freePort, runNginx, temporaryPaths } from './nginx.mjs';

/** Directives of every location of the correct minimal configuration. */
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
 * Starts nginx with a modified minimal configuration: `without` removes every directive that contains one of these words
 * (only in the locations of `within`, if given), `drop` removes locations, `more` adds lines to locations, to the server, or
 * to http.
 */
export async function startMisconfiguredNginx(t, serverPort, { without = [], within = Object.keys(LOCATIONS), more = {}, drop = [] }) {
  const [port, directory] = [await freePort(), temporaryDirectory(t)];
  chmodSync(directory, 0o755);
  const locations = Object.entries(LOCATIONS)
    .filter(([path]) => !drop.includes(path))
    .map(([path, own]) => {
      const isRemoved = (line) => within.includes(path) && without.some((word) => line.includes(word));
      const lines = [...COMMON, ...own].filter((line) => !isRemoved(line));
      return `location ${path} {\n${[...lines, more[path] ?? ''].join('\n')}\nproxy_pass http://127.0.0.1:${serverPort};\n}`;
    });
  writeFileSync(
    join(directory, 'nginx.conf'),
    `worker_processes 1;
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
  return runNginx(t, { directory, port, flags: flagsOf(directory) });
}
