// The npm package: its contents, its types, its size, and the React hooks.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { FakeServer } from './fake-server.mjs';
import { settle } from './helpers.mjs';
import { minified } from './minify.mjs';

const CLIENT = fileURLToPath(new URL('../../static/client/', import.meta.url));
const TOOLS = fileURLToPath(new URL('../e2e/node_modules/', import.meta.url));
const MAX_BYTES = 9000;

/** Runs the TypeScript compiler and returns its errors, or ''. */
function typeErrors(...args) {
  try {
    return void execFileSync(process.execPath, [join(TOOLS, 'typescript/bin/tsc'), ...args]) ?? '';
  } catch ({ stdout }) {
    return String(stdout);
  }
}

describe('the package', () => {
  let home;
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'tricast-client-'));
    const [{ filename }] = JSON.parse(
      execFileSync('npm', ['pack', '--json', '--pack-destination', home], { cwd: CLIENT }),
    );
    const into = join(home, 'node_modules', 'tricast-client');
    mkdirSync(into, { recursive: true });
    execFileSync('tar', ['-xzf', join(home, filename), '-C', into, '--strip-components=1']);
    for (const name of ['react', 'react-test-renderer', 'scheduler', 'react-is', '@types', 'csstype'])
      symlinkSync(join(TOOLS, name), join(home, 'node_modules', name));
    writeFileSync(join(home, 'package.json'), '{"type": "module"}');
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  test('it contains the modules, their types, the licence and a readme, and nothing else', () => {
    const names = readdirSync(join(home, 'node_modules/tricast-client'), { recursive: true }).sort();
    for (const name of [
      'index.js',
      'index.d.ts',
      'index.min.js',
      'react.js',
      'react.d.ts',
      'package.json',
      'README.md',
      'LICENSE',
      'transports/poll.js',
    ]) {
      assert.ok(names.includes(name), name);
    }
    assert.ok(
      names.every((name) => /^(transports|LICENSE)$|\.(js|d\.ts|md|json)$/.test(name)),
      `${names}`,
    );
  });

  test('the hooks are marked as client-side code', () => {
    const [first] = readFileSync(join(home, 'node_modules/tricast-client/react.js'), 'utf8').split('\n');
    assert.equal(first, "'use client';");
  });

  test('it can be imported without a browser', () => {
    const script = "import('tricast-client').then(({ connect }) => console.log(typeof connect))";
    assert.equal(execFileSync(process.execPath, ['-e', script], { cwd: home, encoding: 'utf8' }).trim(), 'function');
  });

  test('the minified file is up to date and smaller than 9 kB with gzip -9', async () => {
    const file = readFileSync(join(CLIENT, 'index.min.js'), 'utf8');
    assert.equal(file, await minified(), 'rebuild it with: node tests/client/minify.mjs');
    const { length } = gzipSync(file, { level: 9 });
    assert.ok(length < MAX_BYTES, `${length} bytes`);
    const { connect, TricastError } = await import(pathToFileURL(join(CLIENT, 'index.min.js')));
    assert.ok(typeof connect === 'function' && new TricastError('X').code === 'X');
  });

  test('the modules pass the type check', () => {
    assert.equal(typeErrors('-p', fileURLToPath(new URL('tsconfig.json', import.meta.url))), '');
  });

  test('the type declarations accept the documented usage and reject wrong usage', () => {
    writeFileSync(
      join(home, 'example.ts'),
      `import { connect, TricastError, type Status, type Tricast } from 'tricast-client';
      const tricast: Tricast = connect('/', { token: async (refused) => (refused ? null : 'text'), transport: 'auto', queue: 10 });
      const off: () => void = tricast.subscribe('metrics.orders', (value, { channel, event, cursor }) => value.pendingOrders, {
        interval: '1s', backfill: '15m', onHistory: ({ channel, fields }) => fields[channel][0].last.toFixed(), onGap: ({ reason }) => reason.length,
        onError: (error: TricastError) => error.code,
      });
      const show = ({ state, transport, latency, since, nextTryAt, reason, cursor }: Status) => [state === 'stale', transport, latency, since, nextTryAt, reason, cursor];
      tricast.onStatus(show)();
      tricast.addEventListener('status', () => show(tricast.status));
      await tricast.request('mark_order_priority', { orderId: '1', priority: 'urgent' }, { timeout: 5, signal: new AbortController().signal });
      await tricast.request('a_newer_action', { anything: 1 });
      // @ts-expect-error a known action has typed parameters
      await tricast.request('mark_order_priority', { orderId: '1', priority: 'nope' });
      tricast.use('long-poll'); tricast.retry(); tricast.close(); off();
      // @ts-expect-error there is no such transport
      tricast.use('pigeon');
      // @ts-expect-error the status is read only
      tricast.status.state = 'live';
      // @ts-expect-error there is no such option
      connect('/', { tokn: '' });
      `,
    );
    writeFileSync(
      join(home, 'example.tsx'),
      `import { useChannel, useStatus, useTricast } from 'tricast-client/react';
      export function Orders() {
        const tricast = useTricast('/', { token: 'text' });
        const { value, error } = useChannel<{ pendingOrders: number }>(tricast, 'metrics.orders', { interval: '1s' });
        useChannel(tricast, 'orders', { onEvent: (data, { event }) => console.log(event, data) });
        const pending: number | undefined = value?.pendingOrders;
        return <p title={error?.code}>{useStatus(tricast)?.state}: {pending}</p>;
      }
      `,
    );
    writeFileSync(
      join(home, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          target: 'es2022',
          module: 'nodenext',
          lib: ['es2023', 'dom'],
          jsx: 'react-jsx',
          strict: true,
          noEmit: true,
          types: ['react'],
        },
        files: ['example.ts', 'example.tsx'],
      }),
    );
    assert.equal(typeErrors('-p', home), '');
  });

  test('the hooks render values and states, and close the connection when the component unmounts', async (t) => {
    const require = createRequire(join(home, 'package.json'));
    const { createElement: h, StrictMode } = require('react');
    const { act, create } = require('react-test-renderer');
    const { useChannel, useStatus, useTricast } = await import(
      pathToFileURL(join(home, 'node_modules/tricast-client/react.js'))
    );
    globalThis.IS_REACT_ACT_ENVIRONMENT = true;
    t.after(() => delete globalThis.IS_REACT_ACT_ENVIRONMENT);

    const server = new FakeServer();
    server.state('metrics.orders', { pendingOrders: 3 });
    const { WebSocket, fetch } = server;
    const events = [];
    function Orders({ channel }) {
      const tricast = useTricast('http://fake/', { WebSocket, fetch, storage: null });
      const { value } = useChannel(tricast, channel);
      useChannel(tricast, 'orders', { onEvent: ({ n }) => events.push(n) });
      return h('p', null, `${useStatus(tricast)?.state}: ${value?.pendingOrders}`);
    }
    const settleInAct = () => act(settle);
    let root;
    // Strict mode mounts everything twice: the first connection has to be closed.
    const page = (channel) => h(StrictMode, null, h(Orders, { channel }));
    await act(async () => void (root = create(page('metrics.orders'))));
    await settleInAct();
    const shown = () => root.toJSON().children[0];
    assert.equal(shown(), 'live: 3');
    assert.equal(server.links.size, 1);
    server.state('metrics.orders', { pendingOrders: 4 });
    server.event('orders', { n: 1 });
    server.event('orders', { n: 2 });
    await settleInAct();
    assert.deepEqual([shown(), events], ['live: 4', [1, 2]]);
    await act(async () => root.update(page('metrics.other')));
    await settleInAct();
    assert.equal(shown(), 'live: undefined');
    await act(async () => root.unmount());
    await settleInAct();
    assert.equal(server.links.size, 0);
  });
});
