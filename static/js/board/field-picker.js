// @ts-check
/**
 * Choice of the data of a tile: a search over all channels and fields, each with its newest value and its line. One field, several
 * fields of one channel, or one channel.
 */

import { element, setText } from '../dom.js';
import { kindOf, nameOf } from '../fields.js';
import { NOTHING } from '../format.js';
import { drawSparkline } from '../charts/sparkline.js';
import { SPAN_MS } from '../explore/bins.js';
import { Catalog } from '../explore/catalog.js';
import { Feed } from '../explore/feed.js';
import { Past } from '../explore/past.js';
import { reading } from '../explore/row.js';

/** @typedef {import('../explore/catalog.js').Row} Row */

/** Most rows that are listed at once; a search narrows them. */
const MOST_ROWS = 60;

/**
 * @typedef {object} Mode
 * @property {'field' | 'fields' | 'channel'} choose
 * @property {number} most fields
 * @property {boolean} numeric whether only numbers can be chosen
 */

/** @typedef {{key: string, row: Row | null, channel: string, field: string, input: HTMLInputElement, element: HTMLElement, value: HTMLElement, line: HTMLCanvasElement}} Choice */

let pickers = 0;

export class FieldPicker {
  #context;
  /** @type {Catalog} */
  #catalog = new Catalog();
  /** @type {Feed | null} */
  #feed = null;
  /** @type {Past | null} */
  #past = null;
  /** @type {Mode} */
  #mode = { choose: 'field', most: 1, numeric: true };
  #channel = '';
  /** @type {string[]} */
  #fields = [];
  #structure = -1;
  /** Whether the list is known, and why not. */
  #state = '';
  /** @type {Choice[]} */
  #choices = [];
  #search = element('input', 'input');
  #list = element('div', 'picker-list');
  #note = element('p', 'field-note');
  #legend = element('legend', '', 'Data');
  /** Returns why a field can't be added to the chosen ones; empty if it can. @type {(fields: string[]) => string} */
  refuses = () => '';
  /** Called when the choice has changed. */
  onChange = () => {};
  element = element('fieldset', 'picker', this.#legend, this.#search, this.#list, this.#note);

  /** @param {import('../tiles/contract.js').Context} context */
  constructor(context) {
    this.#context = context;
    pickers += 1;
    this.#search.type = 'search';
    this.#search.placeholder = 'Search channels and fields';
    this.#search.setAttribute('aria-label', 'Search channels and fields');
    this.#search.autocomplete = 'off';
    this.#search.spellcheck = false;
    this.#note.setAttribute('role', 'status');
    this.#search.addEventListener('input', () => this.#arrange());
    this.#search.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') event.preventDefault(); // searches, and does not add the tile
      if (event.key !== 'ArrowDown') return;
      event.preventDefault();
      this.#list.querySelector('input')?.focus();
    });
  }

  /** Channel that was chosen; empty for none. */
  get channel() {
    return this.#channel;
  }

  /** Fields that were chosen, in the order of the choice. */
  get fields() {
    return this.#fields;
  }

  /** Kind of the chosen channel. */
  get kind() {
    return this.#catalog.get(this.#channel)?.kind;
  }

  /** Field for the message of a form that lacks a choice. */
  get firstInput() {
    return this.#list.querySelector('input') ?? this.#search;
  }

  /** Starts to follow the channels. @param {string} channel chosen before @param {string[]} fields */
  open(channel, fields) {
    this.close();
    this.#channel = channel;
    this.#fields = fields;
    this.#search.value = '';
    this.#catalog = new Catalog();
    this.#structure = -1;
    this.#feed = new Feed(this.#context, this.#catalog, { metricsOnly: false, mostAll: 500, changed: () => this.#context.redraw() });
    this.#past = new Past(this.#context.rest, this.#catalog, () => this.#context.redraw());
    this.#arrange();
  }

  close() {
    this.#feed?.close();
    this.#past?.close();
    this.#feed = null;
    this.#past = null;
  }

  /** @param {Mode} mode */
  configure(mode) {
    const before = this.#mode;
    this.#mode = mode;
    if (mode.choose !== 'channel' && before.choose !== mode.choose) this.#fields = this.#fields.slice(0, mode.most);
    if (mode.choose === 'channel' && before.choose !== 'channel') this.#fields = [];
    setText(this.#legend, mode.choose === 'channel' ? 'Channel' : mode.choose === 'fields' ? `Fields of a channel (up to ${mode.most})` : 'Field');
    this.#arrange();
  }

  /** Draws the newest values. @param {import('../tiles/contract.js').FrameState} frame */
  draw({ now, lines, palette }) {
    if (this.#feed === null) return;
    const state = `${this.#feed.listed} ${this.#feed.problem}`;
    if (this.#structure !== this.#catalog.structure || this.#state !== state) this.#arrange();
    this.#state = state;
    for (const { row, value, line } of this.#choices) {
      if (row === null) continue;
      const { text, unit } = reading(row.channel, row.field, this.#context.currency());
      setText(value, unit === '' ? text : `${text} ${unit}`);
      const bins = row.field?.bins ?? null;
      line.hidden = bins === null;
      if (bins !== null && lines) drawSparkline(line, bins.view(now), { from: now - SPAN_MS, to: now, live: true, palette });
    }
    this.#past?.show(new Set(this.#choices.map(({ channel }) => channel)));
  }

  /** Lists the rows that match the search. */
  #arrange() {
    this.#structure = this.#catalog.structure;
    const all = this.#catalog.rows({ search: this.#search.value, show: 'all' }).filter((row) => this.#fits(row));
    const chosen = this.#fields.map((field) => `${this.#channel}\n${field}`);
    if (this.#mode.choose === 'channel' && this.#channel !== '') chosen.push(this.#channel);
    // The choice stays in sight, also if the search does not match it or the channel is gone.
    const rest = all.filter((row) => !chosen.includes(this.#keyOf(row)));
    const kept = chosen.map((key) => ({ key, row: this.#find(key) }));
    const rows = [...kept, ...rest.slice(0, Math.max(0, MOST_ROWS - kept.length)).map((row) => ({ key: this.#keyOf(row), row }))];
    const before = new Map(this.#choices.map((choice) => [choice.key, choice]));
    const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
    this.#choices = rows.map(({ key, row }) => {
      const known = before.get(key);
      if (known === undefined || known.input.type !== this.#inputType) return this.#create(key, row);
      known.row = row;
      return known;
    });
    this.#list.replaceChildren(...this.#choices.map(({ element }) => element));
    if (focused instanceof HTMLElement && focused !== document.activeElement) focused.focus();
    const more = rest.length - (rows.length - kept.length);
    const isListed = this.#feed?.listed === true;
    const problem = this.#feed?.problem ?? '';
    setText(this.#note, problem || (!isListed ? 'Loading …' : rows.length === 0 ? (this.#search.value === '' ? 'No data yet.' : 'Nothing matches.') : more > 0 ? `${more} more: search to narrow the list.` : ''));
    this.#mark();
    const names = new Set(this.#choices.map(({ channel }) => channel));
    this.#feed?.show(names);
    this.#past?.show(names);
  }

  get #inputType() {
    return this.#mode.choose === 'fields' ? 'checkbox' : 'radio';
  }

  /** @param {Row} row */
  #fits({ channel, field, first }) {
    if (channel.name === 'dashboards') return false;
    if (this.#mode.choose === 'channel') return first;
    if (channel.kind !== 'state' || field === null || field.name === '') return false;
    return !this.#mode.numeric || field.value === null || !Number.isNaN(kindOf(field.name).number(field.value));
  }

  /** @param {Row} row */
  #keyOf({ channel, key }) {
    return this.#mode.choose === 'channel' ? channel.name : key;
  }

  /** @param {string} key @returns {Row | null} */
  #find(key) {
    const [name, ...field] = key.split('\n');
    const channel = this.#catalog.get(name);
    if (channel === undefined) return null;
    return { key, channel, field: channel.fields.find((one) => one.name === field.join('\n')) ?? null, first: true };
  }

  /**
   * @param {string} key
   * @param {Row | null} row
   * @returns {Choice}
   */
  #create(key, row) {
    const [channel, field = ''] = key.split('\n');
    const input = element('input');
    input.type = this.#inputType;
    input.name = `picker-${pickers}`;
    input.value = field === '' ? channel : field;
    const value = element('span', 'picker-value', NOTHING);
    const line = element('canvas', 'picker-line');
    line.setAttribute('aria-hidden', 'true');
    // The name is that of the field alone, and the group names the channel.
    const name = element('span', 'picker-name', ...(field === '' ? [channel] : [nameOf(field)]));
    const where = element('span', 'picker-channel', field === '' ? '' : channel);
    const node = element('label', 'field-choice picker-row', input, name, where, line, value);
    node.title = field === '' ? channel : `${channel} · ${field}`;
    input.setAttribute('aria-label', field === '' ? channel : `${field} of ${channel}`);
    const choice = { key, row, channel, field, input, element: node, value, line };
    input.addEventListener('change', () => this.#choose(choice));
    return choice;
  }

  /** @param {Choice} choice */
  #choose({ channel, field, input }) {
    if (this.#mode.choose === 'fields') {
      if (channel !== this.#channel) this.#fields = [];
      this.#fields = input.checked ? [...this.#fields, field] : this.#fields.filter((one) => one !== field);
    } else this.#fields = field === '' ? [] : [field];
    this.#channel = this.#mode.choose === 'fields' && this.#fields.length === 0 ? '' : channel;
    this.#mark();
    this.onChange();
  }

  /** Call it when `refuses` may have changed. */
  mark() {
    this.#mark();
  }

  /** Checks the chosen rows, and disables those that do not fit to them. */
  #mark() {
    const { choose, most } = this.#mode;
    let reason = '';
    for (const { channel, field, input, element } of this.#choices) {
      input.checked = channel === this.#channel && (field === '' ? choose === 'channel' : this.#fields.includes(field));
      element.dataset.chosen = String(input.checked);
      const other = choose === 'fields' && this.#channel !== '' && channel !== this.#channel;
      const full = choose === 'fields' && this.#fields.length >= most;
      const refused = choose === 'fields' && !input.checked && !other ? this.refuses([...this.#fields, field]) : '';
      input.disabled = !input.checked && choose === 'fields' && (other || full || refused !== '');
      if (!input.checked && full && !other) reason = `No more than ${most} fields.`;
      else if (refused !== '') reason ||= refused;
    }
    if (reason !== '') setText(this.#note, reason);
  }
}
