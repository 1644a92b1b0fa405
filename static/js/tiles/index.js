// @ts-check
/** Kinds of tiles with their labels and default sizes. */

import { mountAlerts } from './alerts.js';
import { mountChart } from './chart.js';
import { empty } from './empty.js';
import { mountEvents } from './events.js';
import { mountFields } from './fields.js';
import { mountNumber } from './number.js';
import { mountOrders } from './orders.js';
import { mountText } from './text.js';

/** @typedef {import('./contract.js').Tile} Tile */

/** @type {Record<Tile['type'], {label: string, width: number, height: number}>} */
export const KINDS = {
  number: { label: 'Number', width: 4, height: 2 },
  chart: { label: 'Chart', width: 6, height: 4 },
  table: { label: 'Table', width: 8, height: 5 },
  alerts: { label: 'Alerts', width: 4, height: 5 },
  text: { label: 'Text', width: 4, height: 2 },
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

/**
 * Returns the mount function of a tile: a table shows orders, the events of another channel, or the fields of a state.
 * @param {Tile} tile
 * @param {(channel: string) => string | undefined} kindOfChannel `state`, `event`, or undefined while unknown
 * @param {import('./contract.js').Context['denied']} denied
 * @returns {import('./contract.js').Mount}
 */
export function mountFor(tile, kindOfChannel, denied) {
  const problem = tile.channel === undefined ? '' : denied(tile.channel, tile.fields ?? (tile.field === undefined ? [] : [tile.field]));
  if (problem !== '') return (tile, body) => empty(body, problem);
  switch (tile.type) {
    case 'number':
      return mountNumber;
    case 'chart':
      return mountChart;
    case 'alerts':
      return mountAlerts;
    case 'text':
      return mountText;
    default:
      if (tile.channel === 'orders') return mountOrders;
      return tile.channel !== undefined && kindOfChannel(tile.channel) === 'event' ? mountEvents : mountFields;
  }
}
