#!/usr/bin/env node
// Measures the cost of an idle connection on this machine: opens many, and reads the memory of the kernel and of the processes.
//
// usage: node deploy/connections.mjs URL COUNT [PID...]      e.g. http://127.0.0.1:8080/ws 10000 $(pgrep -x tricast)
//
// URL is that of a WebSocket or an event stream; PIDs are those of the server and of nginx's workers, freshly started, because
// memory that was freed is reused. Both ends of each connection are on this machine: the kernel's figure is per
// socket, not per connection. This program needs its descriptors (`ulimit -n`), and the server has to allow one address so
// many connections (limits.max_connections_per_address and limits.handshakes_per_second_per_address at 0).

import { readFileSync } from 'node:fs';
import net from 'node:net';

/** Most handshakes in flight at once. */
const AT_ONCE = 50;

const [address, count, ...pids] = process.argv.slice(2);
if (!(Number(count) > 0)) {
  console.error('usage: node deploy/connections.mjs URL COUNT [PID...]');
  process.exit(2);
}
const url = new URL(address);
const request = [
  `GET ${url.pathname}${url.search} HTTP/1.1`,
  `Host: ${url.host}`,
  ...(url.pathname.endsWith('ws')
    ? ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dHJpY2FzdCBjb3VudHMuLg==']
    : ['Accept: text/event-stream']),
  '\r\n',
].join('\r\n');

const field = (file, name) => Number(new RegExp(`^${name}:?\\s+(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1]);
const look = () => ({
  slab: field('/proc/meminfo', 'Slab'),
  pages: Number(/^TCP: .* mem (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'utf8'))[1]),
  sockets: Number(/^TCP: inuse (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'utf8'))[1]),
  processes: pids.map((pid) => field(`/proc/${pid}/smaps_rollup`, 'Anonymous')),
});

function open() {
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(url.port || 80), url.hostname, () => socket.write(request));
    let text = '';
    const read = (piece) => {
      text += piece.toString('latin1');
      if (/^HTTP\/1\.1 (?!101|200)/.test(text)) return reject(new Error(text.split('\r\n\r\n')[0]));
      // The greeting has arrived: the one-time work for this connection is done.
      if (!text.includes('connected')) return;
      socket.off('data', read).resume();
      resolve(socket);
    };
    socket.on('data', read).on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${text.length} bytes`)));
  });
}

await open(); // the first one causes one-time allocations
const before = look();
const sockets = [];
while (sockets.length < Number(count)) {
  const group = Array.from({ length: Math.min(AT_ONCE, Number(count) - sockets.length) }, open);
  sockets.push(...(await Promise.all(group)));
}
const after = look();

const opened = after.sockets - before.sockets;
const kB = (value) => `${value.toFixed(1)} kB`;
console.log(`${sockets.length} connections, ${opened} sockets on this machine`);
console.log(`kernel, per socket       ${kB((after.slab - before.slab) / opened)}, and ${kB(((after.pages - before.pages) * 4) / opened)} of buffers`);
pids.forEach((pid, n) => {
  const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  const held = (after.processes[n] - before.processes[n]) / sockets.length;
  console.log(`${`${name} ${pid}, per connection`.padEnd(24)} ${kB(held)}`);
});
process.exit(0);
