// @ts-check
/**
 * Fields of channels: their values, names and formats. Built-in fields have fixed formats; the format of others follows from
 * the name (units.js), and a tile may set a unit.
 */

import { BUILT_IN } from './built-in-fields.js';
import { amount, count, duration, humanName } from './format.js';
import { BY_UNIT, kindByName, kindOfUnit } from './units.js';

/** @typedef {import('./format.js').Kind} Kind */
/** @typedef {keyof typeof KINDS} Unit */

/** Formats of built-in fields by unit. */
const KINDS = {
  count,
  number: BY_UNIT.number,
  money: amount,
  percent: BY_UNIT['%'],
  ratio: BY_UNIT.ratio,
  bytesPerSecond: BY_UNIT['B/s'],
  perSecond: BY_UNIT['/s'],
  milliseconds: BY_UNIT.ms,
  duration,
};

const DEEPEST = 3;

/**
 * Returns the format of a field's values.
 * @param {string} field
 * @param {unknown} [unit] of the tile, if it has one
 * @returns {Kind}
 */
export function kindOf(field, unit) {
  if (typeof unit === 'string' && unit.trim() !== '') return kindOfUnit(unit.trim());
  const last = field.slice(field.lastIndexOf('.') + 1);
  return Object.hasOwn(BUILT_IN, last) ? KINDS[BUILT_IN[last].unit] : kindByName(field);
}

/**
 * Returns whether the amounts of a field are money, so that the currency must be known.
 * @param {string} field
 */
export const isMoney = (field) => kindOf(field) === amount;

/**
 * Returns the display name of a field.
 * @param {string} field
 */
export function nameOf(field) {
  const last = field.slice(field.lastIndexOf('.') + 1);
  const isKnown = Object.hasOwn(BUILT_IN, last);
  if (isKnown && BUILT_IN[last].title !== undefined) return BUILT_IN[last].title;
  return humanName(isKnown || last === 'rate' ? last : field) || '(no name)'; // screen readers ignore a header without text
}

/**
 * Returns the value of a field: the key of that name, otherwise the path along its dots. Undefined if it does not exist.
 * @param {any} data
 * @param {string} field
 */
export function valueAt(data, field) {
  if (data === null || typeof data !== 'object') return undefined;
  if (Object.hasOwn(data, field)) return data[field];
  for (let dot = field.indexOf('.'); dot > 0; dot = field.indexOf('.', dot + 1)) {
    const head = field.slice(0, dot);
    if (Object.hasOwn(data, head)) return valueAt(data[head], field.slice(dot + 1));
  }
  return undefined;
}

/**
 * Returns the names of all fields with a scalar value or null, in reading order.
 * @param {any} data
 * @param {string} [prefix]
 * @param {number} [depth]
 * @returns {string[]}
 */
export function fieldsOf(data, prefix = '', depth = 0) {
  if (data === null || typeof data !== 'object' || Array.isArray(data) || depth >= DEEPEST) return [];
  const all = Object.keys(data).flatMap((key) => {
    const value = data[key];
    return value !== null && typeof value === 'object' ? fieldsOf(value, `${prefix}${key}.`, depth + 1) : [prefix + key];
  });
  return [...new Set(all)]; // `a.b` may be a key and a path
}

/**
 * Returns whether a value is a list of objects, which a table shows as rows.
 * @param {any} value
 * @returns {value is Record<string, any>[]}
 */
export const isList = (value) => Array.isArray(value) && value.length > 0 && value.every((one) => one !== null && typeof one === 'object' && !Array.isArray(one));

/**
 * Returns the names of the top-level fields that are such lists.
 * @param {any} data
 */
export const listFields = (data) => Object.keys(data ?? {}).filter((key) => isList(data[key]));

/**
 * Returns the fields that can be drawn: numbers and durations.
 * @param {any} data
 */
export function numericFields(data) {
  return fieldsOf(data).filter((field) => {
    const value = valueAt(data, field);
    return value === null || !Number.isNaN(kindOf(field).number(value));
  });
}
