// @ts-check
/** Which board the page shows: opening one by the address, following it, and what is said when there is none. */

import { BoardSync } from './board/sync.js';
import { byId, setText } from './dom.js';
import { Refusal } from './rest.js';
import { toast } from './toast.js';

const RETRY_MS = 3_000;

export class Page {
  #rest;
  #grid;
  #editor;
  #announcer;
  #ready;
  /** @type {BoardSync | null} */
  #sync = null;
  #opening = 0;
  #name = byId('board-name');
  #note = byId('board-note');

  /**
   * @param {import('./rest.js').Rest} rest
   * @param {import('./live.js').Live} live
   * @param {import('./board/grid.js').Grid} grid
   * @param {import('./board/editor.js').Editor} editor
   * @param {import('./announcer.js').Announcer} announcer
   * @param {Promise<void>} ready when a board may be drawn; until then it may be read
   */
  constructor(rest, live, grid, editor, announcer, ready) {
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
    this.#sync = null;
    this.#editor.edits(null);
    try {
      const sync = await BoardSync.open(this.#rest, id, {
        show: (board) => mine === this.#opening && this.#draw(board),
        tell: (text, bad) => {
          toast(text, bad);
          if (bad) this.#announcer.warn(text);
          else this.#announcer.say(text);
        },
        gone: () => this.#gone(),
      });
      await this.#ready;
      if (mine !== this.#opening) return;
      this.#sync = sync;
      this.#editor.edits(sync);
      this.#grid.clear();
      this.#draw(sync.board);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (mine !== this.#opening) return;
      if (error.status === 404 && any) return this.#first(mine);
      this.#empty(error.status === 404 ? 'There is no such board. Choose another from the menu above.' : error.message);
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
    else this.#empty('There is no board yet. Make one from the menu above.');
  }

  /** @param {import('./board/model.js').Board} board */
  #draw(board) {
    setText(this.#name, board.name);
    document.title = `${board.name} · tricast`;
    this.#note.hidden = board.tiles.length > 0;
    if (board.tiles.length === 0) setText(this.#note, 'This board is empty. Choose Edit, then Add tile.');
    this.#grid.show(board);
    this.#editor.refresh();
  }

  #gone() {
    const name = this.#name.textContent;
    this.#sync = null;
    this.#editor.edits(null);
    this.#empty(`The board “${name}” was deleted. Choose another from the menu above.`);
  }

  /** @param {string} text */
  #empty(text) {
    this.#grid.clear();
    setText(this.#name, 'Boards');
    setText(this.#note, text);
    this.#note.hidden = false;
    this.#announcer.say(text);
  }
}
