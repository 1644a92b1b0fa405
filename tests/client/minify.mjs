// Builds static/client/index.min.js, the library as one file for pages that load it without a bundler.
// usage: node tests/client/minify.mjs        prints nothing; the tests compare the file with the output of this script

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(new URL('../e2e/package.json', import.meta.url));
const CLIENT = new URL('../../static/client/', import.meta.url);

/**
 * Properties that are safe to mangle: only the library's own modules use them. Names of the public API, of the server's
 * messages and of the messages between tabs must stay.
 */
const PRIVATE =
  /^(address|admits|beat|begin|deliver|handler|isDead|isStale|link|opened|renew|takes|timer)$/;

/** Returns the expected contents of index.min.js. */
export async function minified() {
  const { build } = require('esbuild');
  const { minify } = require('terser');
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('index.js', CLIENT))],
    bundle: true,
    format: 'esm',
    minify: true,
    write: false,
    logLevel: 'error',
  });
  const { code } = await minify(outputFiles[0].text, {
    module: true,
    ecma: 2022,
    // `unsafe` shortens string operations; the library has no code that it could break.
    compress: { passes: 3, unsafe_arrows: true, unsafe: true, pure_getters: true },
    mangle: { properties: { regex: PRIVATE } },
  });
  const { version } = JSON.parse(readFileSync(new URL('package.json', CLIENT)));
  return `// tricast-client ${version}, MIT\n${code}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(new URL('index.min.js', CLIENT), await minified());
