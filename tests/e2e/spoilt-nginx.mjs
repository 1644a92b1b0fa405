// A small configuration of nginx in which something is wrong.

import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from './helpers.mjs';
import { flagsOf, freePort, run, temporaryPaths } from './nginx.mjs';

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
  return run(t, { directory, port, flags: flagsOf(directory) });
}
