// @ts-check
/** Kinds of tiles with their labels and default sizes. */

/** @typedef {import('./contract.js').Tile} Tile */

/** @type {Record<Tile['type'], {label: string, width: number, height: number}>} */
export const KINDS = {
  number: { label: 'Number', width: 4, height: 2 },
  chart: { label: 'Chart', width: 6, height: 4 },
  gauge: { label: 'Gauge', width: 3, height: 3 },
  bar: { label: 'Bars', width: 4, height: 3 },
  state: { label: 'State', width: 3, height: 2 },
  status: { label: 'Status history', width: 6, height: 2 },
  table: { label: 'Table', width: 8, height: 5 },
  channels: { label: 'Channels', width: 8, height: 5 },
  nodes: { label: 'Nodes', width: 6, height: 4 },
  alerts: { label: 'Alerts', width: 4, height: 5 },
  text: { label: 'Text', width: 4, height: 2 },
  markdown: { label: 'Markdown', width: 4, height: 3 },
};

export const COLUMNS = 12;

/**
 * Returns the size of a tile in cells of the grid.
 * @param {Tile} tile
 */
export function sizeOf(tile) {
  const kind = KINDS[tile.type];
  return { width: Math.min(COLUMNS, tile.width ?? kind.width), height: tile.height ?? kind.height };
}
