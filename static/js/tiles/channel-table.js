// @ts-check
/** Table with a row for each channel and a column for each field, sorted by any column. */

import { element, setText } from '../dom.js';
import { kindOf, nameOf } from '../fields.js';
import { NOTHING } from '../format.js';
import { isSilent } from '../explore/catalog.js';
import { ageOf } from '../explore/row.js';
import { levelOf } from './level.js';

/** @typedef {import('../explore/catalog.js').Channel} Channel */

export class ChannelTable {
  #fields;
  #prefix;
  #unit;
  #rows = element('tbody');
  /** Column to sort by, 0 for the name, and the direction. */
  #sort = { column: 0, down: false };
  /** @type {HTMLElement[]} */
  #heads = [];
  element;

  /**
   * @param {readonly string[]} fields
   * @param {string} prefix that all names share
   * @param {unknown} unit of the tile
   */
  constructor(fields, prefix, unit) {
    this.#fields = fields;
    this.#prefix = prefix;
    this.#unit = unit;
    const names = ['Name', ...fields.map(nameOf), 'Updated'];
    this.#heads = names.map((name, column) => {
      const button = element('button', 'sort', name);
      button.type = 'button';
      button.addEventListener('click', () => {
        this.#sort = { column, down: this.#sort.column === column ? !this.#sort.down : column > 0 };
        this.#mark();
      });
      const head = element('th', column === 0 ? '' : 'table-number', button);
      head.scope = 'col';
      return head;
    });
    this.element = element('table', 'table table-channels', element('thead', '', element('tr', '', ...this.#heads)), this.#rows);
    this.#mark();
  }

  #mark() {
    const { column, down } = this.#sort;
    this.#heads.forEach((head, index) => head.setAttribute('aria-sort', index !== column ? 'none' : down ? 'descending' : 'ascending'));
  }

  /**
   * @param {readonly Channel[]} channels
   * @param {number} now
   * @param {string} currency
   */
  draw(channels, now, currency) {
    const sorted = this.#sorted(channels);
    while (this.#rows.children.length > sorted.length) this.#rows.lastElementChild?.remove();
    sorted.forEach((channel, index) => {
      const row = /** @type {HTMLElement} */ (this.#rows.children[index] ?? this.#rows.appendChild(this.#emptyRow()));
      row.dataset.silent = String(isSilent(channel, now));
      const [name, ...cells] = row.children;
      setText(name, channel.name.slice(this.#prefix.length) || channel.name);
      cells.forEach((cell, i) => {
        if (i === this.#fields.length) return setText(cell, ageOf(channel.writtenAt, now));
        const value = valueOf(channel, this.#fields[i]);
        const { text, unit } = kindOf(this.#fields[i], this.#unit).read(value, { currency });
        const known = text !== NOTHING ? (unit === '' ? text : `${text} ${unit}`) : typeof value === 'string' || typeof value === 'boolean' ? String(value) : NOTHING;
        setText(cell, known);
        /** @type {HTMLElement} */ (cell).dataset.level = typeof value === 'number' ? 'plain' : levelOf(value, this.#fields[i]);
      });
    });
  }

  /** @param {readonly Channel[]} channels sorted by name */
  #sorted(channels) {
    const { column, down } = this.#sort;
    const sign = down ? -1 : 1;
    if (column === 0) return down ? [...channels].reverse() : channels;
    const key = (/** @type {Channel} */ channel) => {
      if (column > this.#fields.length) return -channel.writtenAt;
      const field = this.#fields[column - 1];
      const value = valueOf(channel, field);
      const number = kindOf(field).number(value);
      return Number.isNaN(number) ? String(value ?? '') : number;
    };
    // Rows without a value come last.
    return [...channels].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === '' || y === '') return Number(x === '') - Number(y === '');
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
  }

  #emptyRow() {
    const name = element('th');
    name.scope = 'row';
    return element('tr', '', name, ...this.#fields.map(() => element('td', 'table-number')), element('td', 'table-number table-age'));
  }
}

/**
 * @param {Channel} channel
 * @param {string} field
 */
const valueOf = (channel, field) => channel.fields.find(({ name }) => name === field)?.value;
