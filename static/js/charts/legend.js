// @ts-check
/**
 * Legend of a chart. One line has its newest value as a large number, and lowest, average and highest value beside it. Several
 * have a table, in which a click on a name shows that line alone.
 */

import { element, setData, setText } from '../dom.js';
import { NOTHING } from '../format.js';

/** Time between two updates of the statistics, ms. */
const STATS_MS = 1_000;

export class Legend {
  #names;
  #alone;
  #when = element('span', 'legend-time');
  /** @type {HTMLElement[]} */
  #values;
  /** Statistics: one text for one line, a cell for each figure of several. @type {HTMLElement[][]} */
  #stats;
  /** @type {HTMLElement[]} */
  #items;
  /** @type {HTMLButtonElement[]} */
  #buttons = [];
  #statsAt = -Infinity;
  /** Length of the text of a single value. */
  #length = 0;
  element;

  /**
   * @param {readonly string[]} names of the lines
   * @param {readonly number[]} colors of the lines, as indices
   * @param {(line: number | null) => void} alone called when one line is to be shown alone, or all
   */
  constructor(names, colors, alone) {
    this.#names = names;
    this.#alone = alone;
    this.#values = names.map(() => element(names.length === 1 ? 'span' : 'td', 'legend-value', NOTHING));
    if (names.length === 1) {
      const stats = element('span', 'legend-stats');
      this.#stats = [[stats]];
      this.#items = [element('p', 'legend legend-one', this.#values[0], this.#when, stats)];
      [this.element] = this.#items;
      return;
    }
    this.#stats = names.map(() => ['min', 'avg', 'max'].map((name) => element('td', `legend-stat legend-${name}`)));
    this.#items = names.map((name, line) => {
      const key = element('span', 'legend-key');
      key.dataset.color = String(colors[line] + 1);
      key.dataset.line = String(line + 1);
      const button = element('button', 'legend-name', key, element('span', 'legend-text', name));
      button.type = 'button';
      button.setAttribute('aria-pressed', 'false');
      button.title = 'Show this line alone';
      button.addEventListener('click', () => this.#toggle(line));
      this.#buttons.push(button);
      const head = element('th', '', button);
      head.scope = 'row';
      return element('tr', 'legend-item', head, this.#values[line], ...this.#stats[line]);
    });
    const heads = [['Last', 'legend-value'], ['Min', 'legend-min'], ['Avg', 'legend-avg'], ['Max', 'legend-max']].map(([name, className]) => headCell(name, className));
    const corner = headCell('', 'legend-corner');
    corner.append(element('span', 'visually-hidden', 'Line'), this.#when);
    const table = element('table', '', element('thead', '', element('tr', '', corner, ...heads)), element('tbody', '', ...this.#items));
    this.element = element('div', 'legend legend-table', table);
  }

  /** @param {number} line */
  #toggle(line) {
    const isAlone = this.#buttons[line].getAttribute('aria-pressed') === 'true';
    this.#buttons.forEach((button, index) => button.setAttribute('aria-pressed', String(!isAlone && index === line)));
    this.#items.forEach((item, index) => (item.dataset.hidden = String(!isAlone && index !== line)));
    this.#alone(isAlone ? null : line);
  }

  /**
   * @param {readonly string[]} texts of the values, the newest or those under the cursor
   * @param {string} when time of the cursor; empty for the newest
   * @param {readonly (import('../limits.js').Level | null)[]} levels
   */
  show(texts, when, levels) {
    texts.forEach((text, line) => {
      setText(this.#values[line], text);
      setData(this.#values[line], 'level', levels[line] ?? '');
      if (text.length !== this.#length && this.#names.length === 1) this.#values[line].style.setProperty('--chars', String((this.#length = text.length)));
    });
    setText(this.#when, when);
  }

  /**
   * @param {number} now
   * @param {boolean} force whether the range has changed
   * @param {(line: number) => {min: string, avg: string, max: string} | null} describe the statistics of a line; null for none
   */
  showStats(now, force, describe) {
    if (!force && now - this.#statsAt < STATS_MS && now >= this.#statsAt) return;
    this.#statsAt = now;
    this.#stats.forEach((cells, line) => {
      const stats = describe(line);
      const texts = stats === null ? cells.map(() => '') : cells.length === 1 ? [`min ${stats.min} · avg ${stats.avg} · max ${stats.max}`] : [stats.min, stats.avg, stats.max];
      cells.forEach((cell, index) => setText(cell, texts[index]));
    });
  }

  /** @param {(line: number) => boolean} isSilent whether the source of a line has stopped */
  markSilent(isSilent) {
    this.#items.forEach((item, line) => (setData(item, 'silent', String(isSilent(line)))));
  }
}

/**
 * @param {string} name
 * @param {string} className
 */
function headCell(name, className) {
  const cell = element('th', className, name);
  cell.scope = 'col';
  return cell;
}
