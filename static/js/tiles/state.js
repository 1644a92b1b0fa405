// @ts-check
/** State: one text, boolean or number in large letters, coloured by its meaning, and how long it has been so. */

import { element, setText } from '../dom.js';
import { isMoney, kindOf, valueAt } from '../fields.js';
import { NOTHING, about, humanName } from '../format.js';
import { empty } from './empty.js';
import { levelOf } from './level.js';

/** @type {import('./contract.js').Mount} */
export function mountState(tile, body, context) {
  const { channel, field, options = {} } = tile;
  if (channel === undefined || field === undefined) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const dot = element('span', 'state-dot');
  dot.setAttribute('aria-hidden', 'true');
  const value = element('span', 'state-value', NOTHING);
  const figure = element('p', 'state-figure', dot, value);
  const since = element('p', 'state-since');
  body.append(figure, since);
  const money = isMoney(field) ? context.followCurrency() : () => {};
  /** @type {unknown} */
  let shown;
  /** When it became so, by the page's clock; NaN if that was before the first value. */
  let changedAt = NaN;
  let dirty = true;
  const end = context.subscriptions.subscribe(channel, {
    onUpdate: ({ event, data, timestamp }) => {
      if (event !== null) return;
      const next = valueAt(data, field);
      if (next === shown) return;
      // The first value may have been like this for longer than since its last change of another field.
      changedAt = shown === undefined ? NaN : Date.parse(timestamp ?? '') - context.rest.skew;
      shown = next;
      dirty = true;
      context.redraw();
    },
  });

  return {
    draw: ({ now, lines }) => {
      if (dirty) {
        setText(value, textOf(shown, field, options.unit, context.currency()));
        figure.dataset.level = levelOf(shown, field, options, context.limits.of(channel, field, options));
      }
      if (dirty || lines) setText(since, Number.isNaN(changedAt) ? '' : `for ${about((now - changedAt) / 1_000)}`);
      dirty = false;
    },
    rangeChanged: () => (dirty = true), // the limits, too, may have changed
    close: () => {
      end();
      money();
    },
  };
}

/**
 * Formats a value of any type.
 * @param {unknown} value
 * @param {string} field
 * @param {unknown} unit of the tile
 * @param {string} currency
 */
export function textOf(value, field, unit, currency) {
  if (typeof value === 'boolean') return value ? 'Yes' : 'No';
  const { text, unit: suffix } = kindOf(field, unit).read(value, { currency });
  if (text !== NOTHING) return suffix === '' ? text : `${text} ${suffix}`;
  // Words like `in_progress` become readable; a text with spaces stays as it is.
  return typeof value === 'string' && value !== '' ? (/^[\w-]+$/.test(value) && !/\d/.test(value) ? humanName(value) : value) : NOTHING;
}
