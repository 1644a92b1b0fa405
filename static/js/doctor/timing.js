// @ts-check
/** Measures how long the probe events of a stream were held back, and in how many batches they arrived, as the command line does. */

/** @typedef {{sentAt: number, receivedAt: number, bytes: number}} ProbeEvent times in ms: the server's since the start of the stream, the browser's since the request */

/** Longer delays are deliberate buffering; shorter ones may be the network. */
export const HELD_MS = 600;

/** Probe events that arrive within this time form one batch. */
const BATCH_MS = 40;

/** Returns the delay and the batches of the events. @param {ProbeEvent[]} events not empty */
export function measure(events) {
  // The clocks have no common origin, so delays are relative to the fastest event.
  const delays = events.map(({ sentAt, receivedAt }) => receivedAt - sentAt);
  const held = Math.max(...delays) - Math.min(...delays);
  let [batches, largest, bytesOfBatch, last] = [0, 0, 0, -Infinity];
  for (const { receivedAt, bytes } of events) {
    if (receivedAt - last <= BATCH_MS) bytesOfBatch += bytes;
    else [batches, bytesOfBatch] = [batches + 1, bytes];
    last = receivedAt;
    largest = Math.max(largest, bytesOfBatch);
  }
  return { held, batches, largest, isHeld: held >= HELD_MS && batches * 2 <= events.length };
}
