// @ts-check
/**
 * The page's clock: wall-clock time in ms that runs steadily, even if the computer's clock is set. After such a change (NTP, a
 * resumed virtual machine or laptop) the page's clock follows and notifies its watchers.
 */

/** Differences to the computer's clock below this are followed silently. */
const SET_MS = 2_000;
/** Differences below this are rounding of `Date`. */
const NOISE_MS = 50;

let base = Date.now() - performance.now();
/** @type {Set<(moved: number) => void>} */
const watchers = new Set();

/** Returns wall-clock time in whole ms; never steps back between two calls of {@link checkClock}. */
export const now = () => Math.round(base + performance.now());

/** @param {(moved: number) => void} watch called when the computer's clock was set, with the difference in ms: times before and after can't be compared */
export const onClockSet = (watch) => watchers.add(watch);

/** Compares with the computer's clock; call it regularly. */
export function checkClock() {
  const moved = Date.now() - now();
  if (Math.abs(moved) < NOISE_MS) return;
  base += moved;
  if (Math.abs(moved) >= SET_MS) watchers.forEach((watch) => watch(moved));
}
