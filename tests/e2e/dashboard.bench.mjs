// Measures the CPU time and memory of the dashboard in headless Chromium, with charts at a given update rate.
// usage: node dashboard.bench.mjs [SECONDS] [CHARTS] [UPDATES_A_SECOND] [RANGE]      default 60 12 20 5m
//
// Main thread: `TaskDuration` of Chromium's Performance domain. Process: CPU time of the renderer with all its threads.
// Heap: `JSHeapUsedSize` after a forced collection. The server, this script and the browser share the machine.

import { launch } from './browser.mjs';
import { startServer } from './helpers.mjs';

const [seconds = 60, charts = 12, rate = 20] = process.argv.slice(2, 5).map(Number);
const range = process.argv[5] ?? '5m';
const SETTLE_MS = 5_000;
const HEAP_EVERY_MS = Math.max(5_000, (seconds * 1000) / 12);

const cleanups = [];
const t = { after: (cleanup) => cleanups.push(cleanup) };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const server = await startServer(t);
const tiles = Array.from({ length: charts }, (_, i) => ({
  id: `c${i}`, type: 'chart', title: `Chart ${i}`, channel: `metrics.bench${i}`, field: 'value', width: 4, height: 3,
}));
await server.send('PUT', 'api/dashboards/default', { name: 'Bench', tiles });

const levels = tiles.map(() => 50);
const push = () =>
  server.push(tiles.map(({ channel }, i) => {
    levels[i] += Math.random() * 4 - 2;
    return { channel, data: { value: Math.round(levels[i] * 100) / 100 } };
  }));
await push();

const browser = await launch();
const page = await (await browser.newContext({ viewport: { width: 1920, height: 1080 } })).newPage();
// Counts messages in the page, because reporting each frame to this script would cost more than the frame.
await page.addInitScript(() => {
  globalThis.received = 0;
  const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
  Object.defineProperty(WebSocket.prototype, 'onmessage', {
    set(handler) {
      set.call(this, (event) => {
        globalThis.received += event.data.includes('metrics.bench') ? 1 : 0;
        handler.call(this, event);
      });
    },
  });
});
await page.addInitScript((name) => localStorage.setItem('tricast.range', name), range);
page.on('console', (m) => process.env.DEBUG && console.log(m.text())); page.on('pageerror', (e) => console.log(String(e.stack)));
await page.goto(`${server.url}?transport=ws`);
await page.locator('#badge[data-state=live]').waitFor();
await page.locator('.u-wrap').nth(charts - 1).waitFor();

const pushing = setInterval(() => void push(), 1000 / rate);
await wait(SETTLE_MS);

const cdp = await page.context().newCDPSession(page);
const whole = await browser.newBrowserCDPSession();
await cdp.send('Performance.enable');
const metrics = async () => {
  const { metrics: list } = await cdp.send('Performance.getMetrics');
  return Object.fromEntries(list.map(({ name, value }) => [name, value]));
};
const renderers = async () => {
  const { processInfo } = await whole.send('SystemInfo.getProcessInfo');
  return processInfo.filter(({ type }) => type === 'renderer').reduce((sum, { cpuTime }) => sum + cpuTime, 0);
};
const heap = async () => {
  await cdp.send('HeapProfiler.collectGarbage');
  return (await metrics()).JSHeapUsedSize / 1024 / 1024;
};
await cdp.send('HeapProfiler.enable');

const heaps = [await heap()];
let main = 0;
let process_ = 0;
let measured = 0;
const received = () => page.evaluate(() => globalThis.received);
const receivedBefore = await received();
const startedAt = Date.now();
while (Date.now() - startedAt < seconds * 1000) {
  // Forced collections are not part of the measurement.
  const [before, cpu, from] = [await metrics(), await renderers(), Date.now()];
  await wait(Math.min(HEAP_EVERY_MS, seconds * 1000 - (Date.now() - startedAt)));
  main += (await metrics()).TaskDuration - before.TaskDuration;
  process_ += (await renderers()) - cpu;
  measured += (Date.now() - from) / 1000;
  heaps.push(await heap());
}
clearInterval(pushing);

const share = (cpu) => `${((100 * cpu) / measured).toFixed(1)} % of one core`;
console.log(`${charts} charts, ${rate} updates a second each, range ${range}, ${Math.round(measured)} s, 1920 x 1080`);
console.log(`updates received   ${(((await received()) - receivedBefore) / ((Date.now() - startedAt) / 1000)).toFixed(0)} a second`);
console.log(`main thread        ${share(main)}`);
console.log(`renderer process   ${share(process_)}`);
console.log(`heap, collected    ${heaps.map((size) => size.toFixed(1)).join('  ')} MiB`);

await browser.close();
for (const cleanup of cleanups.reverse()) await cleanup();
