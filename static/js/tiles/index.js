// @ts-check
/** Finds the module that shows a tile. */

import { mountAlerts } from './alerts.js';
import { mountBar } from './bar.js';
import { mountChannels } from './channels.js';
import { mountChart } from './chart.js';
import { empty } from './empty.js';
import { mountEvents } from './events.js';
import { mountFields } from './fields.js';
import { mountGauge } from './gauge.js';
import { mountMarkdown } from './markdown.js';
import { mountNodes } from './nodes.js';
import { mountNumber } from './number.js';
import { mountOrders } from './orders.js';
import { mountState } from './state.js';
import { mountStatus } from './status.js';
import { mountText } from './text.js';

/** @typedef {import('./contract.js').Tile} Tile */

/** @type {Record<Exclude<Tile['type'], 'table'>, import('./contract.js').Mount>} */
const MOUNTS = {
  number: mountNumber,
  chart: mountChart,
  gauge: mountGauge,
  bar: mountBar,
  state: mountState,
  status: mountStatus,
  channels: mountChannels,
  nodes: mountNodes,
  alerts: mountAlerts,
  text: mountText,
  markdown: mountMarkdown,
};

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
  if (tile.type !== 'table') return MOUNTS[tile.type];
  if (tile.channel === 'orders') return mountOrders;
  return tile.channel !== undefined && kindOfChannel(tile.channel) === 'event' ? mountEvents : mountFields;
}
