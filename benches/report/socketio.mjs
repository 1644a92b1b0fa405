// The real Socket.IO server, as something to measure beside tricast. `benches/report` starts it; it prints its address.
// Each line `run BYTES TICKS PERIOD_US` on standard input emits an event with a string of so many bytes to all clients of
// /tricast, every so many microseconds; `done N` is the number of deliveries.

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const { Server } = createRequire(new URL('../../tests/e2e/package.json', import.meta.url))('socket.io');
const http = createServer();
const clients = new Server(http, { serveClient: false, pingTimeout: 120_000 }).of('/tricast');
// Clients ask for a channel, as they do of tricast; here each receives everything.
clients.on('connection', () => {});
http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}`));

for await (const line of createInterface({ input: process.stdin })) {
  const [bytes, ticks, period] = line.split(' ').slice(1).map(Number);
  const padding = 'x'.repeat(bytes);
  let delivered = 0;
  const start = performance.now();
  for (let tick = 0; tick < ticks; tick += 1) {
    clients.emit('metric', { mark: '|', padding });
    delivered += clients.sockets.size;
    const next = start + ((tick + 1) * period) / 1000;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
  }
  console.log(`done ${delivered}`);
}
process.exit(0);
