// @ts-check
/**
 * Colours of series. A series has the same colour in all tiles, dashboards and sessions, because it follows from its name; only
 * within a chart a second series of the same colour gets the next free one.
 */

/** Number of series colours in css/tokens.css. */
export const COLORS = 8;
/** Of these, the first ones are preferred, because they are lively. */
const PREFERRED = 6;

/**
 * Returns the name of a series. A field of the snapshot has the name of the field of the channel behind it.
 * @param {string} channel
 * @param {string} field
 */
export const seriesName = (channel, field) => (channel === 'metrics' ? `metrics.${field.replace(/^custom\./, '')}` : `${channel}.${field}`);

/**
 * Returns the colours of the lines of a chart, as indices.
 * @param {string} channel
 * @param {readonly string[]} fields
 * @returns {number[]}
 */
export function colorsOf(channel, fields) {
  /** @type {Map<string, number>} */
  const chosen = new Map();
  const used = new Set();
  // In the order of names, so that the order of the fields in a tile does not matter.
  for (const field of [...fields].sort()) {
    let color = hash(seriesName(channel, field)) % PREFERRED;
    while (used.has(color) && used.size < COLORS) color = (color + 1) % COLORS;
    used.add(color);
    chosen.set(field, color);
  }
  return fields.map((field) => chosen.get(field) ?? 0);
}

/**
 * FNV-1a, with a final mix so that names which differ in their last letter are far apart.
 * @param {string} text
 */
function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x45d9f3b);
  return (value ^ (value >>> 15)) >>> 0;
}
