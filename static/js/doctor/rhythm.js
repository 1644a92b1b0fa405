// @ts-check
/** By how much the beats of a stream were held back, and in what lumps they came. The same as in the command line. */

/** @typedef {{given: number, came: number, bytes: number}} Beat times in ms: the server's since the stream began, ours since the request */

/** Held for longer than this is held on purpose; less may be the network. */
export const HELD_MS = 600;

/** Beats that come within this of each other came together. */
const TOGETHER_MS = 40;

/** @param {Beat[]} beats not empty */
export function read(beats) {
  // The clocks have no common beginning: the quickest beat is the measure.
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
