// @ts-check
/**
 * A subset of Markdown as elements: headings, paragraphs, lists, quotes, code, rules, tables, bold, italic, struck-out text and
 * links. There is no markup string at any point: every character of the source becomes text, and a link is one only if
 * its target is http, https, mailto or relative. Images and HTML are shown as written.
 */

import { element } from './dom.js';

/** Longest source, in characters; the rest is left out. */
const LONGEST = 4_000;
/** Deepest nesting of quotes and of emphasis. */
const DEEPEST = 8;

/**
 * @param {string} source
 * @returns {HTMLElement[]}
 */
export function renderMarkdown(source) {
  return blocks(source.slice(0, LONGEST).replace(/\r\n?/g, '\n').split('\n'), 0);
}

/**
 * @param {string[]} lines
 * @param {number} depth
 * @returns {HTMLElement[]}
 */
function blocks(lines, depth) {
  /** @type {HTMLElement[]} */
  const found = [];
  let at = 0;
  const take = (/** @type {RegExp} */ pattern) => {
    const start = at;
    while (at < lines.length && pattern.test(lines[at])) at += 1;
    return lines.slice(start, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#{1,4})\s+(.*?)\s*#*$/.exec(line);
    if (/^\s*$/.test(line)) at += 1;
    else if (heading !== null) {
      at += 1;
      // The page and the tile have the headings above.
      const level = /** @type {'h3' | 'h4' | 'h5'} */ (`h${Math.min(5, heading[1].length + 2)}`);
      found.push(element(level, `markdown-h${heading[1].length}`, ...inline(heading[2])));
    } else if (/^```/.test(line)) {
      at += 1;
      const code = [];
      while (at < lines.length && !/^```\s*$/.test(lines[at])) code.push(lines[at++]);
      at += 1;
      found.push(element('pre', 'markdown-pre', element('code', '', code.join('\n'))));
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      at += 1;
      found.push(element('hr'));
    } else if (/^ {0,3}>/.test(line)) {
      const quoted = take(/^ {0,3}>/).map((text) => text.replace(/^ {0,3}> ?/, ''));
      found.push(element('blockquote', 'markdown-quote', ...(depth < DEEPEST ? blocks(quoted, depth + 1) : [element('p', '', quoted.join('\n'))])));
    } else if (BULLET.test(line)) found.push(list('ul', take(BULLET_OR_MORE), BULLET));
    else if (NUMBER.test(line)) found.push(list('ol', take(NUMBER_OR_MORE), NUMBER));
    else if (line.includes('|') && /^ *\|?[ :|-]*-[ :|-]*\|?[ :|-]*$/.test(lines[at + 1] ?? '') && (lines[at + 1] ?? '').includes('|')) found.push(table(take(/\|/)));
    else {
      const start = at;
      at += 1;
      while (at < lines.length && !/^\s*$/.test(lines[at]) && !STARTS.test(lines[at])) at += 1;
      found.push(element('p', 'markdown-p', ...inline(lines.slice(start, at).join('\n'))));
    }
  }
  return found;
}

const BULLET = /^ {0,3}[-*+]\s+/;
const NUMBER = /^ {0,3}\d{1,9}[.)]\s+/;
const BULLET_OR_MORE = /^( {0,3}[-*+]\s+|\s{2,}\S)/;
const NUMBER_OR_MORE = /^( {0,3}\d{1,9}[.)]\s+|\s{2,}\S)/;
/** A line that ends the paragraph before it. */
const STARTS = /^(#{1,4}\s|```| {0,3}>| {0,3}[-*+]\s| {0,3}\d{1,9}[.)]\s)/;

/**
 * @param {'ul' | 'ol'} name
 * @param {string[]} lines
 * @param {RegExp} mark
 */
function list(name, lines, mark) {
  /** @type {string[]} */
  const items = [];
  for (const line of lines) {
    if (mark.test(line) || items.length === 0) items.push(line.replace(mark, ''));
    else items[items.length - 1] += `\n${line.trim()}`;
  }
  return element(name, 'markdown-list', ...items.map((item) => element('li', '', ...inline(item))));
}

/** @param {string[]} lines the head, the rule below it, and the rows */
function table([head, , ...rows]) {
  const cells = (/** @type {string} */ line) => line.trim().replace(/^\||\|$/g, '').split('|').map((text) => text.trim());
  const columns = cells(head);
  const row = (/** @type {string[]} */ texts, /** @type {'th' | 'td'} */ name) => element('tr', '', ...columns.map((_, i) => element(name, '', ...inline(texts[i] ?? ''))));
  return element('table', 'table markdown-table', element('thead', '', row(columns, 'th')), element('tbody', '', ...rows.map((line) => row(cells(line), 'td'))));
}

/** Code, links, bold, italic, struck-out text, in the order in which they are recognized at one place. */
const INLINE = /(`+)([^`]|[^`][^]*?[^`])\1(?!`)|\[([^[\]\n]{1,300})\]\(([^()\s]{1,500})\)|\*\*(?=\S)([^]*?\S)\*\*|(?<![\w*])[*_](?=[^\s*_])([^*_]*[^\s*_])[*_](?![\w*])|~~(?=\S)([^]*?\S)~~|\bhttps?:\/\/[^\s<>()[\]]{1,500}/;

/**
 * @param {string} text
 * @param {number} [depth]
 * @returns {(Node | string)[]}
 */
function inline(text, depth = 0) {
  /** @type {(Node | string)[]} */
  const found = [];
  let rest = text;
  while (rest !== '') {
    const match = INLINE.exec(rest);
    if (match === null || depth >= DEEPEST) break;
    const [whole, , code, label, target, bold, italic, struck] = match;
    if (match.index > 0) found.push(rest.slice(0, match.index));
    rest = rest.slice(match.index + whole.length);
    if (code !== undefined) found.push(element('code', 'markdown-code', code.trim() || code));
    else if (label !== undefined) found.push(link(target, inline(label, depth + 1)) ?? whole);
    else if (bold !== undefined) found.push(element('strong', '', ...inline(bold, depth + 1)));
    else if (italic !== undefined) found.push(element('em', '', ...inline(italic, depth + 1)));
    else if (struck !== undefined) found.push(element('s', '', ...inline(struck, depth + 1)));
    else {
      const url = whole.replace(/[.,;:!?'"]+$/, '');
      found.push(link(url, [url]) ?? url, whole.slice(url.length));
    }
  }
  return [...found, rest].filter((part) => part !== '');
}

/**
 * Returns a link, or null if its target is not allowed.
 * @param {string} target
 * @param {(Node | string)[]} label
 */
function link(target, label) {
  // A scheme is recognized by its colon before any slash; without one the target is relative to the page.
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(target)?.[1].toLowerCase();
  if (scheme === undefined ? !/^[\w./?#%-]/.test(target) || /^\/\/|\\|&/.test(target.split(/[?#]/)[0]) : !['http', 'https', 'mailto'].includes(scheme)) return null;
  const node = element('a', '', ...label);
  node.href = target;
  node.rel = 'noopener noreferrer nofollow';
  return node;
}
