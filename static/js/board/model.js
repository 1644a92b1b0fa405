// @ts-check
/**
 * Edit steps of a dashboard as plain values: each contains only its own change, so that it can be applied again on top of
 * another user's changes. Pure; sync.js sends the requests.
 */

/** @typedef {import('../tiles/contract.js').Tile} Tile */

/** @typedef {{id: string, name: string, tiles: Tile[], version: number}} Board */

/**
 * One step of an edit.
 * @typedef {{kind: 'add', tile: Tile}
 *   | {kind: 'change', id: string, changes: Partial<Record<keyof Tile, any>>}
 *   | {kind: 'remove', id: string}
 *   | {kind: 'move', id: string, before: string | null}
 *   | {kind: 'rename', name: string}} Step
 */

/**
 * Returns the dashboard after a step; null if the step is no longer possible: the tile is gone, or exists already.
 * @param {Board} board
 * @param {Step} step
 * @returns {Board | null}
 */
export function apply(board, step) {
  const { tiles } = board;
  if (step.kind === 'rename') return { ...board, name: step.name };
  const index = tiles.findIndex(({ id }) => id === (step.kind === 'add' ? step.tile.id : step.id));
  if (step.kind === 'add') return index >= 0 ? null : { ...board, tiles: [...tiles, step.tile] };
  if (index < 0) return null;
  const others = tiles.filter((_, i) => i !== index);
  switch (step.kind) {
    case 'remove':
      return { ...board, tiles: others };
    case 'change':
      return { ...board, tiles: tiles.map((tile, i) => (i === index ? merged(tile, step.changes) : tile)) };
    case 'move': {
      const place = step.before === null ? -1 : others.findIndex(({ id }) => id === step.before);
      others.splice(place < 0 ? others.length : place, 0, tiles[index]);
      return { ...board, tiles: others };
    }
  }
}

/**
 * Returns the steps that undo a step.
 * @param {Board} board before it
 * @param {Step} step
 * @returns {Step[]}
 */
export function inverse(board, step) {
  const { tiles } = board;
  if (step.kind === 'rename') return [{ kind: 'rename', name: board.name }];
  if (step.kind === 'add') return [{ kind: 'remove', id: step.tile.id }];
  const index = tiles.findIndex(({ id }) => id === step.id);
  const tile = tiles[index];
  if (tile === undefined) return [];
  const back = /** @type {Step} */ ({ kind: 'move', id: tile.id, before: tiles[index + 1]?.id ?? null });
  if (step.kind === 'remove') return [{ kind: 'add', tile }, back];
  if (step.kind === 'move') return [back];
  const names = /** @type {(keyof Tile)[]} */ (Object.keys(step.changes));
  return [{ kind: 'change', id: tile.id, changes: Object.fromEntries(names.map((name) => [name, tile[name] ?? null])) }];
}

/**
 * Returns the request for a step.
 * @param {Board} board before the step
 * @param {Step} step that applies
 * @returns {{path: string, method: string, body?: unknown}}
 */
export function requestFor(board, step) {
  const path = `api/dashboards/${board.id}`;
  switch (step.kind) {
    case 'add':
      return { path: `${path}/tiles`, method: 'POST', body: step.tile };
    case 'change':
      return { path: `${path}/tiles/${step.id}`, method: 'PATCH', body: step.changes };
    case 'remove':
      return { path: `${path}/tiles/${step.id}`, method: 'DELETE' };
    case 'move':
      return { path: `${path}/tiles/order`, method: 'PUT', body: { order: (apply(board, step) ?? board).tiles.map(({ id }) => id) } };
    case 'rename':
      return { path, method: 'PUT', body: { name: step.name, tiles: board.tiles } };
  }
}

/**
 * Returns whether `step` overwrites another user's change between two states of the dashboard.
 * @param {Board} before state that the reader saw
 * @param {Board} now
 * @param {Step} step
 */
export function overwrites(before, now, step) {
  if (step.kind !== 'change') return step.kind === 'rename' && before.name !== now.name;
  const old = before.tiles.find(({ id }) => id === step.id);
  const theirs = now.tiles.find(({ id }) => id === step.id);
  if (old === undefined || theirs === undefined) return false;
  const names = /** @type {(keyof Tile)[]} */ (Object.keys(step.changes));
  return names.some((name) => JSON.stringify(old[name]) !== JSON.stringify(theirs[name]));
}

/** Returns a unique id for a new tile. */
export function newTileId() {
  return `tile-${[...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/**
 * @param {Tile} tile
 * @param {Partial<Record<keyof Tile, any>>} changes null removes a field
 * @returns {Tile}
 */
function merged(tile, changes) {
  const fields = Object.entries({ ...tile, ...changes }).filter(([, value]) => value !== null);
  return /** @type {Tile} */ (Object.fromEntries(fields));
}
