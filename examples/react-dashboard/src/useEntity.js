import { useEffect } from 'react';
import { entitySocket as socket } from './sockets.js';
import { useDashboard } from './store.js';

/** Follows the metrics of one entity in the namespace `/dashboard`. */
export function useEntity({ entityId, entityType }) {
  useEffect(() => {
    const store = useDashboard.getState();
    store.setMetrics(null);
    store.setProblem(null);

    const subscribe = () => {
      socket.emit('subscribe', { entityId, entityType }, ({ status, message }) => {
        if (status === 'error') store.setProblem(message);
      });
    };
    // Another entity's metrics may still be on their way when the page has moved on.
    const ofThisEntity = (handler) => (data) => data.entityId === entityId && handler(data);

    const handlers = {
      connect: subscribe,
      'dashboard:initial': ofThisEntity(({ metrics }) => store.setMetrics(metrics)),
      'metric:update': ofThisEntity(store.updateMetric),
    };

    for (const [event, handler] of Object.entries(handlers)) socket.on(event, handler);
    if (socket.connected) subscribe();
    else socket.connect();
    return () => {
      for (const [event, handler] of Object.entries(handlers)) socket.off(event, handler);
      // The socket stays connected for the next entity.
      if (socket.connected) socket.emit('unsubscribe', { entityId });
    };
  }, [entityId, entityType]);
}
