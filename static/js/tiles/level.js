// @ts-check
/** Judges values: a number by its limits, a word or a boolean by its meaning. */

import { beyond, limitsOfTile } from '../limits.js';

/** @typedef {'plain' | 'good' | 'warning' | 'critical'} Level */

const WORDS = {
  good: /^(ok|up|good|healthy|pass(ed|ing)?|success(ful)?|succeeded|ready|online|running|active|alive|connected|operational|green|enabled|normal)$/i,
  warning: /^(warn(ing)?|degraded|slow|unstable|pending|starting|stopping|maintenance|paused|yellow|amber|partial|unknown)$/i,
  critical: /^(down|fail(ed|ing|ure)?|error|critical|fatal|unhealthy|offline|stopped|dead|crashed|disconnected|red|outage|alarm)$/i,
};

/** Names of fields whose `false`, or 0, means that something does not work. */
const IS_UP = /(^|[_.-])(up|ok|healthy|alive|online|ready|connected|running|available|reachable|success)$/i;

/**
 * Returns the level of a value. `options.levels` maps values to levels; a number is judged by its limits, and without any by the
 * meaning of its field.
 * @param {unknown} value
 * @param {string} field
 * @param {Record<string, any>} [options] of the tile
 * @param {readonly import('../limits.js').Limit[]} [limits] of the field, the severest last: with those of alert rules
 * @returns {Level}
 */
export function levelOf(value, field, options = {}, limits = limitsOfTile(options.thresholds)) {
  const own = ownLevel(value, options.levels);
  if (own !== null) return own;
  if (typeof value === 'string') {
    const known = /** @type {const} */ (['good', 'warning', 'critical']).find((level) => WORDS[level].test(value.trim()));
    return known ?? 'plain';
  }
  if (typeof value === 'boolean') return value ? (IS_UP.test(field) ? 'good' : 'plain') : IS_UP.test(field) ? 'critical' : 'plain';
  if (typeof value !== 'number' || Number.isNaN(value)) return 'plain';
  const limit = beyond(value, limits);
  if (limit !== null) return limit.level;
  // A rule about something else does not make a 0 of `up` good.
  if (IS_UP.test(field) && limits.every(({ rule }) => rule !== '')) return value > 0 ? 'good' : 'critical';
  return limits.length > 0 ? 'good' : 'plain';
}

/**
 * @param {unknown} value
 * @param {unknown} levels
 * @returns {Level | null}
 */
function ownLevel(value, levels) {
  if (levels === null || typeof levels !== 'object' || !Object.hasOwn(levels, String(value))) return null;
  const level = /** @type {Record<string, unknown>} */ (levels)[String(value)];
  return level === 'good' || level === 'warning' || level === 'critical' || level === 'plain' ? level : null;
}
