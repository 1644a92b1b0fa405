// A client that is connected to a fake server, and mocked time.

import { mock } from 'node:test';
import { connect } from '../../static/client/index.js';
import { FakeServer } from './fake-server.mjs';

const START_MS = 1_700_000_000_000;

/** Waits until all pending promises and immediates have run. Timers do not advance. */
export async function settle() {
  for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Advances the mocked time by `ms`, in short steps, so that work started in one step can complete in the next. */
export async function advance(ms, step = 100) {
  await settle();
  for (let left = ms; left > 0; left -= step) {
    mock.timers.tick(Math.min(step, left));
    await settle();
  }
}

/** In-memory replacement for `localStorage`; `entries` has its contents. */
export function fakeStorage() {
  const entries = new Map();
  return {
    entries,
    getItem: (key) => entries.get(key) ?? null,
    setItem: (key, value) => entries.set(key, value),
    removeItem: (key) => entries.delete(key),
  };
}

/** Starts a client on a fake server of its own, with mocked time. `states` collects its states. */
export function startClient(t, options = {}, server = new FakeServer()) {
  if (!startClient.mocked.has(t)) {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: START_MS });
    const steady = Date.now;
    const clock = mock.method(Date, 'now', () => steady() + startClient.clockOffset);
    const monotonic = mock.method(performance, 'now', () => steady() - START_MS );
    startClient.mocked.add(t);
    t.after(() => {
      clock.mock.restore();
      monotonic.mock.restore();
      mock.timers.reset();
      startClient.clockOffset = 0;
    });
  }
  const storage = fakeStorage();
  const { WebSocket, fetch } = server;
  const client = connect('http://fake/', { WebSocket, fetch, storage, ...options });
  t.after(() => client.close());
  const states = [];
  client.onStatus(({ state, transport, reason }) => states.push({ state, transport, reason }));
  return { server, client, storage, states };
}
/** Tests whose time is mocked. */
startClient.mocked = new WeakSet();
/** Offset of the wall clock in ms. */
startClient.clockOffset = 0;

/** Moves the wall clock by `ms`, as a change of the system time or a sleep does. Timers are not affected. */
export const moveClock = (ms) => (startClient.clockOffset += ms);
