// @ts-check
/** Measures how long the probe events of a stream were held back, and in how many batches they arrived, as the command line does. */

/** @typedef {{given: number, came: number, bytes: number}} Beat times in ms: the server's since the start of the stream, the browser's since the request */

/** Longer delays are deliberate buffering; shorter ones may be the network. */
export const HELD_MS = 600;

/** Probe events that arrive within this time form one batch. */
const TOGETHER_MS = 40;

/** Returns the delay and the batches of the events. @param {Beat[]} beats not empty */
export function read(beats) {
  // The clocks have no common origin, so delays are relative to the fastest event.
  const late = beats.map(({ given, came }) => came - given);
  const held = Math.max(...late) - Math.min(...late);
  let [lumps, largest, lump, last] = [0, 0, 0, -Infinity];
  for (const { came, bytes } of beats) {
    if (came - last <= TOGETHER_MS) lump += bytes;
    else [lumps, lump] = [lumps + 1, bytes];
    last = came;
    largest = Math.max(largest, lump);
  }
  return { held, lumps, largest, isHeld: held >= HELD_MS && lumps * 2 <= beats.length };
}
