// @ts-check
/** The settings of a tile in its dialog: those of `options`, and the columns of a table. Each kind of tile has some of them. */

import { element } from '../dom.js';

/** @typedef {import('../tiles/contract.js').Tile} Tile */

/** Options that the dialog sets; it keeps others as they are. */
const OWN = ['unit', 'text', 'noDataAfter', 'thresholds', 'min', 'max', 'prefix', 'whenEmpty'];
/** Values with an age. */
const VALUES = ['number', 'chart', 'gauge', 'bar', 'state', 'status', 'table'];

export class TileSettings {
  #unit = text('automatic', 12);
  #quiet = text('automatic', 7);
  #warning = decimal();
  #critical = decimal();
  #below = element('input');
  #min = decimal();
  #max = decimal();
  #prefix = text('metrics.host.', 128);
  #columns = text('all', 400);
  #text = element('textarea', 'input');
  #hide = element('input');
  /** Called with every change. */
  onChange = () => {};
  element;
  /** @type {[HTMLElement, readonly string[]][]} rows of controls with the kinds of tiles that have them */
  #rows;

  constructor() {
    this.#quiet.pattern = '[1-9][0-9]{0,5}[smhd]';
    this.#quiet.title = 'A time such as 30s, 5m, 2h or 1d';
    this.#text.rows = 6;
    this.#text.maxLength = 900;
    for (const box of [this.#below, this.#hide]) box.type = 'checkbox';
    const limits = element('div', 'dialog-row', labelled('Warning from', this.#warning), labelled('Critical from', this.#critical));
    const below = check('Below these values instead of above', this.#below);
    this.#rows = [
      [labelled('Text', this.#text), ['text', 'markdown']],
      [labelled('Channels that begin with', this.#prefix), ['channels']],
      [labelled('Columns, separated by commas', this.#columns), ['table', 'channels']],
      [limits, ['number', 'chart', 'gauge', 'bar', 'status']],
      [below, ['number', 'chart', 'gauge', 'bar', 'status']],
      [element('div', 'dialog-row', labelled('Scale from', this.#min), labelled('Scale to', this.#max)), ['gauge', 'bar']],
      [labelled('Unit', this.#unit), ['number', 'chart', 'gauge', 'bar', 'state', 'table']],
      [labelled('“No data” after', this.#quiet), VALUES],
      [check('Hide while there is no data', this.#hide), VALUES],
    ];
    const body = element('div', 'settings-body', ...this.#rows.slice(3).map(([node]) => node));
    const more = element('details', 'settings', element('summary', '', 'Limits, unit and more'), body);
    this.element = element('div', 'settings-all', ...this.#rows.slice(0, 3).map(([node]) => node), more);
    this.element.addEventListener('input', () => this.onChange());
  }

  get unit() {
    return this.#unit.value.trim();
  }

  /** Fields that are columns, in their order. */
  get columns() {
    return this.#columns.value.split(',').map((name) => name.trim()).filter(Boolean).slice(0, 32);
  }

  /** @param {Tile | null} tile */
  set(tile) {
    const options = tile?.options ?? {};
    const word = (/** @type {string} */ name) => (typeof options[name] === 'string' ? options[name] : '');
    const limit = (/** @type {any} */ value) => (typeof value === 'number' ? String(value) : '');
    this.#unit.value = word('unit');
    this.#quiet.value = word('noDataAfter');
    this.#text.value = word('text');
    this.#prefix.value = word('prefix');
    this.#min.value = limit(options.min);
    this.#max.value = limit(options.max);
    this.#warning.value = limit(options.thresholds?.warning);
    this.#critical.value = limit(options.thresholds?.critical);
    this.#below.checked = options.thresholds?.below === true;
    this.#hide.checked = options.whenEmpty === 'hide';
    this.#columns.value = tile?.type === 'table' || tile?.type === 'channels' ? (tile.fields ?? (tile.field === undefined ? [] : [tile.field])).join(', ') : '';
    const details = this.element.querySelector('details');
    if (details !== null) details.open = OWN.some((name) => name !== 'text' && name !== 'prefix' && options[name] !== undefined);
  }

  /** Shows the settings of a kind of tile. @param {Tile['type']} type */
  arrange(type) {
    for (const [node, types] of this.#rows) node.hidden = !types.includes(type);
    this.#text.required = type === 'text' || type === 'markdown';
    const details = this.element.querySelector('details');
    if (details !== null) details.hidden = this.#rows.slice(3).every(([node]) => node.hidden);
  }

  /**
   * Returns the options, with those of `before` that the dialog does not set.
   * @param {Record<string, any>} before
   */
  read(before) {
    const options = { ...before };
    for (const name of OWN) delete options[name];
    const words = /** @type {const} */ ([['unit', this.#unit], ['noDataAfter', this.#quiet], ['prefix', this.#prefix]]);
    for (const [name, input] of words) if (isShown(input) && input.value.trim() !== '') options[name] = input.value.trim();
    for (const [name, input] of /** @type {const} */ ([['min', this.#min], ['max', this.#max]])) if (isShown(input) && input.value !== '') options[name] = Number(input.value);
    if (isShown(this.#text)) options.text = this.#text.value;
    if (isShown(this.#hide) && this.#hide.checked) options.whenEmpty = 'hide';
    const limits = Object.fromEntries(
      /** @type {const} */ ([['warning', this.#warning], ['critical', this.#critical]]).filter(([, input]) => isShown(input) && input.value !== '').map(([name, input]) => [name, Number(input.value)]),
    );
    if (Object.keys(limits).length > 0) options.thresholds = this.#below.checked ? { ...limits, below: true } : limits;
    return options;
  }
}

/** Returns whether the row of a control is shown, whether or not its section is open. @param {HTMLElement} control */
function isShown(control) {
  const row = control.closest('.dialog-row, .dialog-field, .dialog-check');
  return row instanceof HTMLElement && !row.hidden && !(row.parentElement?.closest('.dialog-row')?.hasAttribute('hidden') ?? false);
}

/**
 * @param {string} placeholder
 * @param {number} most characters
 */
function text(placeholder, most) {
  const input = element('input', 'input');
  input.placeholder = placeholder;
  input.maxLength = most;
  return input;
}

function decimal() {
  const input = element('input', 'input');
  input.type = 'number';
  input.step = 'any';
  return input;
}

/**
 * @param {string} name
 * @param {HTMLElement} control
 */
const labelled = (name, control) => element('label', 'dialog-field', element('span', '', name), control);

/**
 * @param {string} name
 * @param {HTMLElement} control
 */
const check = (name, control) => element('label', 'dialog-check field-choice', control, element('span', '', name));
