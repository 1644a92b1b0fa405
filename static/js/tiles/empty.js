// @ts-check
/** Messages of a tile without values: an icon, a sentence, and the next step. */

import { element, setText } from '../dom.js';

const SVG = 'http://www.w3.org/2000/svg';
/** Outlines on a grid of 24 by 24. */
const ICONS = {
  line: 'M4 19h16M4 15l4-5 4 3 4-7 4 4',
  clock: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4l3 2',
  note: 'M5 4h14v16H5zM9 9h6M9 13h6',
};

/** @typedef {keyof typeof ICONS} IconName */

/** @param {IconName} name */
function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [attribute, value] of Object.entries({ viewBox: '0 0 24 24', class: 'empty-icon', 'aria-hidden': 'true', focusable: 'false' })) svg.setAttribute(attribute, value);
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * @param {HTMLElement} body
 * @param {string} text what is missing
 * @param {string} [step] what the reader can do
 * @returns {import('./contract.js').TileView}
 */
export function empty(body, text, step = '') {
  body.append(message('note', text, step));
  return { draw: () => {}, close: () => {} };
}

/**
 * @param {IconName} name
 * @param {string} text
 * @param {string} step
 */
function message(name, text, step) {
  return element('div', 'tile-empty', icon(name), element('p', 'empty-text', text), ...(step === '' ? [] : [element('p', 'empty-step', step)]));
}

export const NO_DATA = 'No data received on this channel yet.';
export const ENDED = 'This channel has ended.';

/** Texts of a chart without a line. @type {Record<'nothing' | 'range', {icon: IconName, text: string, step: (channel: string) => string}>} */
const NOTES = {
  nothing: { icon: 'line', text: NO_DATA, step: (channel) => `Push a value to ${channel} to see it here.` },
  range: { icon: 'clock', text: 'No data in this time range.', step: () => 'Choose a longer or a later one.' },
};

/** Message over a chart, as long as it has no line. */
export class EmptyNote {
  #channel;
  #shown = '';
  element = element('div', 'chart-note');

  /** @param {string} channel */
  constructor(channel) {
    this.#channel = channel;
  }

  /** @param {'loading' | 'values' | 'nothing' | 'range'} state */
  show(state) {
    if (state === this.#shown) return;
    this.#shown = state;
    const note = state === 'nothing' || state === 'range' ? NOTES[state] : null;
    this.element.replaceChildren(...(note === null ? [] : [message(note.icon, note.text, note.step(this.#channel))]));
    if (note === null) setText(this.element, '');
  }
}
