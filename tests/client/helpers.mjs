// Time under the test's control, and a client on a fake server.

import { mock } from 'node:test';
import { connect } from '../../static/client/index.js';
import { FakeServer } from './fake-server.mjs';

const START_MS = 1_700_000_000_000;

/** Lets everything happen that needs no time. */
export async function settle() {
  for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets `ms` pass, in steps short enough that what one step starts can end in the next. */
export async function pass(ms, step = 100) {
  await settle();
  for (let left = ms; left > 0; left -= step) {
    mock.timers.tick(Math.min(step, left));
    await settle();
  }
}

/** A storage that is an object. */
export function fakeStorage() {
  const kept = new Map();
  return {
    kept,
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: (key) => kept.delete(key),
  };
}

/** A client on a server of its own; time stands still. `got` fills with what the channel `deploys` brings. */
export function begin(t, options = {}, server = new FakeServer()) {
  if (!begin.on.has(t)) {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: START_MS });
    const steady = Date.now;
    const clock = mock.method(Date, 'now', () => steady() + begin.set);
    const monotonic = mock.method(performance, 'now', () => steady() - START_MS );
    begin.on.add(t);
    t.after(() => {
      clock.mock.restore();
      monotonic.mock.restore();
      mock.timers.reset();
      begin.set = 0;
    });
  }
  const storage = fakeStorage();
  const { WebSocket, fetch } = server;
  const client = connect('http://fake/', { WebSocket, fetch, storage, ...options });
  t.after(() => client.close());
  const got = [];
  const states = [];
  client.onStatus(({ state, transport, reason }) => states.push({ state, transport, reason }));
  return { server, client, storage, got, states };
}
begin.on = new WeakSet();
/** How far the computer's clock was set, ms. */
begin.set = 0;

/** Sets the computer's clock, as a sleep does, too; time goes on as before. */
export const setClock = (by) => (begin.set += by);
