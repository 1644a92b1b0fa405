// @ts-check
/** Dialog that pins a number or a channel to a dashboard. */

import { newTileId } from '../board/model.js';
import { element, setText } from '../dom.js';
import { kindOf, nameOf } from '../fields.js';
import { humanName, sentence } from '../format.js';
import { ApiError } from '../rest.js';
import { KINDS } from '../tiles/kinds.js';

/** @typedef {import('./catalog.js').Row} Row */
/** @typedef {import('../tiles/contract.js').Tile} Tile */

/**
 * Returns the tiles that can show a row, the most suitable one first.
 * @param {Row} row
 * @returns {Tile['type'][]}
 */
export function typesFor({ channel, field }) {
  if (channel.kind === 'event') return [channel.name === 'alerts' ? 'alerts' : 'table'];
  if (field === null) return ['table'];
  if (Number.isNaN(kindOf(field.name).number(field.value))) return ['state', 'status', 'table'];
  const scale = kindOf(field.name).scale;
  return ['number', 'chart', ...(scale === '%' || scale === 'ratio' ? /** @type {const} */ (['gauge']) : []), 'bar', 'status', 'table'];
}

/**
 * Returns the tile for a row.
 * @param {Row} row
 * @param {Tile['type']} type
 * @param {string} title
 * @returns {Tile}
 */
export function tileFor({ channel, field }, type, title) {
  const tile = /** @type {Tile} */ ({ id: newTileId(), type, title, channel: channel.name });
  if (field !== null && type !== 'table') tile.field = field.name;
  return tile;
}

/**
 * @param {Row} row
 * @param {import('../rest.js').Rest} rest
 * @returns {Promise<{id: string, name: string} | null>} the dashboard; null if cancelled
 */
export async function pinRow(row, rest) {
  const { channel, field } = row;
  const short = humanName(channel.name.replace(/^metrics\./, ''));
  const suggested = field === null ? short : `${short}: ${nameOf(field.name).toLowerCase()}`;
  const board = element('select', 'select');
  const type = element('select', 'select');
  type.append(...typesFor(row).map((name) => option(name, KINDS[name].label)));
  const title = element('input', 'input');
  title.required = true;
  title.maxLength = 100;
  title.value = suggested.slice(0, 100);
  type.addEventListener('change', () => {
    if (title.value === suggested || title.value === short) title.value = type.value === 'table' ? short : suggested;
  });
  const problem = element('p', 'tile-problem');
  problem.setAttribute('role', 'alert');
  const heading = element('h2', 'dialog-title', 'Pin to a dashboard');
  heading.id = 'pin-title';
  const cancel = element('button', 'button', 'Cancel');
  cancel.type = 'button';
  const submit = element('button', 'button button-main', 'Pin');
  submit.type = 'submit';
  const form = element('form', 'dialog-form',
    heading,
    element('p', 'dialog-about', field === null ? channel.name : `${channel.name} · ${field.name}`),
    problem,
    labelled('Dashboard', board),
    element('div', 'dialog-row', labelled('Show as', type), labelled('Title', title)),
    element('div', 'dialog-buttons', cancel, submit),
  );
  const dialog = element('dialog', 'dialog', form);
  dialog.setAttribute('aria-labelledby', heading.id);
  document.body.append(dialog);
  cancel.addEventListener('click', () => dialog.close());

  const fail = (/** @type {unknown} */ error) => {
    if (!(error instanceof ApiError)) throw error;
    setText(problem, sentence(error.message));
  };
  dialog.showModal();
  /** @type {{id: string, name: string}[]} */
  let boards = [];
  rest.request('api/dashboards').then(({ data }) => {
    boards = data.dashboards;
    board.append(...boards.map(({ id, name }) => option(id, name)));
    const last = storedBoard();
    if (boards.some(({ id }) => id === last)) board.value = last;
  }, fail);

  return new Promise((resolve) => {
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const chosen = boards.find(({ id }) => id === board.value);
      if (chosen === undefined || title.value.trim() === '') return;
      const tile = tileFor(row, /** @type {Tile['type']} */ (type.value), title.value.trim());
      try {
        await rest.request(`api/dashboards/${encodeURIComponent(chosen.id)}/tiles`, { method: 'POST', body: tile });
        storeBoard(chosen.id);
        resolve(chosen);
        dialog.close();
      } catch (error) {
        fail(error);
      }
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(null);
    });
  });
}

const KEY = 'tricast.pinned-to';

function storedBoard() {
  try {
    return localStorage.getItem(KEY) ?? 'default';
  } catch {
    return 'default';
  }
}

/** @param {string} id */
function storeBoard(id) {
  try {
    localStorage.setItem(KEY, id);
  } catch {
    // Without storage the next pin suggests the default dashboard.
  }
}

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
 * @param {string} name
 * @param {HTMLElement} control
 */
const labelled = (name, control) => element('label', 'dialog-field', element('span', '', name), control);
