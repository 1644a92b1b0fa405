// @ts-check
/** Fields of built-in channels. Generated from `crates/core/src/built_in.rs`; a test names the command. */

/** @type {Record<string, {unit: import('./fields.js').Unit, title?: string}>} */
export const BUILT_IN = {
  active_users: { unit: 'count' },
  averageOrderValue: { unit: 'money' },
  averageSessionDuration: { unit: 'duration' },
  avg_response_time: { unit: 'milliseconds', title: 'Response time' },
  cache_hit_ratio: { unit: 'ratio' },
  connections: { unit: 'count' },
  conversion_rate: { unit: 'ratio' },
  cpu_usage: { unit: 'percent', title: 'CPU' },
  currentUsers: { unit: 'count' },
  disk_usage: { unit: 'percent', title: 'Disk' },
  error_rate: { unit: 'ratio' },
  load_average: { unit: 'number' },
  memory_usage: { unit: 'percent', title: 'Memory' },
  network_in: { unit: 'bytesPerSecond' },
  network_out: { unit: 'bytesPerSecond' },
  new_users_today: { unit: 'count' },
  ordersLastHour: { unit: 'count' },
  ordersToday: { unit: 'count' },
  orders_today: { unit: 'count' },
  peakToday: { unit: 'count' },
  pendingOrders: { unit: 'count' },
  queries_per_second: { unit: 'perSecond', title: 'Queries' },
  requests_per_second: { unit: 'perSecond', title: 'Requests' },
  revenueLastHour: { unit: 'money' },
  revenueToday: { unit: 'money' },
  revenue_today: { unit: 'money' },
  slow_queries: { unit: 'count' },
};
