// @ts-check
/** Order of dashboards in the menu: the reader's own, stored in the browser. New ones come last, sorted by name. */

import { element } from '../dom.js';

const KEY = 'tricast.boards';

/** @typedef {{id: string, name: string}} Entry */

/**
 * @template {Entry} T
 * @param {readonly T[]} boards
 * @param {readonly string[]} [order] ids
 * @returns {T[]}
 */
export function sorted(boards, order = stored()) {
  const place = (/** @type {Entry} */ { id }) => (order.includes(id) ? order.indexOf(id) : order.length);
  return [...boards].sort((a, b) => place(a) - place(b) || a.name.localeCompare(b.name));
}

/**
 * Lets the reader move the dashboards up and down.
 * @param {readonly Entry[]} boards
 */
export function askForOrder(boards) {
  let entries = sorted(boards);
  const list = element('ol', 'order-list');
  const heading = element('h2', 'dialog-title', 'Order of dashboards');
  heading.id = 'order-title';
  const close = element('button', 'button button-main', 'Done');
  close.type = 'button';
  const dialog = element('dialog', 'dialog dialog-small', element('div', 'dialog-form', heading, element('p', 'field-note', 'The order is yours: it is stored in this browser.'), list, element('div', 'dialog-buttons', close)));
  dialog.setAttribute('aria-labelledby', heading.id);
  const show = (/** @type {string} */ focus) => {
    list.replaceChildren(...entries.map(({ id, name }, index) => {
      const move = (/** @type {number} */ by, /** @type {string} */ label, /** @type {string} */ sign) => {
        const button = element('button', 'tool', sign);
        button.type = 'button';
        button.dataset.move = `${id} ${by}`;
        button.setAttribute('aria-label', `Move ${name} ${label}`);
        button.disabled = index + by < 0 || index + by >= entries.length;
        button.addEventListener('click', () => {
          entries = entries.filter((_, i) => i !== index);
          entries.splice(index + by, 0, { id, name });
          store(entries.map((entry) => entry.id));
          show(`${id} ${by}`);
        });
        return button;
      };
      return element('li', 'order-item', element('span', 'order-name', name), move(-1, 'up', '↑'), move(1, 'down', '↓'));
    }));
    const again = [...list.querySelectorAll('button')].find((button) => button.dataset.move === focus);
    (again?.disabled ? close : (again ?? close)).focus();
  };
  document.body.append(dialog);
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => dialog.remove());
  dialog.showModal();
  show('');
}

/** @returns {string[]} */
function stored() {
  try {
    const ids = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : [];
  } catch {
    return [];
  }
}

/** @param {string[]} ids */
function store(ids) {
  try {
    localStorage.setItem(KEY, JSON.stringify(ids));
  } catch {
    // Without storage the order is for this page only.
  }
}
