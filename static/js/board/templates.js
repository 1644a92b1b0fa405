// @ts-check
/** Templates of new dashboards. Their tiles show what the server measures, and what hosts push by a simple convention. */

/** @typedef {Omit<import('../tiles/contract.js').Tile, 'id'>} NewTile */
/** @typedef {{id: string, label: string, about: string, tiles: NewTile[]}} Template */

const INFRASTRUCTURE = 'metrics.infrastructure';
const USAGE = { thresholds: { warning: 85, critical: 95 } };

/** @type {(type: NewTile['type'], title: string, channel: string, field: string, width: number, height: number, options?: Record<string, any>) => NewTile} */
const tile = (type, title, channel, field, width, height, options) => {
  const fields = field.split(',').filter(Boolean);
  return { type, title, ...(channel === '' ? {} : { channel }), ...(fields.length > 1 ? { fields } : fields.length === 1 ? { field } : {}), width, height, ...(options === undefined ? {} : { options }) };
};

const FLEET_NOTE = `Each host pushes its numbers to a channel of its own, with the prefix **metrics.host.**:

\`\`\`
curl -d '{"channel": "metrics.host.web-1", "data": {"cpu_percent": 12, "memory_percent": 40, "up": true}}' ADDRESS
\`\`\`

A host that stops pushing turns grey.`;

/** @type {(address: string) => Template[]} */
export const templates = (address) => [
  { id: 'empty', label: 'Empty', about: 'Add the tiles yourself.', tiles: [] },
  {
    id: 'host',
    label: 'Host',
    about: 'CPU, memory, disk and network of this server and its nodes.',
    tiles: [
      tile('gauge', 'CPU', INFRASTRUCTURE, 'cpu_usage', 3, 3, USAGE),
      tile('gauge', 'Memory', INFRASTRUCTURE, 'memory_usage', 3, 3, USAGE),
      tile('gauge', 'Disk', INFRASTRUCTURE, 'disk_usage', 3, 3, USAGE),
      tile('number', 'Load average', INFRASTRUCTURE, 'load_average', 3, 3),
      tile('chart', 'CPU and memory', INFRASTRUCTURE, 'cpu_usage,memory_usage', 6, 4),
      tile('chart', 'Network', INFRASTRUCTURE, 'network_in,network_out', 6, 4),
      tile('nodes', 'Nodes', '', '', 8, 4),
      tile('alerts', 'Alerts', 'alerts', '', 4, 4),
    ],
  },
  {
    id: 'service',
    label: 'Web service',
    about: 'Traffic, response time, errors, database and deployments.',
    tiles: [
      tile('number', 'Requests', 'metrics.api', 'requests_per_second', 3, 2),
      tile('number', 'Response time', 'metrics.api', 'avg_response_time', 3, 2),
      tile('number', 'Error rate', 'metrics.api', 'error_rate', 3, 2, { thresholds: { warning: 0.01, critical: 0.05 } }),
      tile('number', 'Users online', 'metrics.users_online', 'currentUsers', 3, 2),
      tile('status', 'Errors', 'metrics.api', 'error_rate', 12, 2, { thresholds: { warning: 0.01, critical: 0.05 } }),
      tile('chart', 'Requests per second', 'metrics.api', 'requests_per_second', 6, 4),
      tile('chart', 'Response time', 'metrics.api', 'avg_response_time', 6, 4),
      tile('chart', 'Database queries', 'metrics.database', 'queries_per_second', 4, 4),
      tile('table', 'Deployments', 'deploys', '', 4, 4),
      tile('alerts', 'Alerts', 'alerts', '', 4, 4),
    ],
  },
  {
    id: 'shop',
    label: 'Shop',
    about: 'Orders, revenue, visitors and the newest orders.',
    tiles: [
      tile('number', 'Orders today', 'metrics.orders', 'ordersToday', 3, 2),
      tile('number', 'Revenue today', 'metrics.revenue', 'revenueToday', 3, 2),
      tile('number', 'Average order value', 'metrics.revenue', 'averageOrderValue', 3, 2),
      tile('number', 'Conversion rate', 'metrics.business', 'conversion_rate', 3, 2),
      tile('chart', 'Orders in the last hour', 'metrics.orders', 'ordersLastHour', 6, 4),
      tile('chart', 'Revenue today', 'metrics.revenue', 'revenueToday', 6, 4),
      tile('table', 'Newest orders', 'orders', '', 8, 6),
      tile('number', 'Pending orders', 'metrics.orders', 'pendingOrders', 4, 2),
      tile('alerts', 'Alerts', 'alerts', '', 4, 4),
    ],
  },
  {
    id: 'fleet',
    label: 'Fleet',
    about: 'A row for each host that pushes to metrics.host.*.',
    tiles: [
      { type: 'channels', title: 'Hosts', fields: ['cpu_percent', 'memory_percent', 'disk_percent', 'up'], width: 12, height: 6, options: { prefix: 'metrics.host.' } },
      tile('nodes', 'Nodes of tricast', '', '', 6, 4),
      tile('markdown', 'How to add a host', '', '', 6, 4, { text: FLEET_NOTE.replace('ADDRESS', address) }),
    ],
  },
];
