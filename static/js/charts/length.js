// @ts-check
/** Lengths of time ranges as texts: `5m`, `24h`, `7d`, `4m30s`. */

const UNITS = /** @type {Record<string, number>} */ ({ w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 });

/** Shortest and longest range, ms. */
export const [SHORTEST, LONGEST] = [5_000, 3_660 * 86_400_000];

/**
 * Returns a length in ms; NaN if the text is none, or is out of bounds.
 * @param {string} text
 */
export function parseLength(text) {
  if (!/^(\d{1,6}[wdhms]){1,4}$/.test(text)) return NaN;
  const length = [...text.matchAll(/(\d+)([wdhms])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit], 0);
  return length >= SHORTEST && length <= LONGEST ? length : NaN;
}

/**
 * Returns the text of a length, in whole seconds.
 * @param {number} length ms
 */
export function lengthText(length) {
  let rest = Math.max(1, Math.round(length / 1_000)) * 1_000;
  if (rest === 86_400_000) return '24h';
  if (rest % 3_600_000 === 0 && rest < 3 * 86_400_000) return `${rest / 3_600_000}h`;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's']) {
    const count = Math.floor(rest / UNITS[unit]);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * UNITS[unit];
  }
  return text;
}
