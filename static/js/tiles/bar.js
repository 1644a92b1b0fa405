// @ts-check
/** Bars: several numbers of one channel beside each other, each as long as its part of the largest, or of `options.max`. */

import { element, setText } from '../dom.js';
import { isMoney, kindOf, nameOf, numericFields, valueAt } from '../fields.js';
import { NO_DATA, empty } from './empty.js';
import { followLatest } from './latest.js';
import { endsOf } from './gauge.js';
import { levelOf } from './level.js';

const MOST_BARS = 24;

/** @typedef {{row: HTMLElement, bar: HTMLElement, value: HTMLElement}} Line */

/** @type {import('./contract.js').Mount} */
export function mountBar(tile, body, context) {
  const { channel, options = {} } = tile;
  if (channel === undefined) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const named = tile.fields ?? (tile.field === undefined ? null : [tile.field]);
  const list = element('ul', 'bars');
  const note = element('p', 'tile-empty', NO_DATA);
  const scroll = element('div', 'tile-scroll', note, list);
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', tile.title);
  body.append(scroll);
  const latest = followLatest(context, channel);
  /** Ends the subscription to the currency, which starts with the first amount. @type {(() => void) | null} */
  let money = null;
  /** @type {Map<string, Line>} */
  const lines = new Map();
  /** Largest value so far by scale, so that bars do not jump. @type {Map<string, number>} */
  const highest = new Map();

  return {
    draw: () => {
      if (!latest.changed) return;
      latest.changed = false;
      const fields = (named ?? numericFields(latest.data)).slice(0, MOST_BARS);
      money ??= fields.some(isMoney) ? context.followCurrency() : null;
      note.hidden = latest.data !== null;
      for (const [field, { row }] of lines) {
        if (fields.includes(field)) continue;
        row.remove();
        lines.delete(field);
      }
      const read = fields.map((field) => ({ field, kind: kindOf(field, options.unit), value: valueAt(latest.data, field), limits: context.limits.of(channel, field, options) }));
      for (const { kind, value } of read) highest.set(kind.scale, Math.max(highest.get(kind.scale) ?? 0, kind.number(value) || 0));
      const limitsOn = (/** @type {string} */ scale) => read.flatMap(({ kind, limits }) => (kind.scale === scale ? limits : []));
      for (const { field, kind, value, limits } of read) {
        const line = lines.get(field) ?? create(field);
        const { text, unit } = kind.read(value, { currency: context.currency() });
        setText(line.value, unit === '' ? text : `${text} ${unit}`);
        const { min, max } = endsOf(options, kind.scale, highest.get(kind.scale) ?? 0, limitsOn(kind.scale));
        const part = Math.min(1, Math.max(0, (kind.number(value) - min) / (max - min))) || 0;
        line.bar.style.setProperty('--part', part.toFixed(4));
        line.row.dataset.level = levelOf(kind.number(value), '', options, limits);
      }
    },
    rangeChanged: () => (latest.changed = true), // the limits, too, may have changed
    close: () => {
      latest.end();
      money?.();
    },
  };

  /** @param {string} field */
  function create(field) {
    const bar = element('span', 'bar-fill');
    const value = element('span', 'bar-value');
    const place = element('span', 'bar-place', bar);
    place.setAttribute('aria-hidden', 'true');
    const row = element('li', 'bar', element('span', 'bar-name', nameOf(field)), value, place);
    const line = { row, bar, value };
    lines.set(field, line);
    list.append(row);
    return line;
  }
}
