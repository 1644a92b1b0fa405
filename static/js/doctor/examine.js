// @ts-check
/** The order in which things are tried. */

import { ask } from './ask.js';
import { checkEvents } from './events.js';
import { checkAddress, checkProxy, checkPush, checkServer } from './passage.js';
import { checkLongPoll, checkPolling } from './polling.js';
import { checkQuietEvents, checkQuietSocket } from './silence.js';
import { checkWebSocket } from './websocket.js';

/** @typedef {import('./report.js').Check} Check */
/** @typedef {import('./report.js').Remedy} Remedy */

/** Longest that the server holds a poll by default, in seconds. */
const LONGEST_WAIT_S = 25;

/**
 * @param {object} how
 * @param {string} how.token
 * @param {number} how.idle ms of silence; 0: not at all, and all else is done quickly
 * @param {(check: Check) => void} found called as each check ends
 * @returns {Promise<Record<string, Remedy>>} the table of what mends a path
 */
export async function examine({ token, idle }, found) {
  const { check, proxy } = await checkServer();
  found(check);
  if (check.verdict === 'fail') return {};
  const answer = await ask('api/doctor').catch(() => null);
  const seen = answer?.status === 200 ? answer.json : null;
  // One after the other, so that they don't disturb each other's times.
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
