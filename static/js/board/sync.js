// @ts-check
/**
 * One board, here and on the server. A step shows at once and is sent with the tag of the board it was made on
 * (`If-Match`). Where the board has moved meanwhile (412) it is read again and the step is done on top of it, so two editors
 * lose nothing to each other; a step that makes no sense any more, or was refused, is taken back and the reader told why.
 * What others change comes as `dashboard_updated` on the channel `dashboards`.
 */

import { Refusal } from '../rest.js';
import { apply, inverse, overwrites, question } from './model.js';

const MOST_TRIES = 6;
const MOST_UNDO = 50;

/** @typedef {import('./model.js').Board} Board */
/** @typedef {import('./model.js').Step} Step */

/**
 * @typedef {object} Watcher
 * @property {(board: Board) => void} show the board as it is to be seen, after every change
 * @property {(text: string, bad: boolean) => void} tell something the reader should know
 * @property {() => void} saved a step was saved: what was said of an earlier one is no longer so
 * @property {() => void} gone the board was deleted
 */

export class BoardSync {
  #rest;
  #watcher;
  /** @type {Board} as the server has it, as far as is known */
  #board;
  /** @type {string | null} */
  #etag;
  /** @type {Step[]} shown, and not yet answered */
  #steps = [];
  /** @type {Step[][]} what would take back the reader's own changes, newest last */
  #undo = [];
  #sending = false;
  /** The newest version that an event spoke of. */
  #heard = 0;
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
   * Reads a board.
   * @param {import('../rest.js').Rest} rest
   * @param {string} id
   * @param {Watcher} watcher
   * @throws {Refusal}
   */
  static async open(rest, id, watcher) {
    const { data, etag } = await rest.ask(`api/dashboards/${encodeURIComponent(id)}`);
    return new BoardSync(rest, data, etag, watcher);
  }

  /** The board as it is to be seen: the server's, with the steps that are under way. */
  get board() {
    return this.#steps.reduce((board, step) => apply(board, step) ?? board, this.#board);
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  /** @param {Step} step */
  change(step) {
    this.#undo.push(inverse(this.board, step));
    if (this.#undo.length > MOST_UNDO) this.#undo.shift();
    this.#take([step]);
  }

  /** Takes back the reader's own last change. */
  undo() {
    const steps = this.#undo.pop();
    if (steps !== undefined) this.#take(steps);
  }

  /**
   * An event of the channel `dashboards`.
   * @param {import('../live.js').Json} data
   */
  hear({ dashboardId, action, version }) {
    if (dashboardId !== this.#board.id || this.#closed) return;
    if (action === 'deleted') return this.#gone();
    this.#heard = Math.max(this.#heard, Number(version) || 0);
    this.#catchUp();
  }

  /** Events were lost: reads the board again. */
  refresh() {
    this.#heard = Infinity;
    this.#catchUp();
  }

  close() {
    this.#closed = true;
  }

  /** @param {Step[]} steps */
  #take(steps) {
    this.#steps.push(...steps);
    this.#watcher.show(this.board);
    if (!this.#sending) void this.#send();
  }

  async #send() {
    this.#sending = true;
    while (this.#steps.length > 0 && !this.#closed) {
      const [step] = this.#steps;
      try {
        await this.#carryOut(step);
        this.#steps.shift();
        this.#watcher.saved();
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        // The steps behind it may rest on it.
        this.#steps = [];
        this.#undo = [];
        this.#watcher.show(this.board);
        this.#watcher.tell(`Not saved: ${error.message}`, true);
      }
    }
    this.#sending = false;
    this.#catchUp();
  }

  /**
   * @param {Step} step
   * @throws {Refusal}
   */
  async #carryOut(step) {
    const seen = this.#board;
    /** @type {Board | null} what a step that came too late found instead */
    let theirs = null;
    for (let tries = 0; ; tries += 1) {
      const next = apply(this.#board, step);
      if (next === null) throw new Refusal(409, '', 'someone else removed this tile.');
      const { path, ...ask } = question(this.#board, step);
      try {
        const { etag } = await this.#rest.ask(path, { ...ask, ifMatch: this.#etag });
        const version = this.#board.version + (etag === this.#etag ? 0 : 1);
        this.#board = { ...next, version };
        this.#etag = etag;
        if (theirs !== null && overwrites(seen, theirs, step)) {
          this.#watcher.tell('Someone else edited this at the same time. Your change was kept.', false);
        }
        return;
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 412 || tries >= MOST_TRIES) throw error;
        await this.#read();
        theirs = this.#board;
      }
    }
  }

  async #read() {
    const { data, etag } = await this.#rest.ask(`api/dashboards/${this.#board.id}`);
    this.#board = data;
    this.#etag = etag;
    this.#watcher.show(this.board);
  }

  /** Reads the board when somebody else has changed it, unless a step is under way, whose answer tells as much. */
  async #catchUp() {
    if (this.#sending || this.#closed || this.#heard <= this.#board.version) return;
    this.#sending = true;
    const forced = this.#heard === Infinity;
    try {
      await this.#read();
      if (forced) this.#heard = this.#board.version;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#heard = this.#board.version; // the next event, or the next reconnect, asks again
      if (error.status === 404) this.#gone();
    }
    this.#sending = false;
    if (this.#steps.length > 0) void this.#send();
    else void this.#catchUp();
  }

  #gone() {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.gone();
  }
}
