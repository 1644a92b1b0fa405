// @ts-check
/**
 * The boards there are: a menu of links (`?board=ID`, so that one can be opened in a new tab or bookmarked), and making,
 * renaming and deleting one.
 */

import { element, setText } from '../dom.js';
import { Refusal } from '../rest.js';
import { askForName, confirmed } from './prompt.js';

/**
 * @typedef {object} Wishes
 * @property {(id: string) => void} open goes to a board
 * @property {(name: string) => void} rename the one that is open
 * @property {() => {id: string, name: string} | null} current
 * @property {(text: string, bad: boolean) => void} tell
 */

export class Boards {
  #rest;
  #wishes;
  #menu;
  #list = element('ul', 'menu-list');
  #tools = element('div', 'menu-tools');
  #problem = element('p', 'menu-note', 'The server isn’t responding.');

  /**
   * @param {HTMLDetailsElement} menu
   * @param {import('../rest.js').Rest} rest
   * @param {Wishes} wishes
   */
  constructor(menu, rest, wishes) {
    this.#menu = menu;
    this.#rest = rest;
    this.#wishes = wishes;
    const wall = element('a', 'menu-item', 'Wall display');
    wall.href = '?';
    const make = button('New board …', () => this.make());
    const rename = button('Rename …', () => this.#rename());
    const remove = button('Delete …', () => this.#delete());
    this.#tools.append(make, rename, remove);
    menu.querySelector('.menu-body')?.append(this.#problem, this.#list, this.#tools, wall);
    this.#problem.hidden = true;
    menu.addEventListener('toggle', () => {
      if (!menu.open) return;
      const current = wishes.current();
      const query = new URLSearchParams(location.search);
      query.set('view', 'wall');
      if (current !== null) query.set('board', current.id);
      wall.href = `?${query}`;
      void this.#fill();
    });
  }

  /** @param {boolean} may whether the reader may change boards */
  allow(may) {
    this.#tools.hidden = !may;
  }

  /** The list is read each time it is looked at. */
  async #fill() {
    const answer = await this.#rest.ask('api/dashboards').catch(() => null);
    const boards = /** @type {{id: string, name: string}[]} */ (answer?.data?.dashboards ?? []);
    const current = this.#wishes.current();
    this.#list.replaceChildren(...boards.map(({ id, name }) => {
      const link = element('a', 'menu-item', name);
      link.href = `?board=${encodeURIComponent(id)}`;
      if (id === current?.id) link.setAttribute('aria-current', 'page');
      link.addEventListener('click', (event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        this.#menu.open = false;
        this.#wishes.open(id);
      });
      return element('li', '', link);
    }));
    const [, rename, remove] = this.#tools.children;
    for (const node of [rename, remove]) if (node instanceof HTMLElement) node.hidden = current === null;
    this.#problem.hidden = answer !== null;
  }

  /** Asks for a name and makes a board. */
  async make() {
    this.#menu.open = false;
    const name = await askForName('New board', 'Name', '', 'Create');
    if (name === null) return;
    try {
      const { data } = await this.#rest.ask('api/dashboards', { method: 'POST', body: { name, tiles: [] } });
      this.#wishes.open(data.id);
    } catch (error) {
      this.#complain(error);
    }
  }

  async #rename() {
    this.#menu.open = false;
    const current = this.#wishes.current();
    if (current === null) return;
    const name = await askForName('Rename board', 'Name', current.name, 'Rename');
    if (name !== null && name !== current.name) this.#wishes.rename(name);
  }

  async #delete() {
    this.#menu.open = false;
    const current = this.#wishes.current();
    if (current === null) return;
    const sure = await confirmed(`Delete “${current.name}”?`, 'This deletes the board and its tiles for everyone. It can’t be undone.', 'Delete');
    if (!sure) return;
    try {
      await this.#rest.ask(`api/dashboards/${current.id}`, { method: 'DELETE' });
    } catch (error) {
      this.#complain(error);
    }
  }

  /** @param {unknown} error */
  #complain(error) {
    if (!(error instanceof Refusal)) throw error;
    this.#wishes.tell(error.message, true);
  }
}

/**
 * @param {string} label
 * @param {() => void} act
 */
function button(label, act) {
  const node = element('button', 'menu-item');
  node.type = 'button';
  setText(node, label);
  node.addEventListener('click', act);
  return node;
}
