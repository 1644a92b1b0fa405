// @ts-check
/**
 * Synchronizes one dashboard with the server. A step is shown at once and sent with the tag of the version it was made on
 * (`If-Match`). If the dashboard has changed meanwhile (412) it is loaded again and the step applied to it, so two editors
 * lose nothing; a step that is no longer possible, or was refused, is undone with a message. Changes by others arrive
 * as `dashboard_updated` on the channel `dashboards`.
 */

import { ApiError } from '../rest.js';
import { apply, inverse, overwrites, requestFor } from './model.js';

const MOST_TRIES = 6;
const MOST_UNDO = 50;

/** @typedef {import('./model.js').Board} Board */
/** @typedef {import('./model.js').Step} Step */

/**
 * @typedef {object} Watcher
 * @property {(board: Board) => void} show the current dashboard, after every change
 * @property {(text: string, bad: boolean) => void} notify shows a message
 * @property {() => void} saved a step was saved, so an earlier error is resolved
 * @property {() => void} deleted the dashboard was deleted
 */

export class BoardSync {
  #rest;
  #watcher;
  /** @type {Board} last known version of the server */
  #board;
  /** @type {string | null} */
  #etag;
  /** @type {Step[]} shown, and not yet confirmed */
  #steps = [];
  /** @type {Step[][]} steps that undo the reader's own changes, newest last */
  #undo = [];
  /** @type {Step[][]} steps that make the changes again that were undone last */
  #redo = [];
  #sending = false;
  /** Newest version named by an event since the last gap. */
  #newestVersion = 0;
  /** Events were lost, so that the version says nothing about how new the dashboard is. */
  #stale = false;
  #closed = false;

  /**
   * @param {import('../rest.js').Rest} rest
   * @param {Board} board
   * @param {string | null} etag
   * @param {Watcher} watcher
   */
  constructor(rest, board, etag, watcher) {
    this.#rest = rest;
    this.#board = board;
    this.#etag = etag;
    this.#watcher = watcher;
  }

  /**
   * Loads a dashboard.
   * @param {import('../rest.js').Rest} rest
   * @param {string} id
   * @param {Watcher} watcher
   * @throws {ApiError}
   */
  static async open(rest, id, watcher) {
    const { data, etag } = await rest.request(`api/dashboards/${encodeURIComponent(id)}`);
    return new BoardSync(rest, data, etag, watcher);
  }

  /** The dashboard to show: the server's version with the pending steps. */
  get board() {
    return this.#steps.reduce((board, step) => apply(board, step) ?? board, this.#board);
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** @param {...Step} steps of one change, which is undone as a whole */
  change(...steps) {
    this.#redo = [];
    this.#undo.push(this.#inverseOf(steps));
    if (this.#undo.length > MOST_UNDO) this.#undo.shift();
    this.#enqueue(steps);
  }

  /** Undoes the reader's own last change. */
  undo() {
    this.#take(this.#undo, this.#redo);
  }

  /** Makes the change again that was undone last. */
  redo() {
    this.#take(this.#redo, this.#undo);
  }

  /**
   * @param {Step[][]} from
   * @param {Step[][]} to receives the steps that undo those
   */
  #take(from, to) {
    const steps = from.pop();
    if (steps === undefined) return;
    to.push(this.#inverseOf(steps));
    this.#enqueue(steps);
  }

  /**
   * Returns the steps that undo `steps`, in their order.
   * @param {readonly Step[]} steps
   */
  #inverseOf(steps) {
    let { board } = this;
    /** @type {Step[]} */
    let inverses = [];
    for (const step of steps) {
      inverses = [...inverse(board, step), ...inverses];
      board = apply(board, step) ?? board;
    }
    return inverses;
  }

  /**
   * Handles an event of the channel `dashboards`.
   * @param {import('../subscriptions.js').Json} data
   */
  handleEvent({ dashboardId, action, version }) {
    if (dashboardId !== this.#board.id || this.#closed) return;
    if (action === 'deleted') return this.#deleted();
    this.#newestVersion = Math.max(this.#newestVersion, Number(version) || 0);
    this.#catchUp();
  }

  /** Loads the dashboard again, because events were lost. */
  refresh() {
    this.#stale = true;
    this.#newestVersion = 0; // a server that has lost its data counts from 1 again
    this.#catchUp();
  }

  close() {
    this.#closed = true;
  }

  /** @param {Step[]} steps */
  #enqueue(steps) {
    this.#steps.push(...steps);
    this.#watcher.show(this.board);
    if (!this.#sending) void this.#send();
  }

  async #send() {
    this.#sending = true;
    while (this.#steps.length > 0 && !this.#closed) {
      const [step] = this.#steps;
      try {
        await this.#execute(step);
        this.#steps.shift();
        this.#watcher.saved();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        // The following steps may depend on it.
        this.#steps = [];
        this.#undo = [];
        this.#redo = [];
        this.#watcher.show(this.board);
        this.#watcher.notify(`Not saved: ${error.message}`, true);
      }
    }
    this.#sending = false;
    this.#catchUp();
  }

  /**
   * @param {Step} step
   * @throws {ApiError}
   */
  async #execute(step) {
    const seen = this.#board;
    /** @type {Board | null} version that a late step found */
    let theirs = null;
    for (let tries = 0; ; tries += 1) {
      const next = apply(this.#board, step);
      if (next === null) throw new ApiError(409, '', 'someone else removed this tile.');
      const { path, ...ask } = requestFor(this.#board, step);
      try {
        const { etag } = await this.#rest.request(path, { ...ask, ifMatch: this.#etag });
        const version = this.#board.version + (etag === this.#etag ? 0 : 1);
        this.#board = { ...next, version };
        this.#etag = etag;
        if (theirs !== null && overwrites(seen, theirs, step)) {
          this.#watcher.notify('Someone else edited this at the same time. Your change was kept.', false);
        }
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 412 || tries >= MOST_TRIES) throw error;
        await this.#read();
        theirs = this.#board;
      }
    }
  }

  async #read() {
    const { data, etag } = await this.#rest.request(`api/dashboards/${this.#board.id}`);
    this.#board = data;
    this.#etag = etag;
    this.#watcher.show(this.board);
  }

  /** Loads the dashboard if another user has changed it, unless a step is pending, whose response reveals that. */
  async #catchUp() {
    if (this.#sending || this.#closed || !(this.#stale || this.#newestVersion > this.#board.version)) return;
    this.#sending = true;
    this.#stale = false; // a gap or an event that arrives while this reads needs another read
    try {
      await this.#read();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#newestVersion = this.#board.version; // the next event or reconnect tries again
      if (error.status === 404) this.#deleted();
    }
    this.#sending = false;
    if (this.#steps.length > 0) void this.#send();
    else void this.#catchUp();
  }

  #deleted() {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.deleted();
  }
}
