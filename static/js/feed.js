// @ts-check
/** The list of recent events, newest first. Events wait until the next frame; only those that fit are ever built. */

import { describe } from './describe.js';
import { element, setText } from './dom.js';
import { clock } from './format.js';

const MOST_LINES = 60;

/** @typedef {{channel: string, title: string, detail: string, level: import('./describe.js').Level, time: number}} Line */

export class Feed {
  #list;
  #empty;
  #counter;
  /** @type {Line[]} */
  #waiting = [];
  #seen = 0;
  #lastWasGap = false;

  /** @param {{list: HTMLElement, empty: HTMLElement, counter: HTMLElement}} parts */
  constructor({ list, empty, counter }) {
    this.#list = list;
    this.#empty = empty;
    this.#counter = counter;
  }

  /**
   * @param {string} channel
   * @param {string} event
   * @param {import('./transport/contract.js').Json} data
   * @param {string | null} timestamp
   * @param {string} currency
   */
  add(channel, event, data, timestamp, currency) {
    const time = Date.parse(timestamp ?? '');
    this.#seen += 1;
    this.#lastWasGap = false;
    this.#wait({ channel, ...describe(channel, event, data, currency), time: Number.isNaN(time) ? Date.now() : time });
  }

  /** Says where events are missing. */
  addGap() {
    if (this.#lastWasGap) return;
    this.#lastWasGap = true;
    this.#wait({
      channel: 'gap',
      title: 'Events were missed',
      detail: 'The connection was away for longer than the server keeps them.',
      level: 'warning',
      time: Date.now(),
    });
  }

  /** @param {Line} line */
  #wait(line) {
    this.#waiting.push(line);
    if (this.#waiting.length > MOST_LINES) this.#waiting.shift();
  }

  draw() {
    if (this.#waiting.length === 0) return;
    this.#list.prepend(...this.#waiting.reverse().map(item));
    this.#waiting = [];
    while (this.#list.children.length > MOST_LINES) this.#list.lastElementChild?.remove();
    this.#list.hidden = false;
    this.#empty.hidden = true;
    setText(this.#counter, this.#seen === 0 ? '' : `${this.#seen.toLocaleString('en')} since opening`);
  }
}

/** @param {Line} line */
function item({ channel, title, detail, level, time }) {
  const when = element('time', 'event-time', clock(time));
  when.dateTime = new Date(time).toISOString();
  const head = element('p', 'event-head', element('span', 'event-title', title), element('span', 'event-channel', channel), when);
  const node = element('li', `event event-${level}`, head);
  if (detail !== '') node.append(element('p', 'event-detail', detail));
  return node;
}
