// @ts-check
/**
 * The page's clock: wall-clock time in ms that moves on steadily, whatever is done to the computer's clock. Where that was
 * set (NTP, a virtual machine that resumes, a laptop that slept) the page's clock follows, and says so.
 */

/** The computer's clock is followed without a word as long as it is off by less than this. */
const SET_MS = 2_000;
/** What `Date` rounds away, and more. */
const NOISE_MS = 50;

let base = Date.now() - performance.now();
/** @type {Set<() => void>} */
const watchers = new Set();

/** Wall-clock time in whole ms; never steps back between two calls of {@link checkClock}. */
export const now = () => Math.round(base + performance.now());

/** @param {() => void} watch called when the computer's clock was set: times before and after can't be compared */
export const onClockSet = (watch) => watchers.add(watch);

/** Compares with the computer's clock; call it now and then. */
export function checkClock() {
  const moved = Date.now() - now();
  if (Math.abs(moved) < NOISE_MS) return;
  base += moved;
  if (Math.abs(moved) >= SET_MS) watchers.forEach((watch) => watch());
}
