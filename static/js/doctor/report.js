// @ts-check
/** Report: checks with verdicts, and a summary, as `tricast doctor` prints them. */

/** @typedef {{id: string, nginx: string, setting: string, advice: string}} Remedy */
/** @typedef {'skipped' | 'ok' | 'warn' | 'fail'} Verdict */
/**
 * @typedef {object} Check
 * @property {string} id
 * @property {string} name
 * @property {Verdict} verdict
 * @property {string} headline short result: `works, 12 ms`
 * @property {string} [detail] a sentence or two
 * @property {string[]} [remedies] names in the server's table
 */

/** Ordered from best to worst. @type {Verdict[]} */
export const VERDICTS = ['skipped', 'ok', 'warn', 'fail'];

export const WORDS = { skipped: 'skipped', ok: 'ok', warn: 'warning', fail: 'failed' };

/** Checks that are always in the summary. */
const ALWAYS = ['websocket', 'events', 'polling'];

const isFinding = (/** @type {Check} */ { verdict }) => verdict === 'warn' || verdict === 'fail';

/**
 * @param {Check[]} checks
 * @returns {Verdict}
 */
export function worst(checks) {
  const ranks = checks.map(({ verdict }) => VERDICTS.indexOf(verdict));
  return VERDICTS[Math.max(...ranks)] ?? 'fail';
}

/**
 * @param {Check} check
 * @param {Record<string, Remedy>} table
 * @returns {Remedy[]}
 */
export function remediesOf({ remedies = [] }, table) {
  return remedies.map((id) => table[id]).filter((remedy) => remedy !== undefined);
}

/**
 * Returns the summary: `Events: held back by a proxy for 5.2 s: "proxy_buffering off;" is missing.`
 * @param {Check[]} checks
 * @param {Record<string, Remedy>} table
 */
export function summary(checks, table) {
  const sentences = checks
    .filter((check) => isFinding(check) || ALWAYS.includes(check.id))
    .map((check) => {
      const missing = remediesOf(check, table).map(({ nginx, setting }) => nginx || setting).find((text) => text !== '');
      return `${check.name}: ${check.headline}${missing === undefined ? '' : `: \`${missing}\` is missing`}.`;
    });
  return sentences.length > 0 ? sentences.join(' ') : checks.map(({ name, headline }) => `${name}: ${headline}.`).join(' ');
}

/**
 * Formats the report as text, for the administrator of the proxy.
 * @param {string} url
 * @param {Check[]} checks
 * @param {Record<string, Remedy>} table
 */
export function asText(url, checks, table) {
  const lines = [`tricast doctor ${url}`, navigator.userAgent, ''];
  for (const check of checks) {
    lines.push(`${WORDS[check.verdict].padEnd(8)} ${check.name.padEnd(12)} ${check.headline}`);
    const below = [check.detail ?? ''];
    for (const { advice, nginx, setting } of remediesOf(check, table)) {
      below.push(advice, nginx && `nginx: ${nginx}`, setting && `tricast.toml: ${setting}`);
    }
    lines.push(...below.filter((text) => text !== '').map((text) => `${' '.repeat(22)}${text}`));
  }
  return `${[...lines, '', summary(checks, table)].join('\n')}\n`;
}

/** Formats a duration: `12 ms`, `2.8 s`, `65 s`. */
export function spoken(/** @type {number} */ ms) {
  if (ms < 0.95) return 'under 1 ms';
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
