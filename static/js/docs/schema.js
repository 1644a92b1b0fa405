// @ts-check
/** Renders schemas: as text, as a list of fields, and as an example. */

import { element } from '../dom.js';
import { inline, paragraphs } from './text.js';

/** @typedef {Record<string, any>} Json */

/** Returns the last part of `#/components/schemas/Order`. */
const nameOf = (/** @type {string} */ reference) => reference.slice(reference.lastIndexOf('/') + 1);

/**
 * Resolves a `$ref`; returns other values unchanged.
 * @param {Json} document
 * @param {Json | undefined} thing
 * @returns {Json}
 */
export function resolve(document, thing) {
  let found = thing ?? {};
  for (let depth = 0; typeof found.$ref === 'string' && depth < 8; depth += 1) {
    const parts = found.$ref.replace(/^#\//, '').split('/');
    found = parts.reduce((/** @type {any} */ at, part) => at?.[part.replaceAll('~1', '/').replaceAll('~0', '~')], document) ?? {};
  }
  return found;
}

/**
 * Describes a type, with links to named schemas.
 * @param {Json} schema
 * @returns {(Node | string)[]}
 */
export function typeOf(schema) {
  if (typeof schema.$ref === 'string') {
    const link = element('a', '', nameOf(schema.$ref));
    link.href = `#shape-${nameOf(schema.$ref)}`;
    return [link];
  }
  const ways = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(ways)) return join(ways.map(typeOf), ' or ');
  // Unnamed parts only narrow the named ones, as the description explains.
  const named = schema.allOf?.filter((/** @type {Json} */ each) => each.$ref !== undefined);
  if (Array.isArray(named)) return join(named.map(typeOf), ' and ');
  if (schema.enum !== undefined) {
    return join(schema.enum.map((/** @type {unknown} */ value) => [element('code', '', String(value))]), ' or ');
  }
  const types = [schema.type ?? 'anything'].flat();
  return join(
    types.map((type) => {
      if (type === 'array') return ['list of ', ...typeOf(schema.items ?? {})];
      if (type === 'object' && isSchema(schema.additionalProperties)) {
        return Object.keys(schema.additionalProperties).length === 0
          ? ['object']
          : ['object of ', ...typeOf(schema.additionalProperties)];
      }
      return [String(type)];
    }),
    ' or ',
  );
}

/** @param {unknown} thing */
const isSchema = (thing) => typeof thing === 'object' && thing !== null;

/**
 * @param {(Node | string)[][]} lists
 * @param {string} between
 */
const join = (lists, between) => lists.flatMap((list, index) => (index === 0 ? list : [between, ...list]));

/**
 * Describes the bounds of a value.
 * @param {Json} schema
 * @returns {(Node | string)[]}
 */
export function boundsOf(schema) {
  /** @type {(Node | string)[][]} */
  const bounds = [];
  const addLimit = (/** @type {string} */ key, /** @type {string} */ word) => {
    if (schema[key] !== undefined) bounds.push([`${word} ${schema[key]}`]);
  };
  addLimit('minimum', 'from');
  addLimit('maximum', 'to');
  addLimit('exclusiveMaximum', 'below');
  addLimit('multipleOf', 'multiple of');
  addLimit('minLength', 'characters from');
  addLimit('maxLength', 'characters to');
  addLimit('maxProperties', 'fields to');
  if (schema.pattern !== undefined) bounds.push(['matches ', element('code', 'pattern', schema.pattern)]);
  return join(bounds, ', ');
}

/**
 * Renders the fields of an object, or its alternatives, as a list.
 * @param {Json} schema
 * @returns {HTMLElement[]}
 */
export function fieldsOf(schema) {
  const out = paragraphs(schema.description);
  const properties = Object.entries(schema.properties ?? {});
  if (properties.length === 0) {
    out.push(element('p', 'soft', ...typeOf(schema), ...after(', ', boundsOf(schema))));
    return out;
  }
  const required = new Set(schema.required ?? []);
  const list = element('dl', 'fields');
  for (const [name, property] of properties) {
    const term = element('dt', '', element('code', '', name));
    if (!required.has(name)) term.append(' ', element('span', 'tag', 'optional'));
    const detail = element('dd', '', element('p', 'soft', ...typeOf(property), ...after(', ', boundsOf(property))));
    if (property.description && property.$ref === undefined) {
      detail.append(element('p', '', ...inline(property.description)));
    }
    list.append(element('div', 'field', term, detail));
  }
  out.push(list);
  return out;
}

/**
 * @param {string} before
 * @param {(Node | string)[]} list
 */
const after = (before, list) => (list.length === 0 ? [] : [before, ...list]);

/**
 * Generates an example value of a schema.
 * @param {Json} document
 * @param {Json} schema
 * @returns {unknown}
 */
export function exampleOf(document, schema, depth = 0) {
  const of = resolve(document, schema);
  if (of.example !== undefined) return of.example;
  if (Array.isArray(of.examples) && of.examples.length > 0) return of.examples[0];
  if (of.enum !== undefined) return of.enum[0];
  const ways = of.oneOf ?? of.anyOf;
  if (Array.isArray(ways)) return exampleOf(document, ways[0], depth + 1);
  if (Array.isArray(of.allOf)) return exampleOf(document, of.allOf[0], depth + 1);
  switch ([of.type].flat()[0]) {
    case 'object': {
      if (depth > 6) return {};
      const entries = Object.entries(of.properties ?? {});
      return Object.fromEntries(entries.map(([name, property]) => [name, exampleOf(document, property, depth + 1)]));
    }
    case 'array':
      return depth > 6 ? [] : [exampleOf(document, of.items ?? {}, depth + 1)];
    case 'boolean':
      return true;
    case 'integer':
    case 'number':
      return of.minimum ?? 0;
    case 'string':
      return 'text';
    default:
      return {};
  }
}
