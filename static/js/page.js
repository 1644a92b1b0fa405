// @ts-check
/** Opens the dashboard that the URL names, follows its changes, and shows a note if there is none. */

import { BoardSync } from './board/sync.js';
import { byId, setText } from './dom.js';
import { sentence } from './format.js';
import { ApiError } from './rest.js';
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
  /** Removes the last error message. */
  #problem = () => {};
  #name = byId('board-name');
  #note = byId('board-note');

  /**
   * @param {import('./rest.js').Rest} rest
   * @param {import('./subscriptions.js').Subscriptions} subscriptions
   * @param {import('./board/grid.js').Grid} grid
   * @param {import('./board/editor.js').Editor} editor
   * @param {import('./announcer.js').Announcer} announcer
   * @param {Promise<void>} ready when a dashboard may be drawn; it may be loaded before
   * @param {boolean} mayEdit whether the reader may change dashboards
   */
  constructor(rest, subscriptions, grid, editor, announcer, ready, mayEdit) {
    this.#mayEdit = mayEdit;
    this.#rest = rest;
    this.#grid = grid;
    this.#editor = editor;
    this.#announcer = announcer;
    this.#ready = ready;
    subscriptions.subscribe('dashboards', { onUpdate: ({ event, data }) => event !== null && this.#sync?.handleEvent(data), onGap: () => this.#sync?.refresh() });
    addEventListener('popstate', () => this.#follow());
    this.opened = this.#follow();
  }

  /**
   * Resolves when the first dashboard is loaded, or is known not to exist.
   * @type {Promise<void>}
   */
  opened;

  /** The open dashboard; null if there is none. */
  get board() {
    return this.#sync?.board ?? null;
  }

  get sync() {
    return this.#sync;
  }

  /** Removes the last error: a change was saved, or the connection is back. */
  clearProblem() {
    this.#problem();
  }

  /**
   * Opens a dashboard.
   * @param {string} id
   */
  open(id) {
    const url = new URL(location.href);
    url.searchParams.set('board', id);
    if (url.href !== location.href) history.pushState(null, '', url.href);
    void this.#show(id);
  }

  /** Opens the dashboard that the URL names, unless it is open already. */
  async #follow() {
    const id = new URLSearchParams(location.search).get('board');
    if (id === null ? this.#sync === null || this.board?.id !== 'default' : id !== this.board?.id) await this.#show(id ?? 'default', id === null);
  }

  /**
   * @param {string} id
   * @param {boolean} [any] whether another one may be opened instead
   */
  async #show(id, any = false) {
    const mine = ++this.#opening;
    this.#sync?.close();
    this.#setBoard(null);
    try {
      const sync = await BoardSync.open(this.#rest, id, {
        show: (board) => mine === this.#opening && this.#draw(board),
        saved: () => this.clearProblem(),
        notify: (text, bad) => {
          const close = toast(text, bad);
          if (bad) this.#problem = close;
          if (bad) this.#announcer.warn(text);
          else this.#announcer.announce(text);
        },
        deleted: () => this.#deleted(),
      });
      await this.#ready;
      if (mine !== this.#opening) return;
      this.#setBoard(sync);
      this.#grid.clear();
      this.#draw(sync.board);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (mine !== this.#opening) return;
      if (error.status === 404 && any) return this.#showFirst(mine);
      const missing = error.status === 404;
      this.#showNote(missing ? 'There is no such dashboard. Choose another one from the menu above.' : sentence(error.message), missing);
      if (error.status === 0 || error.status >= 500) setTimeout(() => mine === this.#opening && this.#show(id, any), RETRY_MS);
    }
  }

  /**
   * Opens the first dashboard, because the default one was deleted.
   * @param {number} mine
   */
  async #showFirst(mine) {
    const answer = await this.#rest.request('api/dashboards').catch(() => null);
    if (mine !== this.#opening) return;
    const [first] = answer?.data?.dashboards ?? [];
    if (first !== undefined) void this.#show(first.id);
    else this.#showNote('There are no dashboards yet. Create one from the menu above.');
  }

  /** @param {import('./board/model.js').Board} board */
  #draw(board) {
    byId('skeleton').hidden = true;
    setText(this.#name, board.name);
    document.title = `${board.name} · tricast`;
    this.#note.hidden = board.tiles.length > 0;
    byId('create').hidden = true;
    if (board.tiles.length === 0) setText(this.#note, 'This dashboard is empty. Choose Edit, then Add tile.');
    this.#grid.show(board);
    this.#editor.boardChanged();
  }

  /** @param {BoardSync | null} sync of the open dashboard */
  #setBoard(sync) {
    this.#sync = sync;
    this.#editor.setBoard(sync);
    byId('edit').hidden = sync === null || !this.#mayEdit;
  }

  #deleted() {
    const name = this.#name.textContent;
    this.#setBoard(null);
    this.#showNote(`The dashboard “${name}” was deleted. Choose another one from the menu above.`);
  }

  /**
   * @param {string} text
   * @param {boolean} [createable] whether to offer a new dashboard
   */
  #showNote(text, createable = true) {
    this.#grid.clear();
    byId('skeleton').hidden = true;
    setText(this.#name, 'Dashboards');
    setText(this.#note, text);
    this.#note.hidden = false;
    byId('create').hidden = !this.#mayEdit || !createable;
    this.#announcer.announce(text);
  }
}
