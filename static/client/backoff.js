// @ts-check
/** Servers mostly return within this time, during which users wait. */
const SOON_MS = 60_000;

/**
 * Returns a random delay (full jitter), so that clients of a restarted server do not reconnect at once. The bound doubles from
 * 0.5 s to 5 s, after the first minute to 20 s.
 * @param {number} failures in a row, from 1
 * @param {number} since how long ago the connection was lost, ms
 * @returns {number} milliseconds
 */
export const backoff = (failures, since) =>
  Math.random() * Math.min(since < SOON_MS ? 5_000 : 20_000, 500 * 2 ** (failures - 1));
