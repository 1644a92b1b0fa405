// @ts-check
/** Runs all checks in order. */

import { ask } from './ask.js';
import { checkEvents } from './events.js';
import { checkAddress, checkProxy, checkPush, checkServer } from './arrival.js';
import { checkLongPoll, checkPolling } from './polling.js';
import { checkQuietEvents, checkQuietSocket } from './idle.js';
import { checkWebSocket } from './websocket.js';

/** @typedef {import('./report.js').Check} Check */
/** @typedef {import('./report.js').Remedy} Remedy */

/** Longest time for which the server holds a poll by default, in seconds. */
const LONGEST_WAIT_S = 25;

/**
 * @param {object} how
 * @param {string} how.token
 * @param {number} how.idle ms of silence on idle connections; 0 skips these checks and shortens the others
 * @param {(check: Check) => void} found called as each check ends
 * @returns {Promise<Record<string, Remedy>>} the server's table of remedies
 */
export async function examine({ token, idle }, found) {
  const { check, proxy } = await checkServer();
  found(check);
  if (check.verdict === 'fail') return {};
  const answer = await ask('api/doctor').catch(() => null);
  const seen = answer?.status === 200 ? answer.json : null;
  // Sequentially, so that they do not affect each other's measurements.
  found(await checkWebSocket({ token, host: seen?.host }));
  found(await checkPolling({ token }));
  found(checkAddress(seen, proxy));
  found(checkProxy(seen, proxy));
  const waitSeconds = Math.min(Math.max(Math.floor(idle / 1000), 2), LONGEST_WAIT_S);
  /** @type {Promise<Check>[]} */
  const slow = [checkEvents(), checkLongPoll({ token, waitSeconds }), checkPush(seen)];
  if (idle > 0) slow.push(checkQuietEvents(idle), checkQuietSocket(idle, token));
  await Promise.all(slow.map(async (check) => found(await check)));
  return seen?.remedies ?? {};
}
