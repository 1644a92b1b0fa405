// @ts-check
/**
 * Menu of dashboards: links (`?board=ID`, so that one can be opened in a new tab or bookmarked), and commands to create,
 * rename and delete one.
 */

import { element, setText } from '../dom.js';
import { ApiError } from '../rest.js';
import { askForName, confirmed } from './prompt.js';

/**
 * @typedef {object} Actions
 * @property {(id: string) => void} open opens a dashboard
 * @property {(name: string) => void} rename the open one
 * @property {() => {id: string, name: string} | null} current
 * @property {(text: string, bad: boolean) => void} notify
 */

export class Boards {
  #rest;
  #actions;
  #menu;
  #list = element('ul', 'menu-list');
  #tools = element('div', 'menu-tools');
  #problem = element('p', 'menu-note', 'The server isn’t responding.');

  /**
   * @param {HTMLDetailsElement} menu
   * @param {import('../rest.js').Rest} rest
   * @param {Actions} actions
   */
  constructor(menu, rest, actions) {
    this.#menu = menu;
    this.#rest = rest;
    this.#actions = actions;
    const wall = element('a', 'menu-item', 'Wall display');
    wall.href = '?';
    const make = button('New dashboard …', () => this.create());
    const rename = button('Rename …', () => this.#rename());
    const remove = button('Delete …', () => this.#delete());
    this.#tools.append(make, rename, remove);
    menu.querySelector('.menu-body')?.append(this.#problem, this.#list, this.#tools, wall);
    this.#problem.hidden = true;
    menu.addEventListener('toggle', () => {
      if (!menu.open) return;
      const current = actions.current();
      const query = new URLSearchParams(location.search);
      query.set('view', 'wall');
      if (current !== null) query.set('board', current.id);
      wall.href = `?${query}`;
      void this.#fill();
    });
  }

  /** @param {boolean} may whether the reader may change dashboards */
  allow(may) {
    this.#tools.hidden = !may;
  }

  /** Loads the list each time the menu opens. */
  async #fill() {
    const answer = await this.#rest.request('api/dashboards').catch(() => null);
    const boards = /** @type {{id: string, name: string}[]} */ (answer?.data?.dashboards ?? []);
    const current = this.#actions.current();
    this.#list.replaceChildren(...boards.map(({ id, name }) => {
      const link = element('a', 'menu-item', name);
      link.href = `?board=${encodeURIComponent(id)}`;
      if (id === current?.id) link.setAttribute('aria-current', 'page');
      link.addEventListener('click', (event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        this.#menu.open = false;
        this.#actions.open(id);
      });
      return element('li', '', link);
    }));
    const [, rename, remove] = this.#tools.children;
    for (const node of [rename, remove]) if (node instanceof HTMLElement) node.hidden = current === null;
    this.#problem.hidden = answer !== null;
  }

  /** Asks for a name and creates a dashboard. */
  async create() {
    this.#menu.open = false;
    const name = await askForName('New dashboard', 'Name', '', 'Create');
    if (name === null) return;
    try {
      const { data } = await this.#rest.request('api/dashboards', { method: 'POST', body: { name, tiles: [] } });
      this.#actions.open(data.id);
    } catch (error) {
      this.#report(error);
    }
  }

  async #rename() {
    this.#menu.open = false;
    const current = this.#actions.current();
    if (current === null) return;
    const name = await askForName('Rename dashboard', 'Name', current.name, 'Rename');
    if (name !== null && name !== current.name) this.#actions.rename(name);
  }

  async #delete() {
    this.#menu.open = false;
    const current = this.#actions.current();
    if (current === null) return;
    const sure = await confirmed(`Delete “${current.name}”?`, 'This deletes the dashboard and its tiles for everyone. It can’t be undone.', 'Delete');
    if (!sure) return;
    try {
      await this.#rest.request(`api/dashboards/${current.id}`, { method: 'DELETE' });
    } catch (error) {
      this.#report(error);
    }
  }

  /** @param {unknown} error */
  #report(error) {
    if (!(error instanceof ApiError)) throw error;
    this.#actions.notify(error.message, true);
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
