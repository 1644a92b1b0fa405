import { Alerts } from './Alerts.jsx';
import { Entity } from './Entity.jsx';
import { count, money, percent, rate, time } from './format.js';
import { LiveChart } from './LiveChart.jsx';
import { SERVER } from './sockets.js';
import { useDashboard } from './store.js';
import { useDashboardConnection } from './useDashboardConnection.js';

const STATUS = { connecting: 'Connecting', live: 'Live', offline: 'Offline, trying again', refused: 'Refused' };

export function App() {
  useDashboardConnection('shop');
  const status = useDashboard((state) => state.status);
  const problem = useDashboard((state) => state.problem);
  const figures = useDashboard((state) => state.figures);

  return (
    <>
      <header>
        <h1>Shop dashboard</h1>
        <p className="status" data-status={status} role="status">
          {STATUS[status]}
        </p>
        <p className="soft">
          {SERVER}
          {figures && `, updated at ${time(figures.timestamp)}`}
        </p>
        {problem && <p className="problem">{problem}</p>}
      </header>
      <main data-fresh={status === 'live'}>
        <Figure title="Active users" value={count(figures?.activeUsers)} />
        <Figure title="Orders today" value={count(figures?.orders)} />
        <Figure title="Revenue today" value={money(figures?.revenue)} />
        <LiveChart title="Orders" field="orders" format={count} top={5} />
        <LiveChart title="Requests per second" field="requests" format={rate} />
        <LiveChart title="CPU" field="cpu" format={percent} top={100} />
        <Alerts />
        <Entity />
      </main>
    </>
  );
}

function Figure({ title, value }) {
  return (
    <section className="card figure">
      <h2>{title}</h2>
      <p className="value">{value}</p>
    </section>
  );
}
