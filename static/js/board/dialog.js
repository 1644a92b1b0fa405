// @ts-check
/** Dialog for a tile: its kind, title, data and settings, beside a preview that shows it as it will be. */

import { axesFor } from '../charts/plot.js';
import { element, setText } from '../dom.js';
import { kindOf, nameOf } from '../fields.js';
import { humanName } from '../format.js';
import { COLUMNS, KINDS } from '../tiles/kinds.js';
import { Card } from './card.js';
import { FieldPicker } from './field-picker.js';
import { TileSettings } from './tile-settings.js';

/** @typedef {import('../tiles/contract.js').Tile} Tile */

/** Data of each kind of tile; those that are not listed have none. @type {Partial<Record<Tile['type'], import('./field-picker.js').Mode>>} */
const MODES = {
  number: { choose: 'field', most: 1, numeric: true },
  chart: { choose: 'fields', most: 6, numeric: true },
  gauge: { choose: 'field', most: 1, numeric: true },
  bar: { choose: 'fields', most: 24, numeric: true },
  state: { choose: 'field', most: 1, numeric: false },
  status: { choose: 'field', most: 1, numeric: false },
  table: { choose: 'channel', most: 32, numeric: false },
};

/** Time after the last change before the preview is made again. */
const PREVIEW_MS = 150;

let dialogs = 0;

export class TileDialog {
  #context;
  #kindOfChannel;
  #title = element('h2', 'dialog-title');
  #type = element('select', 'select');
  #name = element('input', 'input');
  #picker;
  #settings = new TileSettings();
  #width = number(2, COLUMNS);
  #height = number(1, 12);
  #save = element('button', 'button button-main', 'Save');
  #cancel = element('button', 'button', 'Cancel');
  #preview = element('div', 'dialog-preview');
  #form = element('form', 'dialog-form');
  #dialog = element('dialog', 'dialog dialog-tile', this.#form);
  /** @type {Card | null} */
  #card = null;
  #timer = 0;
  /** @type {Tile | null} */
  #before = null;
  #named = false;

  /**
   * @param {import('../tiles/contract.js').Context} context
   * @param {(channel: string) => string | undefined} kindOfChannel
   */
  constructor(context, kindOfChannel) {
    this.#context = context;
    this.#kindOfChannel = kindOfChannel;
    this.#picker = new FieldPicker(context);
    dialogs += 1;
    this.#title.id = `tile-dialog-${dialogs}`;
    this.#dialog.setAttribute('aria-labelledby', this.#title.id);
    this.#type.append(...Object.entries(KINDS).map(([type, { label }]) => option(type, label)));
    this.#name.required = true;
    this.#name.maxLength = 100;
    this.#save.type = 'submit';
    this.#cancel.type = 'button';
    this.#preview.inert = true;
    const sizes = element('div', 'dialog-row', labelled('Width', this.#width), labelled('Height', this.#height));
    const left = element('div', 'dialog-side',
      element('div', 'dialog-row', labelled('Kind', this.#type), labelled('Title', this.#name)),
      this.#picker.element,
      this.#settings.element,
      sizes,
    );
    const right = element('div', 'dialog-side', element('p', 'dialog-label', 'Preview'), this.#preview);
    this.#form.append(this.#title, element('div', 'dialog-sides', left, right), element('div', 'dialog-buttons', this.#cancel, this.#save));
    this.#type.addEventListener('change', () => {
      this.#width.value = '';
      this.#height.value = '';
      this.#arrange();
    });
    this.#picker.refuses = (fields) => (this.#kind === 'chart' && tooManyUnits(fields, this.#settings.unit) ? 'A chart has room for two units.' : '');
    this.#picker.onChange = () => {
      this.#suggest();
      this.#changed();
    };
    this.#settings.onChange = () => {
      this.#picker.mark();
      this.#changed();
    };
    this.#name.addEventListener('input', () => {
      this.#named = this.#name.value !== '';
      this.#changed();
    });
    for (const size of [this.#width, this.#height]) size.addEventListener('input', () => this.#changed());
    this.#cancel.addEventListener('click', () => this.#dialog.close());
    document.body.append(this.#dialog);
  }

  get #kind() {
    return /** @type {Tile['type']} */ (this.#type.value);
  }

  /** Draws the preview and the values of the list. @param {import('../tiles/contract.js').FrameState} frame */
  draw(frame) {
    if (!this.#dialog.open) return;
    this.#picker.draw(frame);
    this.#card?.draw(frame, '');
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
    this.#settings.set(tile);
    this.#width.value = tile?.width === undefined ? '' : String(tile.width);
    this.#height.value = tile?.height === undefined ? '' : String(tile.height);
    this.#picker.open(tile?.channel ?? '', (tile?.fields ?? [tile?.field ?? '']).filter((field) => field !== ''));
    this.#dialog.showModal();
    this.#arrange();
    (tile === null ? this.#type : this.#name).focus();
    return new Promise((resolve) => {
      this.#form.onsubmit = (event) => {
        event.preventDefault();
        const made = this.#read();
        if (made === null) return;
        resolve(made);
        this.#dialog.close();
      };
      this.#dialog.onclose = () => {
        this.#picker.close();
        this.#show(null);
        resolve(null);
      };
    });
  }

  /** Shows the controls for this kind of tile. */
  #arrange() {
    const mode = MODES[this.#kind];
    this.#picker.element.hidden = mode === undefined;
    this.#picker.configure(mode ?? { choose: 'field', most: 1, numeric: false });
    this.#settings.arrange(this.#kind);
    this.#width.placeholder = String(KINDS[this.#kind].width);
    this.#height.placeholder = String(KINDS[this.#kind].height);
    this.#suggest();
    this.#changed();
  }

  /** Suggests a title, until the reader writes one. */
  #suggest() {
    if (this.#named) return;
    const { channel, fields: [field] } = this.#picker;
    const short = humanName(channel.replace(/^metrics\./, ''));
    const label = KINDS[this.#kind].label;
    this.#name.value = MODES[this.#kind] === undefined ? label : this.#kind === 'table' || this.#kind === 'bar' || field === undefined ? short : nameOf(field);
  }

  #changed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#show(this.#draft()), PREVIEW_MS);
  }

  /** @param {Tile | null} tile */
  #show(tile) {
    clearTimeout(this.#timer);
    if (tile === null || !this.#dialog.open) {
      this.#card?.close();
      this.#card = null;
      return this.#preview.replaceChildren();
    }
    if (this.#card === null) {
      this.#card = new Card(tile, this.#context, this.#kindOfChannel);
      this.#preview.replaceChildren(this.#card.element);
    } else this.#card.update(tile);
    this.#preview.style.setProperty('--tile-height', String(tile.height ?? KINDS[tile.type].height));
    this.#context.redraw();
  }

  /** Returns the tile as it is described so far; null if its data is missing. @returns {Tile | null} */
  #draft() {
    const mode = MODES[this.#kind];
    const { channel, fields } = this.#picker;
    if (mode !== undefined && (channel === '' || (mode.choose !== 'channel' && fields.length === 0))) return null;
    const made = this.#describe();
    delete made.options?.whenEmpty; // the preview shows an empty tile, too
    return { ...made, id: 'preview' };
  }

  /** @returns {Tile | null} null if something is missing, which the form reports */
  #read() {
    const mode = MODES[this.#kind];
    const { channel, fields, firstInput } = this.#picker;
    const wrong =
      mode === undefined ? ''
      : mode.choose === 'channel' ? (channel === '' ? 'Choose a channel.' : '')
      : fields.length === 0 ? 'Choose a field.'
      : fields.length > mode.most ? `At most ${mode.most} fields.`
      : this.#kind === 'chart' && tooManyUnits(fields, this.#settings.unit) ? 'A chart has room for two units.'
      : '';
    firstInput.setCustomValidity(wrong);
    const isValid = this.#form.reportValidity();
    firstInput.setCustomValidity('');
    const tile = this.#describe();
    return isValid && tile.title !== '' ? tile : null;
  }

  /** @returns {Tile} */
  #describe() {
    const type = this.#kind;
    const mode = MODES[type];
    /** @type {Tile} */
    const tile = { id: this.#before?.id ?? '', type, title: this.#name.value.trim() };
    if (mode !== undefined && this.#picker.channel !== '') tile.channel = this.#picker.channel;
    else if (type === 'alerts') tile.channel = 'alerts';
    const own = mode?.choose === 'channel' || type === 'channels' ? this.#settings.columns : this.#picker.fields;
    const fields = mode === undefined && type !== 'channels' ? [] : own;
    if (fields.length === 1 && type !== 'table' && type !== 'channels') [tile.field] = fields;
    else if (fields.length > 0) tile.fields = fields;
    if (this.#width.value !== '') tile.width = Number(this.#width.value);
    if (this.#height.value !== '') tile.height = Number(this.#height.value);
    const options = this.#settings.read(this.#before?.options ?? {});
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
