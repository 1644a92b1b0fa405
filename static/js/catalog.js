// @ts-check
/**
 * What the dashboard shows: panels of tiles, each tile one field of one state channel. Custom channels are not listed here,
 * they come and go with the snapshot (custom.js).
 */

import { amount, bytesPerSecond, count, duration, milliseconds, percent, plain, ratio } from './format.js';

/**
 * @typedef {object} TileSpec
 * @property {string} label
 * @property {readonly string[]} path where the value is in the channel's data
 * @property {import('./format.js').Kind} kind
 * @property {readonly string[]} [note] where a short text to the value is
 */

/**
 * @typedef {object} PanelSpec
 * @property {string} title
 * @property {string} channel the state channel that feeds it
 * @property {string} source the channel's name as the panel shows it
 * @property {boolean} [large] tiles as cards instead of lines
 * @property {readonly TileSpec[]} tiles
 */

/** The snapshot: one channel with everything the server measures itself, and every custom one. */
export const SNAPSHOT = 'metrics';

/** Event channels of the list at the side. */
export const EVENT_CHANNELS = ['orders', 'alerts', 'system'];

/**
 * @param {string} label
 * @param {readonly string[]} path
 * @param {import('./format.js').Kind} kind
 * @param {readonly string[]} [note]
 * @returns {TileSpec}
 */
const tile = (label, path, kind, note) => ({ label, path, kind, note });

/** @type {readonly PanelSpec[]} */
export const PANELS = [
  {
    title: 'Business today',
    channel: SNAPSHOT,
    source: 'metrics.business',
    large: true,
    tiles: [
      tile('Revenue', ['business', 'revenue_today'], amount),
      tile('Orders', ['business', 'orders_today'], count),
      tile('New users', ['business', 'new_users_today'], count),
      tile('Conversion', ['business', 'conversion_rate'], ratio),
    ],
  },
  {
    title: 'Orders',
    channel: 'metrics.orders',
    source: 'metrics.orders',
    tiles: [
      tile('Today', ['ordersToday'], count, ['trend']),
      tile('Last hour', ['ordersLastHour'], count),
      tile('Pending', ['pendingOrders'], count),
    ],
  },
  {
    title: 'Revenue',
    channel: 'metrics.revenue',
    source: 'metrics.revenue',
    tiles: [
      tile('Today', ['revenueToday'], amount),
      tile('Last hour', ['revenueLastHour'], amount),
      tile('Average order', ['averageOrderValue'], amount),
    ],
  },
  {
    title: 'Users online',
    channel: 'metrics.users_online',
    source: 'metrics.users_online',
    tiles: [
      tile('Now', ['currentUsers'], count),
      tile('Peak today', ['peakToday'], count),
      tile('Average session', ['averageSessionDuration'], duration),
    ],
  },
  {
    title: 'Infrastructure',
    channel: SNAPSHOT,
    source: 'metrics.infrastructure',
    tiles: [
      tile('CPU', ['infrastructure', 'cpu_usage'], percent),
      tile('Memory', ['infrastructure', 'memory_usage'], percent),
      tile('Disk', ['infrastructure', 'disk_usage'], percent),
      tile('Network in', ['infrastructure', 'network_in'], bytesPerSecond),
      tile('Network out', ['infrastructure', 'network_out'], bytesPerSecond),
    ],
  },
  {
    title: 'API',
    channel: SNAPSHOT,
    source: 'metrics.api',
    tiles: [
      tile('Requests', ['api', 'requests_per_second'], plain('/s')),
      tile('Response time', ['api', 'avg_response_time'], milliseconds),
      tile('Error rate', ['api', 'error_rate'], ratio),
      tile('Active users', ['api', 'active_users'], count),
    ],
  },
  {
    title: 'Database',
    channel: SNAPSHOT,
    source: 'metrics.database',
    tiles: [
      tile('Connections', ['database', 'connections'], count),
      tile('Queries', ['database', 'queries_per_second'], plain('/s')),
      tile('Slow queries', ['database', 'slow_queries'], count),
      tile('Cache hits', ['database', 'cache_hit_ratio'], ratio),
    ],
  },
];

/** Every channel the page follows. */
export const CHANNELS = [...new Set([...PANELS.map((panel) => panel.channel), ...EVENT_CHANNELS])];
