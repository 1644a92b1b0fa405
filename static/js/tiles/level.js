// @ts-check
/** Judges values: a number by the limits of its tile, a word or a boolean by its meaning. */

/** @typedef {'plain' | 'good' | 'warning' | 'critical'} Level */

const WORDS = {
  good: /^(ok|up|good|healthy|pass(ed|ing)?|success(ful)?|succeeded|ready|online|running|active|alive|connected|operational|green|enabled|normal)$/i,
  warning: /^(warn(ing)?|degraded|slow|unstable|pending|starting|stopping|maintenance|paused|yellow|amber|partial|unknown)$/i,
  critical: /^(down|fail(ed|ing|ure)?|error|critical|fatal|unhealthy|offline|stopped|dead|crashed|disconnected|red|outage|alarm)$/i,
};

/** Names of fields whose `false`, or 0, means that something does not work. */
const IS_UP = /(^|[_.-])(up|ok|healthy|alive|online|ready|connected|running|available|reachable|success)$/i;

/**
 * Returns the level of a value. `options.thresholds` has the limits of numbers, `{warning?, critical?, below?}`: upper ones, or
 * lower ones with `below` or if the critical one is the lower one. `options.levels` maps values to levels.
 * @param {unknown} value
 * @param {string} field
 * @param {Record<string, any>} [options] of the tile
 * @returns {Level}
 */
export function levelOf(value, field, options = {}) {
  const own = ownLevel(value, options.levels);
  if (own !== null) return own;
  if (typeof value === 'string') {
    const known = /** @type {const} */ (['good', 'warning', 'critical']).find((level) => WORDS[level].test(value.trim()));
    return known ?? 'plain';
  }
  if (typeof value === 'boolean') return value ? (IS_UP.test(field) ? 'good' : 'plain') : IS_UP.test(field) ? 'critical' : 'plain';
  if (typeof value !== 'number') return 'plain';
  const { warning, critical, below } = thresholdsOf(options);
  if (!isLimit(warning) && !isLimit(critical)) return IS_UP.test(field) ? (value > 0 ? 'good' : 'critical') : 'plain';
  const exceeds = (/** @type {unknown} */ limit) => isLimit(limit) && (below ? value < limit : value > limit);
  return exceeds(critical) ? 'critical' : exceeds(warning) ? 'warning' : 'good';
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

/**
 * Returns the limits of a tile.
 * @param {Record<string, any>} options
 * @returns {{warning?: unknown, critical?: unknown, below: boolean}}
 */
export function thresholdsOf({ thresholds }) {
  const { warning, critical, below } = thresholds !== null && typeof thresholds === 'object' ? thresholds : {};
  return { warning, critical, below: below === true || (isLimit(warning) && isLimit(critical) && critical < warning) };
}

/**
 * @param {unknown} limit
 * @returns {limit is number}
 */
export const isLimit = (limit) => typeof limit === 'number' && Number.isFinite(limit);
