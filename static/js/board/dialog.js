// @ts-check
/** Dialog for a tile: its kind, title, channel and fields. Channels and fields are those of the server at present. */

import { axesFor } from '../charts/plot.js';
import { element, setText } from '../dom.js';
import { fieldsOf, kindOf, listFields, nameOf, numericFields } from '../fields.js';
import { humanName, sentence } from '../format.js';
import { ApiError } from '../rest.js';
import { COLUMNS, KINDS } from '../tiles/index.js';

/** @typedef {import('../tiles/contract.js').Tile} Tile */

const MOST_FIELDS = { number: 1, chart: 6, table: 32 };

/** Kinds of channels that a kind of tile can show. */
const SHOWS = { number: ['state'], chart: ['state'], table: ['state', 'event'] };

let dialogs = 0;

export class TileDialog {
  #rest;
  /** @type {{channel: string, kind: string}[]} */
  #channels = [];
  #title = element('h2', 'dialog-title');
  #type = element('select', 'select');
  #name = element('input', 'input');
  #channel = element('select', 'select');
  #fields = element('fieldset', 'field-list');
  #unit = element('input', 'input');
  #quiet = element('input', 'input');
  #problem = element('p', 'tile-problem');
  #text = element('textarea', 'input');
  #width = number(2, COLUMNS);
  #height = number(1, 12);
  #save = element('button', 'button button-main', 'Save');
  #cancel = element('button', 'button', 'Cancel');
  #form = element('form', 'dialog-form');
  #dialog = element('dialog', 'dialog', this.#form);
  /** @type {Tile | null} */
  #before = null;
  /** Counts requests, so that a late response to an old one is dropped. */
  #asked = 0;
  #named = false;

  /** @param {import('../rest.js').Rest} rest */
  constructor(rest) {
    this.#rest = rest;
    dialogs += 1;
    this.#title.id = `tile-dialog-${dialogs}`;
    this.#dialog.setAttribute('aria-labelledby', this.#title.id);
    this.#type.append(...Object.entries(KINDS).map(([type, { label }]) => option(type, label)));
    this.#name.required = true;
    this.#name.maxLength = 100;
    this.#unit.maxLength = 12;
    this.#unit.placeholder = 'automatic';
    this.#unit.addEventListener('input', () => this.#limit());
    this.#quiet.placeholder = 'automatic';
    this.#quiet.pattern = '[1-9][0-9]{0,5}[smhd]';
    this.#quiet.title = 'A time such as 30s, 5m, 2h or 1d';
    this.#text.rows = 5;
    this.#text.maxLength = 900;
    this.#save.type = 'submit';
    this.#cancel.type = 'button';
    const sizes = element('div', 'dialog-row', labelled('Width', this.#width), labelled('Height', this.#height));
    this.#form.append(
      this.#title,
      element('div', 'dialog-row', labelled('Kind', this.#type), labelled('Title', this.#name)),
      this.#problem,
      labelled('Channel', this.#channel),
      this.#fields,
      element('div', 'dialog-row', labelled('Unit', this.#unit), labelled('“No data” after', this.#quiet)),
      labelled('Text', this.#text),
      sizes,
      element('div', 'dialog-buttons', this.#cancel, this.#save),
    );
    this.#type.addEventListener('change', () => {
      this.#width.value = '';
      this.#height.value = '';
      this.#arrange();
    });
    this.#channel.addEventListener('change', () => this.#listFields());
    this.#fields.addEventListener('change', () => {
      this.#limit();
      this.#suggest();
    });
    this.#name.addEventListener('input', () => (this.#named = this.#name.value !== ''));
    this.#cancel.addEventListener('click', () => this.#dialog.close());
    document.body.append(this.#dialog);
  }

  /**
   * @param {Tile | null} tile to edit; null for a new one
   * @returns {Promise<Tile | null>} null if cancelled; the id of a new tile is empty
   */
  async ask(tile) {
    this.#before = tile;
    this.#named = tile !== null;
    setText(this.#title, tile === null ? 'Add a tile' : 'Edit tile');
    setText(this.#save, tile === null ? 'Add' : 'Save');
    this.#type.value = tile?.type ?? 'number';
    this.#name.value = tile?.title ?? '';
    this.#unit.value = typeof tile?.options?.unit === 'string' ? tile.options.unit : '';
    this.#quiet.value = typeof tile?.options?.noDataAfter === 'string' ? tile.options.noDataAfter : '';
    this.#text.value = typeof tile?.options?.text === 'string' ? tile.options.text : '';
    this.#width.value = tile?.width === undefined ? '' : String(tile.width);
    this.#height.value = tile?.height === undefined ? '' : String(tile.height);
    this.#channels = [];
    setText(this.#problem, '');
    this.#arrange();
    this.#dialog.showModal();
    (tile === null ? this.#type : this.#name).focus();
    void this.#listChannels();
    return new Promise((resolve) => {
      this.#form.onsubmit = (event) => {
        event.preventDefault();
        const made = this.#read();
        if (made === null) return;
        resolve(made);
        this.#dialog.close();
      };
      this.#dialog.onclose = () => resolve(null);
    });
  }

  async #listChannels() {
    const mine = ++this.#asked;
    const data = await this.#request('api/channels');
    if (mine !== this.#asked) return;
    this.#channels = data?.channels ?? [];
    this.#arrange();
  }

  /**
   * Requests a path. On failure the dialog shows the reason, and the result is null.
   * @param {string} path
   */
  async #request(path) {
    try {
      const { data } = await this.#rest.request(path);
      setText(this.#problem, '');
      return data;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setText(this.#problem, sentence(error.message));
      return null;
    }
  }

  /** Shows the controls for this kind of tile. */
  #arrange() {
    const type = /** @type {Tile['type']} */ (this.#type.value);
    const kinds = SHOWS[/** @type {keyof typeof SHOWS} */ (type)] ?? [];
    // The snapshot, which contains the others, comes last.
    const all = [...this.#channels].sort((a, b) => Number(a.channel === 'metrics') - Number(b.channel === 'metrics'));
    const names = all.filter(({ channel, kind }) => kinds.includes(kind) && channel !== 'dashboards').map(({ channel }) => channel);
    const own = this.#channel.value || this.#before?.channel;
    if (own !== undefined && own !== '' && !names.includes(own) && kinds.length > 0) names.unshift(own);
    this.#channel.replaceChildren(...names.map((name) => option(name, name)));
    if (own !== undefined && names.includes(own)) this.#channel.value = own;
    row(this.#channel).hidden = kinds.length === 0;
    this.#channel.required = kinds.length > 0;
    row(this.#unit).hidden = type !== 'number' && type !== 'chart';
    row(this.#quiet).hidden = kinds.length === 0;
    row(this.#text).hidden = type !== 'text';
    this.#text.required = type === 'text';
    this.#width.placeholder = String(KINDS[type].width);
    this.#height.placeholder = String(KINDS[type].height);
    void this.#listFields();
  }

  async #listFields() {
    const type = this.#type.value;
    const most = MOST_FIELDS[/** @type {keyof typeof MOST_FIELDS} */ (type)] ?? 0;
    const channel = this.#channel.value;
    const kind = this.#channels.find((one) => one.channel === channel)?.kind;
    this.#fields.hidden = most === 0 || channel === '' || kind !== 'state';
    this.#suggest();
    if (this.#fields.hidden) return;
    const mine = ++this.#asked;
    const data = (await this.#request(`api/metrics/${channel}`))?.data;
    if (mine !== this.#asked) return;
    const every = type === 'table' ? [...fieldsOf(data), ...listFields(data)] : numericFields(data);
    const all = every.filter((field) => field !== ''); // a tile can't name it
    const before = this.#before?.channel === channel ? (this.#before.fields ?? [this.#before.field ?? '']) : [];
    for (const field of before) if (field !== '' && !all.includes(field)) all.unshift(field);
    const chosen = before.filter((field) => field !== '');
    const legend = element('legend', '', type === 'number' ? 'Field' : type === 'table' ? 'Fields (none: all)' : `Fields (up to ${most})`);
    this.#fields.replaceChildren(legend, ...all.map((field, index) => {
      const input = element('input');
      input.type = type === 'number' ? 'radio' : 'checkbox';
      input.name = 'field';
      input.value = field;
      input.checked = chosen.length > 0 ? chosen.includes(field) : type === 'number' && index === 0;
      return element('label', 'field-choice', input, element('span', '', field));
    }));
    this.#limit();
    if (all.length === 0 && data !== undefined) this.#fields.append(element('p', 'tile-empty', 'This channel has no data yet.'));
    this.#suggest();
  }

  /** Disables choices that do not fit: a seventh field, or a third unit. */
  #limit() {
    const type = /** @type {keyof typeof MOST_FIELDS} */ (this.#type.value);
    const chosen = this.#chosen();
    const full = type !== 'number' && chosen.length >= MOST_FIELDS[type];
    const unit = this.#unit.value.trim();
    let units = false;
    for (const input of this.#fields.querySelectorAll('input')) {
      const other = type === 'chart' && !input.checked && tooManyUnits([...chosen, input.value], unit);
      input.disabled = !input.checked && (full || other);
      units ||= other;
    }
    this.#fields.querySelector('.field-note')?.remove();
    const note = full ? `No more than ${MOST_FIELDS[type]} fields.` : units ? 'A chart has room for two units.' : '';
    if (note !== '') this.#fields.append(element('p', 'field-note', note));
  }

  /** Suggests a title, until the reader writes one. */
  #suggest() {
    if (this.#named) return;
    const [field] = this.#chosen();
    const type = this.#type.value;
    const channel = this.#channel.value.replace(/^metrics\./, '');
    this.#name.value = type === 'alerts' ? 'Alerts' : type === 'text' ? 'Note' : type !== 'table' && field !== undefined ? nameOf(field) : humanName(channel);
  }

  /** @returns {string[]} */
  #chosen() {
    if (this.#fields.hidden) return [];
    return [...this.#fields.querySelectorAll('input')].filter((input) => input.checked).map((input) => input.value);
  }

  /** @returns {Tile | null} null if something is missing, which the form reports */
  #read() {
    const type = /** @type {Tile['type']} */ (this.#type.value);
    const fields = this.#chosen();
    const most = MOST_FIELDS[/** @type {keyof typeof MOST_FIELDS} */ (type)] ?? 0;
    const first = this.#fields.querySelector('input');
    const wrong =
      (type === 'number' || type === 'chart') && fields.length === 0 ? 'Choose a field.'
      : fields.length > most ? `At most ${most} fields.`
      : type === 'chart' && tooManyUnits(fields, this.#unit.value.trim()) ? 'A chart has room for two units.'
      : '';
    first?.setCustomValidity(wrong);
    if (wrong !== '' && first === null) this.#channel.setCustomValidity('This channel has no numbers yet.');
    else this.#channel.setCustomValidity('');
    if (!this.#form.reportValidity()) {
      first?.setCustomValidity('');
      this.#channel.setCustomValidity('');
      return null;
    }
    /** @type {Tile} */
    const tile = { id: this.#before?.id ?? '', type, title: this.#name.value.trim() };
    if (tile.title === '') return null;
    if (most > 0) tile.channel = this.#channel.value;
    else if (type === 'alerts') tile.channel = 'alerts';
    if (fields.length === 1 && type !== 'table') [tile.field] = fields;
    else if (fields.length > 0) tile.fields = fields;
    if (this.#width.value !== '') tile.width = Number(this.#width.value);
    if (this.#height.value !== '') tile.height = Number(this.#height.value);
    const options = { ...this.#before?.options };
    delete options.unit;
    delete options.text;
    delete options.noDataAfter;
    if (!row(this.#quiet).hidden && this.#quiet.value.trim() !== '') options.noDataAfter = this.#quiet.value.trim();
    if (!row(this.#unit).hidden && this.#unit.value.trim() !== '') options.unit = this.#unit.value.trim();
    if (type === 'text') options.text = this.#text.value;
    if (Object.keys(options).length > 0) tile.options = options;
    return tile;
  }
}

/**
 * @param {readonly string[]} fields
 * @param {string} unit of the tile
 */
const tooManyUnits = (fields, unit) => axesFor(fields.map((field) => kindOf(field, unit))).includes(-1);

/**
 * @param {string} value
 * @param {string} label
 */
function option(value, label) {
  const node = element('option', '', label);
  node.value = value;
  return node;
}

/**
 * @param {number} min
 * @param {number} max
 */
function number(min, max) {
  const input = element('input', 'input');
  input.type = 'number';
  input.min = String(min);
  input.max = String(max);
  return input;
}

/**
 * @param {string} name
 * @param {HTMLElement} control
 */
function labelled(name, control) {
  return element('label', 'dialog-field', element('span', '', name), control);
}

/**
 * Returns the label around a control.
 * @param {HTMLElement} control
 */
const row = (control) => control.parentElement ?? control;
