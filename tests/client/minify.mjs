// Makes static/client/index.min.js, the library as one file for pages that load it without a bundler.
// usage: node tests/client/minify.mjs        prints nothing; the tests compare the file with what this would write

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(new URL('../e2e/package.json', import.meta.url));
const CLIENT = new URL('../../static/client/', import.meta.url);

/**
 * Names that only the library's own modules use: not its surface, not the server's messages, nor what tabs tell each other.
 * Nothing else is renamed.
 */
const INWARD =
  /^(address|admits|beat|begin|give|handler|isDead|isStale|link|opened|renew|takes|timer)$/;

/** The text that index.min.js has to have. */
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
    // `unsafe` writes texts shorter; what it could break is not in here.
    compress: { passes: 3, unsafe_arrows: true, unsafe: true, pure_getters: true },
    mangle: { properties: { regex: INWARD } },
  });
  const { version } = JSON.parse(readFileSync(new URL('package.json', CLIENT)));
  return `// tricast-client ${version}, MIT\n${code}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(new URL('index.min.js', CLIENT), await minified());
