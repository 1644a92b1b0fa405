// Measures the traffic between nodes and Redis: bytes and commands, idle and under pushes.
// usage: node tests/e2e/bus.bench.mjs [NODES]        needs `cargo build` (or TRICAST_BIN), redis-server and redis-cli
import { spawn, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { TRICAST_BIN: binary, ...environment } = process.env; // a node would read it as a setting
const program = binary ?? new URL('../../target/debug/tricast', import.meta.url).pathname;
const count = Number(process.argv[2] ?? 3);
const directory = mkdtempSync(join(tmpdir(), 'tricast-bus-'));
const socket = join(directory, 'redis.sock');
const children = [];
const pause = (seconds) => new Promise((done) => setTimeout(done, 1_000 * seconds));

function start(command, args, env = {}) {
  const child = spawn(command, args, { cwd: directory, env: { ...environment, ...env }, stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  return child;
}

/** Starts a node and resolves with its URL. */
function startNode(name) {
  const child = start(program, ['--listen', '127.0.0.1:0'], {
    TRICAST_BUS: `unix://${socket}`,
    TRICAST_NODE_ID: name,
    TRICAST_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
  });
  return new Promise((done, fail) => {
    let text = '';
    child.once('exit', () => fail(new Error(`a node exited: ${text}`)));
    child.stdout.on('data', (chunk) => {
      text += chunk;
      const found = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
      if (found) done(found[0]);
    });
  });
}

function traffic() {
  const info = execFileSync('redis-cli', ['-s', socket, 'info'], { encoding: 'utf8' });
  const read = (name) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)[1]);
  return {
    received: read('total_net_input_bytes'),
    sent: read('total_net_output_bytes'),
    commands: read('total_commands_processed'),
    memory: read('used_memory'),
    clients: read('connected_clients'),
  };
}

async function measure(name, seconds, work) {
  const before = traffic();
  const startedAt = performance.now();
  const units = await work(seconds);
  const took = (performance.now() - startedAt) / 1_000;
  const after = traffic();
  const per = (name) => (after[name] - before[name]) / (units ?? took);
  const unit = units ? 'push' : 's';
  console.log(
    `${name}: ${per('received').toFixed(0)} B/${unit} to Redis, ${per('sent').toFixed(0)} B/${unit} from it, ` +
      `${per('commands').toFixed(1)} commands/${unit}` +
      (units ? `, ${(units / took).toFixed(0)} pushes/s` : `, ${after.clients - 1} connections, ${(after.memory / 1e6).toFixed(1)} MB`),
  );
}

try {
  start('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'yes', '--appendfsync', process.env.APPENDFSYNC ?? 'always']);
  await pause(1);
  const nodes = [];
  for (let at = 0; at < count; at += 1) nodes.push(await startNode(`n${at}`));
  await pause(3);
  await measure(`${count} nodes, idle`, 10, pause);
  const body = JSON.stringify({ channel: 'deploys', event: 'released', data: { version: '1.2.3', by: 'ada', to: 'production' } });
  for (const [name, at] of [['sequential', 1], ['64 concurrent', 64]]) {
    await measure(`events of ${body.length} bytes, ${name}`, 5, async (seconds) => {
      const until = performance.now() + 1_000 * seconds;
      let pushed = 0;
      const one = async (worker) => {
        while (performance.now() < until) {
          const response = await fetch(`${nodes[worker % count]}/api/metrics`, { method: 'POST', body });
          if (response.status !== 202) throw new Error(`a push returned ${response.status}`);
          await response.arrayBuffer();
          pushed += 1;
        }
      };
      await Promise.all(Array.from({ length: at }, (_, worker) => one(worker)));
      return pushed;
    });
  }
} finally {
  for (const child of children.reverse()) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}
