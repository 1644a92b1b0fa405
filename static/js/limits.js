// @ts-check
/**
 * Limits of series: those of a tile (`options.thresholds`), and those of the alert rules that the reader may see. A value beyond
 * one is shown in amber or red, and charts have a line there.
 *
 *     {"thresholds": {"warning": 80, "critical": 95}}                 above
 *     {"thresholds": {"warning": 20, "critical": 10}}                 below, because the critical one is lower
 *     {"thresholds": {"critical": 10, "below": true}}
 */

import { seriesName } from './charts/colors.js';

/** @typedef {'warning' | 'critical'} Level */

/**
 * @typedef {object} Limit
 * @property {number} at the value, in the unit of the field
 * @property {boolean} below whether values below it are beyond it
 * @property {Level} level
 * @property {string} rule name of the alert rule; empty for one of the tile
 */

const REFRESH_MS = 60_000;

export class Limits {
  #rest;
  #changed;
  /** Limits of alert rules by the name of the series. @type {Map<string, Limit[]>} */
  #rules = new Map();
  #shown = '';
  #refreshedAt = -Infinity;

  /**
   * @param {import('./rest.js').Rest} rest
   * @param {() => void} changed called when the rules have changed
   */
  constructor(rest, changed) {
    this.#rest = rest;
    this.#changed = changed;
  }

  /** Reads the alert rules, at most once a minute. @param {boolean} [now] whether to read them in any case */
  async refresh(now = false) {
    if (!now && performance.now() - this.#refreshedAt < REFRESH_MS) return;
    this.#refreshedAt = performance.now();
    const answer = await this.#rest.request('api/alerts/rules').catch(() => null);
    const rules = answer?.data?.rules;
    const text = JSON.stringify(rules ?? []);
    if (!Array.isArray(rules) || text === this.#shown) return;
    this.#shown = text;
    this.#rules = limitsOfRules(rules);
    this.#changed();
  }

  /**
   * Returns the limits of a field in a tile, the severest last.
   * @param {string} channel
   * @param {string} field
   * @param {Record<string, any>} [options] of the tile
   * @returns {Limit[]}
   */
  of(channel, field, options) {
    const all = [...limitsOfTile(options?.thresholds), ...(this.#rules.get(seriesName(channel, field)) ?? [])];
    return all.sort((one, other) => Number(one.level === 'critical') - Number(other.level === 'critical'));
  }
}

/**
 * Returns the limits of alert rules with a fixed limit, by the name of the series.
 * @param {any[]} rules
 */
function limitsOfRules(rules) {
  /** @type {Map<string, Limit[]>} */
  const found = new Map();
  for (const { channel, field, condition, severity, name, enabled } of rules) {
    const below = typeof condition?.below === 'number';
    const at = below ? condition.below : condition?.above;
    if (typeof at !== 'number' || enabled === false) continue;
    const series = seriesName(String(channel), String(field));
    const limit = { at, below, level: /** @type {Level} */ (severity === 'critical' ? 'critical' : 'warning'), rule: String(name ?? '') };
    found.set(series, [...(found.get(series) ?? []), limit]);
  }
  return found;
}

/**
 * @param {any} thresholds
 * @returns {Limit[]}
 */
export function limitsOfTile(thresholds) {
  if (thresholds === null || typeof thresholds !== 'object') return [];
  const { warning, critical } = thresholds;
  const below = thresholds.below === true || (typeof warning === 'number' && typeof critical === 'number' && critical < warning);
  return /** @type {const} */ ([['warning', warning], ['critical', critical]])
    .filter(([, at]) => typeof at === 'number' && Number.isFinite(at))
    .map(([level, at]) => ({ at, below, level, rule: '' }));
}

/**
 * Returns the severest limit that a value is beyond; null if there is none.
 * @param {number} value
 * @param {readonly Limit[]} limits the severest last
 */
export function beyond(value, limits) {
  for (let i = limits.length - 1; i >= 0; i -= 1) {
    const { at, below } = limits[i];
    if (below ? value < at : value > at) return limits[i];
  }
  return null;
}
