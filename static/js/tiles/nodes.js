// @ts-check
/** Nodes of the cluster with their CPU, memory, disk, load and network; a server without a cluster is one node. */

import { element, setText } from '../dom.js';
import { kindOf, nameOf } from '../fields.js';
import { NO_DATA } from './empty.js';
import { followLatest } from './latest.js';
import { levelOf } from './level.js';

const CHANNEL = 'metrics.infrastructure';
const FIELDS = ['cpu_usage', 'memory_usage', 'disk_usage', 'load_average', 'network_in', 'network_out'];
/** Usage in percent from which a value is marked. */
const LIMITS = { thresholds: { warning: 85, critical: 95 } };
const MOST_NODES = 100;
/** A node that is no longer reported is shown as missing for this long. */
const MISSED_MS = 10 * 60_000;

/** @type {import('./contract.js').Mount} */
export function mountNodes(tile, body, context) {
  const head = element('tr', '', ...['Node', ...FIELDS.map(nameOf)].map((name, index) => {
    const cell = element('th', index === 0 ? '' : 'table-number', name);
    cell.scope = 'col';
    return cell;
  }));
  const rows = element('tbody');
  const table = element('table', 'table table-nodes', element('caption', 'visually-hidden', tile.title), element('thead', '', head), rows);
  const note = element('p', 'tile-empty', NO_DATA);
  const scroll = element('div', 'tile-scroll', note, table);
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', tile.title);
  body.append(scroll);
  const latest = followLatest(context, CHANNEL);
  /** When each node was last reported. @type {Map<string, number>} */
  const seen = new Map();

  return {
    draw: ({ now, lines }) => {
      if (!latest.changed && !lines) return;
      latest.changed = false;
      const { data } = latest;
      note.hidden = data !== null;
      table.hidden = data === null;
      if (data === null) return;
      const nodes = /** @type {Record<string, any>[]} */ (Array.isArray(data.nodes) ? data.nodes : [{ ...data, node: 'This server' }]);
      for (const { node } of nodes) seen.set(String(node), now);
      for (const [node, at] of seen) if (now - at > MISSED_MS) seen.delete(node);
      const names = [...seen.keys()].sort().slice(0, MOST_NODES);
      while (rows.children.length > names.length) rows.lastElementChild?.remove();
      const limits = FIELDS.map((field) => context.limits.of(CHANNEL, field, LIMITS));
      names.forEach((name, index) => {
        const row = rows.children[index] ?? rows.appendChild(emptyRow());
        const node = nodes.find((one) => String(one.node) === name);
        /** @type {HTMLElement} */ (row).dataset.level = node === undefined ? 'critical' : 'good';
        const [first, ...cells] = row.children;
        setText(first.children[1], name);
        setText(first.children[2], node === undefined ? 'not reporting' : '');
        cells.forEach((cell, i) => {
          const value = node?.[FIELDS[i]];
          const { text, unit } = kindOf(FIELDS[i]).read(value, { currency: '' });
          setText(cell, unit === '' ? text : `${text} ${unit}`);
          /** @type {HTMLElement} */ (cell).dataset.level = FIELDS[i].endsWith('_usage') ? levelOf(value, '', LIMITS, limits[i]) : 'plain';
        });
      });
    },
    close: latest.end,
  };
}

function emptyRow() {
  const dot = element('span', 'state-dot');
  dot.setAttribute('aria-hidden', 'true');
  const name = element('th', '', dot, element('span', 'node-name'), element('span', 'node-missing'));
  name.scope = 'row';
  return element('tr', '', name, ...FIELDS.map(() => element('td', 'table-number')));
}
