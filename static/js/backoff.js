// @ts-check
/**
 * Waiting before the next attempt: full jitter, so that the pages of a restarted server don't come back all at once.
 * The bound doubles from 0.5 s to 20 s; the wait is anywhere below it.
 */

const FIRST_MS = 500;
const LONGEST_MS = 20_000;

/**
 * @param {number} failures attempts that failed in a row, from 1
 * @returns {number} milliseconds
 */
export function backoff(failures) {
  return Math.random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
}
