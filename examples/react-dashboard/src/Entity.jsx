import { useState } from 'react';
import { metric, time } from './format.js';
import { useDashboard } from './store.js';
import { useEntity } from './useEntity.js';

/** Shows the metrics of one entity, and a form that chooses it. */
export function Entity() {
  const [entity, setEntity] = useState({ entityType: 'shop', entityId: 'berlin' });
  useEntity(entity);
  const metrics = useDashboard((state) => state.metrics);
  const rows = Object.entries(metrics ?? {});

  const choose = (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setEntity({ entityType: form.get('type').trim(), entityId: form.get('id').trim() });
  };

  return (
    <section className="card wide">
      <h2>
        Metrics of {entity.entityType} {entity.entityId}
      </h2>
      <form onSubmit={choose}>
        <label>
          Type <input name="type" defaultValue={entity.entityType} required />
        </label>
        <label>
          Id <input name="id" defaultValue={entity.entityId} required />
        </label>
        <button>Show</button>
      </form>
      {metrics && rows.length === 0 && (
        <p className="soft">
          No metrics. Push some to the channel{' '}
          <code>
            entity.{entity.entityType}.{entity.entityId}
          </code>
          .
        </p>
      )}
      {rows.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Metric</th>
              <th scope="col">Value</th>
              <th scope="col">Changed at</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, { value, timestamp }]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{metric(value)}</td>
                <td className="soft">{time(timestamp)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
