// @ts-check
/**
 * List of a tile that is loaded once and then kept current by events: loads it again after a gap, retries after a failure, and
 * applies updates that arrive while it loads again after it.
 */

import { setText } from '../dom.js';
import { ApiError } from '../rest.js';

/** Delay before the list is requested again after a failure. */
const RETRY_MS = 3_000;

/**
 * @typedef {object} List
 * @property {string} channel event channel that carries the updates
 * @property {() => Promise<() => void>} load requests the list; resolves with a function that shows it
 * @property {(update: import('../subscriptions.js').Update) => void} update applies an event; may be called twice for one
 * @property {() => void} changed called after each change
 * @property {HTMLElement} note message in place of an empty list
 * @property {string} empty text of the note for an empty list
 * @property {string} denied text of the note without the permission
 */

/**
 * @param {import('./contract.js').Context} context
 * @param {List} list
 * @returns {() => void} ends it
 */
export function followList(context, { channel, load, update, changed, note, empty, denied }) {
  /** @type {(() => void)[]} updates received while the list loads */
  let early = [];
  let loading = false;
  let retry = 0;
  let closed = false;

  const redraw = () => {
    changed();
    context.redraw();
  };
  const reload = async () => {
    clearTimeout(retry);
    loading = true;
    early = [];
    try {
      const show = await load();
      if (closed) return;
      show();
      for (const apply of early) apply();
      setText(note, empty);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setText(note, error.status === 403 ? denied : error.message);
      if ((error.status === 0 || error.status >= 500) && !closed) retry = setTimeout(reload, RETRY_MS);
    }
    loading = false;
    redraw();
  };
  const end = context.subscriptions.subscribe(channel, {
    onUpdate: (event) => {
      update(event);
      if (loading) early.push(() => update(event));
      redraw();
    },
    onGap: () => void reload(),
  });
  void reload();
  return () => {
    closed = true;
    clearTimeout(retry);
    end();
  };
}
