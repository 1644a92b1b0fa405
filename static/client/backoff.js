// @ts-check
/**
 * Full jitter, so that the pages of a restarted server do not come back all at once: anything below a bound that
 * doubles from 0.5 s to 20 s.
 * @param {number} failures in a row, from 1
 * @returns {number} milliseconds
 */
export const backoff = (failures) => Math.random() * Math.min(20_000, 500 * 2 ** (failures - 1));
