// @ts-check
/** Which board the page shows: opening one by the address, following it, and what is said when there is none. */

import { BoardSync } from './board/sync.js';
import { byId, setText } from './dom.js';
import { sentence } from './format.js';
import { Refusal } from './rest.js';
import { toast } from './toast.js';

const RETRY_MS = 3_000;

export class Page {
  #rest;
  #grid;
  #editor;
  #announcer;
  #ready;
  #mayEdit;
  /** @type {BoardSync | null} */
  #sync = null;
  #opening = 0;
  /** Takes away what was last said to be wrong. */
  #problem = () => {};
  #name = byId('board-name');
  #note = byId('board-note');

  /**
   * @param {import('./rest.js').Rest} rest
   * @param {import('./live.js').Live} live
   * @param {import('./board/grid.js').Grid} grid
   * @param {import('./board/editor.js').Editor} editor
   * @param {import('./announcer.js').Announcer} announcer
   * @param {Promise<void>} ready when a board may be drawn; until then it may be read
   * @param {boolean} mayEdit whether the reader may change boards
   */
  constructor(rest, live, grid, editor, announcer, ready, mayEdit) {
    this.#mayEdit = mayEdit;
    this.#rest = rest;
    this.#grid = grid;
    this.#editor = editor;
    this.#announcer = announcer;
    this.#ready = ready;
    live.subscribe('dashboards', { take: ({ event, data }) => event !== null && this.#sync?.hear(data), gap: () => this.#sync?.refresh() });
    addEventListener('popstate', () => this.#follow());
    this.opened = this.#follow();
  }

  /**
   * When the first board is there, or is known not to be.
   * @type {Promise<void>}
   */
  opened;

  /** The board that is shown, null while there is none. */
  get board() {
    return this.#sync?.board ?? null;
  }

  get sync() {
    return this.#sync;
  }

  /** The last problem is over: a step was saved, or the connection is back. */
  settle() {
    this.#problem();
  }

  /**
   * Goes to a board.
   * @param {string} id
   */
  open(id) {
    const url = new URL(location.href);
    url.searchParams.set('board', id);
    if (url.href !== location.href) history.pushState(null, '', url.href);
    void this.#show(id);
  }

  /** Shows the board that the address names, if it is not shown already. */
  async #follow() {
    const id = new URLSearchParams(location.search).get('board');
    if (id === null ? this.#sync === null || this.board?.id !== 'default' : id !== this.board?.id) await this.#show(id ?? 'default', id === null);
  }

  /**
   * @param {string} id
   * @param {boolean} [any] whether another one will do
   */
  async #show(id, any = false) {
    const mine = ++this.#opening;
    this.#sync?.close();
    this.#hold(null);
    try {
      const sync = await BoardSync.open(this.#rest, id, {
        show: (board) => mine === this.#opening && this.#draw(board),
        saved: () => this.settle(),
        tell: (text, bad) => {
          const close = toast(text, bad);
          if (bad) this.#problem = close;
          if (bad) this.#announcer.warn(text);
          else this.#announcer.say(text);
        },
        gone: () => this.#gone(),
      });
      await this.#ready;
      if (mine !== this.#opening) return;
      this.#hold(sync);
      this.#grid.clear();
      this.#draw(sync.board);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (mine !== this.#opening) return;
      if (error.status === 404 && any) return this.#first(mine);
      const missing = error.status === 404;
      this.#empty(missing ? 'There is no such board. Choose another one from the menu above.' : sentence(error.message), missing);
      if (error.status === 0 || error.status >= 500) setTimeout(() => mine === this.#opening && this.#show(id, any), RETRY_MS);
    }
  }

  /**
   * The default board was deleted: any other.
   * @param {number} mine
   */
  async #first(mine) {
    const answer = await this.#rest.ask('api/dashboards').catch(() => null);
    if (mine !== this.#opening) return;
    const [first] = answer?.data?.dashboards ?? [];
    if (first !== undefined) void this.#show(first.id);
    else this.#empty('There are no boards yet. Create one from the menu above.');
  }

  /** @param {import('./board/model.js').Board} board */
  #draw(board) {
    setText(this.#name, board.name);
    document.title = `${board.name} · tricast`;
    this.#note.hidden = board.tiles.length > 0;
    byId('create').hidden = true;
    if (board.tiles.length === 0) setText(this.#note, 'This board is empty. Choose Edit, then Add tile.');
    this.#grid.show(board);
    this.#editor.refresh();
  }

  /** @param {BoardSync | null} sync the board that is shown */
  #hold(sync) {
    this.#sync = sync;
    this.#editor.edits(sync);
    byId('edit').hidden = sync === null || !this.#mayEdit;
  }

  #gone() {
    const name = this.#name.textContent;
    this.#hold(null);
    this.#empty(`The board “${name}” was deleted. Choose another one from the menu above.`);
  }

  /**
   * @param {string} text
   * @param {boolean} [createable] whether a new board would help
   */
  #empty(text, createable = true) {
    this.#grid.clear();
    setText(this.#name, 'Boards');
    setText(this.#note, text);
    this.#note.hidden = false;
    byId('create').hidden = !this.#mayEdit || !createable;
    this.#announcer.say(text);
  }
}
