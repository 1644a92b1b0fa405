// @ts-check
/**
 * Table of the fields of a state channel: those that the tile names, or all. A field that is a list of objects (`nodes` of
 * `metrics.infrastructure`) becomes a table with one row per object.
 */

import { element, setText } from '../dom.js';
import { fieldsOf, isList, isMoney, kindOf, nameOf, valueAt } from '../fields.js';
import { NOTHING } from '../format.js';
import { ENDED, NO_DATA, empty } from './empty.js';

const MOST_FIELDS = 60;

/** @type {import('./contract.js').Mount} */
export function mountFields(tile, body, context) {
  const { channel } = tile;
  if (channel === undefined) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const rows = element('tbody');
  const head = element('thead');
  const table = element('table', 'table table-fields', element('caption', 'visually-hidden', tile.title), head, rows);
  const note = element('p', 'tile-empty', NO_DATA);
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
  /** Ends the subscription to the currency, which starts with the first amount. @type {(() => void) | null} */
  let money = null;
  let columns = '';

  const ends = [
    context.subscriptions.subscribe(channel, {
      onUpdate: (update) => {
        if (update.event !== null) return;
        data = update.gone ? null : update.data;
        setText(note, update.gone ? ENDED : NO_DATA);
        dirty = true;
        context.redraw();
      },
    }),
  ];
  const named = tile.fields ?? (tile.field === undefined ? undefined : [tile.field]);
  let currency = '';

  /** @param {Record<string, any>[]} list */
  const drawList = (list) => {
    const keys = [...new Set(list.flatMap(Object.keys))].filter((key) => !Array.isArray(list[0]?.[key]));
    if (columns !== keys.join()) {
      columns = keys.join();
      head.replaceChildren(element('tr', '', ...keys.map((key) => {
        const cell = element('th', typeof list[0]?.[key] === 'number' ? 'table-number' : '', nameOf(key));
        cell.scope = 'col';
        return cell;
      })));
    }
    rows.replaceChildren(...list.slice(0, MOST_FIELDS).map((line) => element('tr', '', ...keys.map((key, index) => {
      const cell = element(index === 0 ? 'th' : 'td', typeof line[key] === 'number' ? 'table-number' : '', read(line[key], key, undefined, currency));
      if (index === 0) cell.setAttribute('scope', 'row');
      return cell;
    }))));
  };

  return {
    draw: () => {
      if (!dirty && currency === context.currency()) return;
      dirty = false;
      currency = context.currency();
      money ??= (named ?? fieldsOf(data)).some(isMoney) ? context.followCurrency() : null;
      const list = named?.length === 1 ? valueAt(data, named[0]) : undefined;
      if (isList(list)) {
        note.hidden = true;
        table.hidden = false;
        return drawList(list);
      }
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
        const hidden = context.denied(channel, [field]) !== '';
        setText(line.value, hidden ? 'No permission' : read(valueAt(data, field), field, tile.options?.unit, currency));
      });
      note.hidden = data !== null;
      table.hidden = !note.hidden;
    },
    sourceStopped: (silent) => {
      for (const [field, { row }] of shown) row.dataset.silent = String(silent.has(field));
    },
    close: () => {
      ends.forEach((end) => end());
      money?.();
    },
  };
}

/**
 * @param {unknown} value
 * @param {string} field
 * @param {unknown} unit
 * @param {string} currency
 */
function read(value, field, unit, currency) {
  const { text, unit: suffix } = kindOf(field, unit).read(value, { currency });
  if (text !== NOTHING) return suffix === '' ? text : `${text} ${suffix}`;
  return typeof value === 'string' || typeof value === 'boolean' ? String(value) : NOTHING;
}
