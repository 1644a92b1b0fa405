// @ts-check
/**
 * The reader's place in the server's log, as the text `EPOCH:OFFSET` (sometimes with more behind a dot), and the guard
 * that shows no event twice.
 *
 * The cursor is whatever the server handed out last. An event is old when its channel was already given one at the same or
 * a later offset of the same epoch, which happens when a new link starts before the old one ended.
 */
export class Position {
  /** @type {string | null} */
  cursor = null;

  /** @type {Map<string, {epoch: string, offset: number}>} */
  #newest = new Map();

  /** @param {string | null} cursor */
  moveTo(cursor) {
    if (cursor !== null) this.cursor = cursor;
  }

  /**
   * Whether an event at `cursor` is new to this page. Remembers it.
   * @param {string} channel
   * @param {string | null} cursor
   */
  admits(channel, cursor) {
    const colon = cursor === null ? -1 : cursor.lastIndexOf(':');
    if (cursor === null || colon < 0) return true;
    const epoch = cursor.slice(0, colon);
    const offset = Number.parseInt(cursor.slice(colon + 1), 10);
    const newest = this.#newest.get(channel);
    if (newest !== undefined && newest.epoch === epoch && offset <= newest.offset) return false;
    this.#newest.set(channel, { epoch, offset });
    return true;
  }
}
