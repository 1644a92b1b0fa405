// @ts-check
/**
 * Menu of dashboards: links (`?board=ID`, so that one can be opened in a new tab or bookmarked), and commands to create,
 * rename, duplicate, export, import and delete one.
 */

import { address } from '../address.js';
import { element, setText } from '../dom.js';
import { ApiError } from '../rest.js';
import { download, upload } from './board-file.js';
import { askForOrder, sorted } from './order.js';
import { askForBoard, askForName, confirmed } from './prompt.js';
import { templates } from './templates.js';

/** Longest name, as the server limits it. */
const MOST_CHARACTERS = 100;

/**
 * @typedef {object} Actions
 * @property {(id: string) => void} open opens a dashboard
 * @property {(name: string) => void} rename the open one
 * @property {() => import('./model.js').Board | null} current
 * @property {(text: string, bad: boolean) => void} notify
 */

export class Boards {
  #rest;
  #actions;
  #menu;
  #list = element('ul', 'menu-list');
  #tools = element('div', 'menu-tools');
  /** Commands for the open dashboard. @type {HTMLElement[]} */
  #own = [];
  /** @type {{id: string, name: string}[]} */
  #boards = [];
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
    const load = button('Import …', () => this.#import());
    const save = button('Export as JSON', () => this.#export());
    const order = button('Order …', () => this.#order());
    const changing = [button('Rename …', () => this.#rename()), button('Duplicate', () => this.#duplicate()), button('Delete …', () => this.#delete())];
    changing[2].classList.add('menu-danger');
    this.#own = [...changing, save];
    this.#tools.append(make, load, ...changing);
    menu.querySelector('.menu-body')?.append(this.#problem, this.#list, this.#tools, save, order, wall);
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
    this.#boards = answer?.data?.dashboards ?? [];
    const current = this.#actions.current();
    this.#list.replaceChildren(...sorted(this.#boards).map(({ id, name }) => {
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
    for (const node of this.#own) node.hidden = current === null;
    this.#problem.hidden = answer !== null;
  }

  /** Asks for a name and a template, and creates a dashboard. */
  async create() {
    this.#menu.open = false;
    const choices = templates(address('api/metrics').href);
    const answer = await askForBoard(choices);
    if (answer !== null) await this.#add(answer.name, choices.find(({ id }) => id === answer.template)?.tiles ?? []);
  }

  async #duplicate() {
    this.#menu.open = false;
    const current = this.#actions.current();
    if (current !== null) await this.#add(`Copy of ${current.name}`.slice(0, MOST_CHARACTERS), current.tiles);
  }

  #export() {
    this.#menu.open = false;
    const current = this.#actions.current();
    if (current !== null) download(current);
  }

  async #import() {
    this.#menu.open = false;
    try {
      const board = await upload();
      if (board !== null) await this.#add(board.name, board.tiles);
    } catch (error) {
      this.#actions.notify(error instanceof Error ? error.message : String(error), true);
    }
  }

  #order() {
    this.#menu.open = false;
    askForOrder(this.#boards);
  }

  /**
   * Creates a dashboard and opens it.
   * @param {string} name
   * @param {readonly unknown[]} tiles
   */
  async #add(name, tiles) {
    try {
      const { data } = await this.#rest.request('api/dashboards', { method: 'POST', body: { name, tiles } });
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
