// What the server sent, as one zustand store: components select what they show.

import { create } from 'zustand';

/** How far back the charts reach. */
export const HISTORY_MS = 2 * 60_000;

export const useDashboard = create((set) => ({
  /** `connecting`, `live`, `offline` (the client tries again by itself) or `refused` (it does not). */
  status: 'connecting',
  /** Why there is no connection, or why the server refused a subscription. */
  problem: null,
  /** `{activeUsers, revenue, orders, timestamp, snapshot}` of `dashboard:data` and `dashboard:update`. */
  figures: null,
  /** Chart points `{at, values}`; `values` is null where the connection was lost. */
  history: [],
  /** Open alerts, newest first. */
  alerts: [],
  /** Metrics of the entity that is shown: `{name: {value, timestamp}}`; null before the first answer. */
  metrics: null,

  // A recovered client receives everything that it missed; any other begins with a list of the open alerts.
  connected: (recovered) => set(({ alerts }) => ({ status: 'live', problem: null, alerts: recovered ? alerts : [] })),
  disconnected: (status, problem = null) => set(({ history }) => ({ status, problem, history: interrupted(history) })),
  setProblem: (problem) => set({ problem }),

  setFigures: (figures) => set({ figures }),

  // By the time of arrival: `timestamp` comes from the server's clock, which may differ from that of this computer.
  addPoint: ({ orders, snapshot }) =>
    set(({ history }) => {
      const at = Date.now();
      const values = {
        orders,
        requests: snapshot.api?.requests_per_second,
        cpu: snapshot.infrastructure?.cpu_usage,
      };
      // One point older than the chart, so that its line begins at the edge.
      const first = history.findLastIndex((point) => point.at < at - HISTORY_MS);
      return { history: [...history.slice(Math.max(first, 0)), { at, values }] };
    }),

  addAlerts: (changed) =>
    set(({ alerts }) => {
      const open = new Map(alerts.map((alert) => [alert.id, alert]));
      for (const alert of changed) open.set(alert.id, alert);
      const byAge = (a, b) => b.raisedAt.localeCompare(a.raisedAt);
      return { alerts: [...open.values()].filter((alert) => !alert.resolvedAt).sort(byAge) };
    }),

  setMetrics: (metrics) =>
    set({ metrics: metrics && Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, { value }])) }),
  updateMetric: ({ metricName, value, timestamp }) =>
    set(({ metrics }) => ({ metrics: { ...metrics, [metricName]: { value, timestamp } } })),
}));

/** Returns the points with an end: the last values held until now, and nothing is known from here on. */
function interrupted(history) {
  const values = history.at(-1)?.values;
  if (!values) return history;
  const at = Date.now();
  return [...history, { at, values }, { at, values: null }];
}
