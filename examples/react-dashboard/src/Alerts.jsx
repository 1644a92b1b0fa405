import { metric, time } from './format.js';
import { useDashboard } from './store.js';

/** Lists the open alerts. */
export function Alerts() {
  const alerts = useDashboard((state) => state.alerts);
  return (
    <section className="card wide">
      <h2>Alerts</h2>
      {alerts.length === 0 && <p className="soft">None open</p>}
      <ul className="alerts">
        {alerts.map((alert) => (
          <li key={alert.id} data-severity={alert.type}>
            <span className="severity">{alert.type}</span>
            <span>{alert.message}</span>
            <span className="soft">
              {metric(alert.value)} since {time(alert.raisedAt)}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
