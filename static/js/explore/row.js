// @ts-check
/** One row of the list of channels: name, field, value, line, age, type, and the button "Pin". */

import { drawSparkline } from '../charts/sparkline.js';
import { describe } from '../describe.js';
import { element, setText } from '../dom.js';
import { kindOf, nameOf } from '../fields.js';
import { NOTHING, about } from '../format.js';
import { icon } from '../icons.js';
import { isSilent } from './catalog.js';

/** @typedef {import('./catalog.js').Row} Row */
/** @typedef {import('../tiles/contract.js').FrameState} FrameState */

/** Time for which a channel that has just appeared is marked. */
const NEW_MS = 6_000;

/**
 * @typedef {object} Actions
 * @property {((row: Row) => void) | null} pin null without the permission
 * @property {(row: Row) => void} open shows the details of a channel
 */

export class RowView {
  #actions;
  /** @type {Row | null} */
  #row = null;
  #name = element('button', 'explore-name');
  #field = element('span', 'explore-field');
  #value = element('span', 'explore-value');
  #unit = element('span', 'explore-unit');
  #line = element('canvas', 'explore-line');
  #age = element('span', 'explore-age');
  #type = element('span', 'explore-type');
  #pin = element('button', 'tool explore-pin', icon('pin'));
  element;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#name.type = 'button';
    this.#pin.type = 'button';
    this.#pin.title = 'Pin to a dashboard';
    this.#line.setAttribute('aria-hidden', 'true');
    this.#name.addEventListener('click', () => this.#row !== null && actions.open(this.#row));
    this.#pin.addEventListener('click', () => this.#row !== null && actions.pin?.(this.#row));
    const cells = [
      cell('explore-cell-name', this.#name),
      cell('explore-cell-field', this.#field),
      cell('explore-cell-value', element('span', 'explore-figure', this.#value, this.#unit)),
      cell('explore-cell-line', this.#line),
      cell('explore-cell-age', this.#age),
      cell('explore-cell-type', this.#type),
      cell('explore-cell-pin', ...(actions.pin === null ? [] : [this.#pin])),
    ];
    this.element = element('div', 'explore-row', ...cells);
    this.element.setAttribute('role', 'row');
  }

  /** @param {Row} row */
  update(row) {
    this.#row = row;
    const { channel, field, first } = row;
    setText(this.#name, channel.name);
    this.element.dataset.first = String(first);
    this.element.dataset.kind = channel.kind;
    const name = field === null ? '' : nameOf(field.name);
    setText(this.#field, name);
    this.#field.title = field?.name ?? '';
    const source = channel.source === 'server' ? 'Server' : channel.restored ? 'Restored' : 'Pushed';
    setText(this.#type, `${channel.kind === 'event' ? 'Events' : 'State'} · ${source}`);
    this.#pin.setAttribute('aria-label', `Pin ${channel.name}${name === '' ? '' : ` ${name}`} to a dashboard`);
    this.#pin.hidden = channel.name === 'metrics' || field?.name === '';
  }

  /**
   * @param {FrameState} frame
   * @param {string} currency
   */
  draw({ now, live, lines, palette }, currency) {
    if (this.#row === null) return;
    const { channel, field } = this.#row;
    const { text, unit } = reading(channel, field, currency);
    setText(this.#value, text);
    setText(this.#unit, unit === '' ? '' : ` ${unit}`);
    this.#value.title = text.length > 24 ? text : '';
    const silent = isSilent(channel, now);
    setText(this.#age, ageOf(channel.writtenAt, now));
    this.element.dataset.silent = String(silent || !live);
    this.element.dataset.new = String(channel.seenAt > 0 && now - channel.seenAt < NEW_MS);
    if (!lines && this.#line.dataset.key === this.#row.key) return;
    this.#line.dataset.key = this.#row.key;
    const { bins } = field ?? { bins: null };
    this.#line.hidden = bins === null;
    if (bins !== null) drawSparkline(this.#line, bins.view(now), { from: now - 300_000, to: now, live: live && !silent, palette });
  }
}

/**
 * Formats the newest value of a field, or the newest event of a channel.
 * @param {import('./catalog.js').Channel} channel
 * @param {import('./catalog.js').Field | null} field
 * @param {string} currency
 */
export function reading(channel, field, currency) {
  if (field === null) {
    if (channel.name === 'metrics') return { text: 'Snapshot of all metrics', unit: '' };
    if (channel.event === null) return { text: channel.kind === 'event' ? '' : NOTHING, unit: '' };
    const { title, detail } = describe(channel.name, channel.event.event, channel.event.data ?? {}, currency);
    return { text: detail === '' ? title : `${title} · ${detail}`, unit: '' };
  }
  const { value } = field;
  const { text, unit } = kindOf(field.name).read(value, { currency });
  if (text !== NOTHING || value === null || value === undefined) return { text, unit };
  return { text: String(value), unit: '' };
}

/**
 * @param {number} writtenAt
 * @param {number} now
 */
export function ageOf(writtenAt, now) {
  if (Number.isNaN(writtenAt)) return '';
  const seconds = (now - writtenAt) / 1_000;
  return seconds < 2 ? 'now' : `${about(seconds)} ago`;
}

/**
 * @param {string} name
 * @param {...Node} content
 */
function cell(name, ...content) {
  const node = element('div', `explore-cell ${name}`, ...content);
  node.setAttribute('role', 'cell');
  return node;
}
