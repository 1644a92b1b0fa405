// @ts-check
/** The fields of a state channel as a table of names and values: those that the tile names, or all there are. */

import { element, setText } from '../dom.js';
import { fieldsOf, isMoney, kindOf, nameOf, valueAt } from '../fields.js';
import { NOTHING } from '../format.js';
import { empty } from './empty.js';

const MOST_FIELDS = 60;

/** @type {import('./contract.js').Mount} */
export function mountFields(tile, body, context) {
  const { channel } = tile;
  if (channel === undefined) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const rows = element('tbody');
  const table = element('table', 'table table-fields', element('caption', 'visually-hidden', tile.title), rows);
  const note = element('p', 'tile-empty', 'Nothing has come in on this channel yet.');
  const scroll = element('div', 'tile-scroll', note, table);
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', tile.title);
  body.append(scroll);
  /** @type {Map<string, {row: HTMLElement, value: HTMLElement}>} */
  const shown = new Map();
  /** @type {any} */
  let data = null;
  let dirty = true;

  const ends = [
    context.live.subscribe(channel, {
      take: (news) => {
        if (news.event !== null) return;
        data = news.data;
        dirty = true;
        context.redraw();
      },
    }),
  ];
  const named = tile.fields ?? (tile.field === undefined ? undefined : [tile.field]);
  if (named?.some(isMoney) && channel !== 'metrics.revenue') ends.push(context.live.subscribe('metrics.revenue', { take: () => {} }));

  return {
    draw: () => {
      if (!dirty) return;
      dirty = false;
      const fields = (named ?? fieldsOf(data)).slice(0, MOST_FIELDS);
      for (const [field, { row }] of shown) {
        if (fields.includes(field)) continue;
        row.remove();
        shown.delete(field);
      }
      fields.forEach((field, index) => {
        let line = shown.get(field);
        if (line === undefined) {
          const name = element('th', '', nameOf(field));
          name.scope = 'row';
          const value = element('td', 'table-number');
          line = { row: element('tr', '', name, value), value };
          shown.set(field, line);
          rows.insertBefore(line.row, rows.children[index] ?? null);
        }
        setText(line.value, read(valueAt(data, field), field, tile.options?.unit, context.currency()));
      });
      note.hidden = data !== null || named !== undefined;
      table.hidden = !note.hidden;
    },
    close: () => ends.forEach((end) => end()),
  };
}

/**
 * @param {unknown} value
 * @param {string} field
 * @param {unknown} unit
 * @param {string} currency
 */
function read(value, field, unit, currency) {
  const { text, unit: said } = kindOf(field, unit).read(value, { currency });
  if (text !== NOTHING) return said === '' ? text : `${text} ${said}`;
  return typeof value === 'string' || typeof value === 'boolean' ? String(value) : NOTHING;
}
