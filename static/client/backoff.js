// @ts-check
/** Servers are mostly back within this time, and then people wait for them. */
const SOON_MS = 60_000;

/**
 * Full jitter, so that the pages of a restarted server do not come back all at once: anything below a bound that doubles
 * from 0.5 s to 5 s, after the first minute to 20 s.
 * @param {number} failures in a row, from 1
 * @param {number} since how long ago the connection was lost, ms
 * @returns {number} milliseconds
 */
export const backoff = (failures, since) =>
  Math.random() * Math.min(since < SOON_MS ? 5_000 : 20_000, 500 * 2 ** (failures - 1));
