// @ts-check
/** Collapsible description of one operation. */

import { element } from '../dom.js';
import { curlLine } from './curl.js';
import { boundsOf, exampleOf, resolve, typeOf } from './schema.js';
import { block, inline, paragraphs } from './text.js';

/** @typedef {Record<string, any>} Json */

/**
 * Operation of the document.
 * @typedef {{path: string, method: string, operation: Json, head: boolean}} Entry
 */

/**
 * @param {Json} document
 * @param {Entry} entry
 * @param {{base: string, announce: (text: string) => void}} page
 */
export function operationPart(document, { path, method, operation, head }, { base, announce }) {
  const parameters = (operation.parameters ?? []).map((/** @type {Json} */ each) => resolve(document, each));
  const ways = operation.security ?? document.security ?? [];
  const open = ways.some((/** @type {Json} */ way) => Object.keys(way).length === 0);
  const part = element(
    'details',
    'operation',
    element(
      'summary',
      '',
      element('span', `method method-${method}`, method.toUpperCase()),
      ' ',
      element('code', 'path', ...breakable(path)),
      ' ',
      element('span', 'summary-text', operation.summary ?? ''),
    ),
  );
  part.id = operation.operationId;
  const body = element('div', 'operation-body', ...paragraphs(operation.description));
  const notes = [open ? 'No token required.' : 'Requires a token.'];
  if (head) notes.push('HEAD returns the same headers without a body.');
  body.append(element('p', 'soft', notes.join(' ')));
  if (parameters.length > 0) body.append(title('Parameters'), parameterList(parameters));
  const request = resolve(document, operation.requestBody);
  const sent = bodyOf(document, request);
  if (operation.requestBody !== undefined) body.append(title('Body'), ...requestParts(document, request, announce));
  body.append(title('curl'));
  const endless = Object.values(operation.responses).some((each) => each.content?.['text/event-stream'] !== undefined);
  const line = curlLine({ base, path, method, parameters, token: !open, body: sent, endless });
  body.append(block(line, `curl for ${operation.summary}`, announce));
  body.append(title('Responses'), responseList(document, operation, announce));
  part.append(body);
  return part;
}

/** Heading below that of the operation's tag. */
const title = (/** @type {string} */ text) => element('h3', '', text);

/**
 * Allows a line break after each slash.
 * @param {string} path
 */
const breakable = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, document.createElement('wbr')]);

/** @param {Json[]} parameters */
function parameterList(parameters) {
  const list = element('dl', 'fields');
  for (const { name, in: place, required, description, schema = {}, example } of parameters) {
    const term = element('dt', '', element('code', '', name), ' ', element('span', 'tag', required ? place : `${place}, optional`));
    // Patterns are for programs; the description and the example explain the format.
    const bounds = boundsOf({ ...schema, pattern: undefined });
    const detail = element('dd', '', element('p', '', ...inline(description ?? '')));
    const type = element('p', 'soft', ...typeOf(schema));
    if (bounds.length > 0) type.append(', ', ...bounds);
    if (example !== undefined) type.append(', such as ', element('code', '', String(example)));
    detail.append(type);
    list.append(element('div', 'field', term, detail));
  }
  return list;
}

/**
 * Returns the example body: the first of the document, or one generated from the schema.
 * @param {Json} document
 * @param {Json} request
 */
function bodyOf(document, request) {
  const [first] = Object.entries(request.content ?? {});
  if (first === undefined) return null;
  const [type, content] = first;
  const value = Object.values(content.examples ?? {})[0]?.value ?? content.example ?? exampleOf(document, content.schema ?? {});
  return { type, text: typeof value === 'string' ? value : JSON.stringify(value) };
}

/**
 * @param {Json} document
 * @param {Json} request
 * @param {(text: string) => void} announce
 */
function requestParts(document, request, announce) {
  /** @type {HTMLElement[]} */
  const parts = [];
  for (const [type, content] of Object.entries(request.content ?? {})) {
    parts.push(element('p', '', element('code', '', type), ': ', ...typeOf(content.schema ?? {})));
    const examples = Object.values(content.examples ?? {});
    if (examples.length === 0) examples.push({ value: content.example ?? exampleOf(document, content.schema ?? {}) });
    for (const { summary, value } of examples) {
      if (summary) parts.push(element('p', 'soft', summary));
      parts.push(block(shown(value), `${summary ?? 'Body'} as ${type}`, announce));
    }
  }
  return parts;
}

/** @param {unknown} value */
const shown = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));

/**
 * @param {Json} document
 * @param {Json} operation
 * @param {(text: string) => void} announce
 */
function responseList(document, operation, announce) {
  const list = element('dl', 'fields');
  for (const [status, described] of Object.entries(operation.responses)) {
    const response = resolve(document, described);
    const detail = element('dd', '', element('p', '', ...inline(response.description)));
    const contents = Object.entries(response.content ?? {});
    for (const [type, content] of contents) {
      detail.append(element('p', 'soft', element('code', '', type), ': ', ...typeOf(content.schema ?? {})));
    }
    const headers = Object.keys(response.headers ?? {}).filter((name) => name !== 'X-Request-Id');
    if (headers.length > 0) {
      detail.append(element('p', 'soft', 'Headers: ', ...headers.flatMap((name, index) => [index > 0 ? ', ' : '', element('code', '', name)])));
    }
    const [first] = contents;
    if (first !== undefined && Number(status) < 300) {
      const [type, content] = first;
      const value = content.example ?? exampleOf(document, content.schema ?? {});
      if (typeof value !== 'string' || content.example !== undefined) {
        detail.append(block(shown(value), `Response ${status} as ${type}`, announce));
      }
    }
    list.append(element('div', 'field', element('dt', '', element('code', `status status-${status[0]}`, status)), detail));
  }
  return list;
}
