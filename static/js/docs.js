// @ts-check
/** API reference: the whole page is generated from the OpenAPI document of this server. */

import { address } from './address.js';
import { byId, element, setText } from './dom.js';
import { operationPart } from './docs/operation.js';
import { fieldsOf } from './docs/schema.js';
import { paragraphs } from './docs/text.js';

/** @typedef {Record<string, any>} Json */
/** @typedef {{part: HTMLDetailsElement, link: HTMLElement, words: string}} Shown */
/** @typedef {{section: HTMLElement, group: HTMLElement, shown: Shown[]}} Group */

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

const announce = (/** @type {string} */ text) => {
  const announcer = byId('announcer');
  // The same text again has to be announced, too.
  announcer.textContent = '';
  requestAnimationFrame(() => setText(announcer, text));
};

/** @param {Json} document */
function groups(document) {
  const base = new URL(document.servers?.[0]?.url ?? '/', location.href).href.replace(/\/$/, '');
  const entries = Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method] !== undefined).map((method) => {
      return { path, method, operation: item[method], head: method === 'get' && item.head !== undefined };
    }),
  );
  return document.tags.map((/** @type {Json} */ tag) => {
    const id = `tag-${tag.name}`;
    const heading = element('h2', '', tag.name);
    heading.id = id;
    const section = element('section', '', heading, ...paragraphs(tag.description));
    section.setAttribute('aria-labelledby', id);
    const list = element('ul');
    const group = element('div', '', element('p', 'contents-title', tag.name), list);
    const shown = entries
      .filter(({ operation }) => operation.tags?.[0] === tag.name)
      .map((entry) => {
        const part = operationPart(document, entry, { base, announce });
        section.append(part);
        const { path, method, operation } = entry;
        const link = element('a', '', element('span', `method method-${method}`, method.toUpperCase()), ' ', element('span', 'contents-path', path));
        link.href = `#${part.id}`;
        const line = element('li', '', link);
        list.append(line);
        const words = `${method} ${path} ${operation.summary} ${operation.operationId} ${tag.name}`.toLowerCase();
        return { part, link: line, words };
      });
    byId('operations').append(section);
    byId('contents').append(group);
    return { section, group, shown };
  });
}

/**
 * @param {Json} document
 * @returns {{part: HTMLElement, words: string}[]}
 */
function shapes(document) {
  const section = byId('shapes');
  const all = Object.entries(document.components?.schemas ?? {}).map(([name, schema]) => {
    const part = element('details', 'operation shape', element('summary', '', element('code', 'path', name)));
    part.id = `shape-${name}`;
    part.append(element('div', 'operation-body', ...fieldsOf(schema)));
    section.append(part);
    return { part, words: name.toLowerCase() };
  });
  section.hidden = false;
  return all;
}

/**
 * @param {Group[]} all
 * @param {{part: HTMLElement, words: string}[]} named
 */
function filter(all, named) {
  const input = /** @type {HTMLInputElement} */ (byId('filter'));
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter((word) => word !== '');
    let count = 0;
    for (const { section, group, shown } of all) {
      let some = false;
      for (const { part, link, words: known } of shown) {
        const fits = words.every((word) => known.includes(word));
        part.hidden = !fits;
        link.hidden = !fits;
        some ||= fits;
        count += Number(fits);
      }
      section.hidden = !some;
      group.hidden = !some;
    }
    let schemas = 0;
    for (const { part, words: known } of named) {
      part.hidden = !words.every((word) => known.includes(word));
      schemas += Number(!part.hidden);
    }
    byId('shapes').hidden = schemas === 0;
    const counted = [counting(count, 'operation')];
    if (schemas > 0) counted.push(counting(schemas, 'schema'));
    setText(byId('count'), counted.join(', '));
  };
  input.addEventListener('input', apply);
  apply();
}

/**
 * @param {number} count
 * @param {string} noun
 */
const counting = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Opens the part that the URL names. */
function openNamed() {
  const part = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!(part instanceof HTMLDetailsElement)) return;
  part.open = true;
  part.hidden = false;
  if (part.parentElement !== null) part.parentElement.hidden = false;
  part.scrollIntoView();
  part.querySelector('summary')?.focus({ preventScroll: true });
}

async function show() {
  const response = await fetch(address('api/openapi.json'));
  if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
  const described = await response.json();
  byId('about').append(element('p', 'soft', `Version ${described.info.version}`), ...paragraphs(described.info.description));
  const all = groups(described);
  filter(all, shapes(described));
  openNamed();
  addEventListener('hashchange', openNamed);
  // A link to the current URL triggers no hashchange.
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a[href^="#"]') : null;
    if (link?.getAttribute('href') === location.hash) openNamed();
  });
}

show().catch((error) => {
  const trouble = byId('trouble');
  setText(trouble, `Failed to load the OpenAPI document: ${error.message}. Reload the page to try again.`);
  trouble.hidden = false;
});
