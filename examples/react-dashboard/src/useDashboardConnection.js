import { useEffect } from 'react';
import { dashboardSocket as socket } from './sockets.js';
import { useDashboard } from './store.js';

/** Connects the store to the server: figures, chart points and alerts of the namespace `/`. */
export function useDashboardConnection(dashboardId) {
  useEffect(() => {
    const store = useDashboard.getState();

    const handlers = {
      connect() {
        store.connected(socket.recovered);
        socket.emit('subscribe-metrics', dashboardId, { interval: '1s' }, ({ status, message }) => {
          if (status === 'error') store.setProblem(message);
        });
      },
      // An active socket tries again by itself; others were refused, or disconnected by the server for good.
      disconnect: (reason) => store.disconnected(socket.active ? 'offline' : 'refused', reason),
      connect_error: ({ message }) => store.disconnected(socket.active ? 'offline' : 'refused', message),
      error: ({ message }) => store.setProblem(message),

      'dashboard:data': store.setFigures,
      'dashboard:update': store.setFigures,
      'initial-data': store.addPoint,
      'metrics-update': store.addPoint,
      alerts: store.addAlerts,
    };

    for (const [event, handler] of Object.entries(handlers)) socket.on(event, handler);
    socket.connect();
    return () => {
      for (const [event, handler] of Object.entries(handlers)) socket.off(event, handler);
      socket.disconnect();
    };
  }, [dashboardId]);
}
