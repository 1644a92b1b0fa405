// @ts-check
/** Channels with stored events, each of which differs from all others: the server may send the last ones again in its next log. */
const STORED = /^(orders|alerts)$/;
/** Most events of these channels that are kept for the comparison. */
const KEPT = 256;

/**
 * Position in the server's log, `EPOCH:OFFSET` or `EPOCH:OFFSET.STATE`, and the filter that delivers each event once.
 *
 * The cursor is the last one received. An event is a duplicate if its channel had one at the same or a later offset of the
 * same epoch: links overlap when the transport changes, and replays begin at the cursor of the slowest tab. In the log after a
 * crash of the server, a stored event is a duplicate if it equals one of another epoch.
 */
export class Position {
  /** @type {string | null} */
  cursor = null;
  /** @type {Map<string, [epoch: string, offset: number]>} */
  #newest = new Map();
  /** Epochs of the newest stored events. @type {Map<string, string>} */
  #stored = new Map();

  /**
   * Returns whether an event is new, and records it.
   * @param {string} channel
   * @param {string | null | undefined} cursor null for an event that is in no log
   * @param {any} [event] name and data
   */
  admits(channel, cursor, event) {
    if (!cursor) return true;
    const [epoch, offset] = parse(cursor);
    const newest = this.#newest.get(channel);
    if (newest && newest[0] === epoch && offset <= newest[1]) return false;
    this.#newest.set(channel, [epoch, offset]);
    if (!STORED.test(channel)) return true;
    const text = JSON.stringify(event);
    if ((this.#stored.get(text) ?? epoch) !== epoch) return false;
    this.#stored.set(text, epoch);
    const [oldest] = this.#stored.keys();
    if (this.#stored.size > KEPT) this.#stored.delete(oldest);
    return true;
  }
}

/**
 * @param {string} cursor
 * @returns {[epoch: string, offset: number]}
 */
function parse(cursor) {
  const [epoch, offset] = cursor.split(':');
  return [epoch, parseInt(offset)];
}

/**
 * Returns whether events after `one` and up to `other` may exist: of another log, or of an earlier position.
 * @param {string | null | undefined} one
 * @param {string | null | undefined} other
 */
export function isBefore(one, other) {
  if (!one || !other) return false;
  const [a, b] = [parse(one), parse(other)];
  return a[0] !== b[0] || a[1] < b[1];
}

/**
 * Returns the same position with no states delivered.
 * @param {string} cursor
 */
export const withoutStates = (cursor) => `${cursor.split('.')[0]}.0`;
