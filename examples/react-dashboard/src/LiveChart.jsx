import { useEffect, useState } from 'react';
import { HISTORY_MS, useDashboard } from './store.js';

const WIDTH = 300;
const HEIGHT = 80;
/** Room for half the width of a line at the highest and the lowest value. */
const MARGIN = 1;

/** Draws the last two minutes of one field of the chart points, with its newest value. */
export function LiveChart({ title, field, format, top = 1 }) {
  const history = useDashboard((state) => state.history);
  const isLive = useDashboard((state) => state.status === 'live');
  // A point may have come since the last tick.
  const now = Math.max(useNow(), history.at(-1)?.at ?? 0);

  const points = history.map(({ at, values }) => ({ at, value: values?.[field] ?? null }));
  const newest = points.findLast(({ value }) => value !== null)?.value ?? null;
  // The server sends changes only, so a value holds until the next one, or until the connection is lost.
  if (isLive && points.length > 0) points.push({ at: now, value: points.at(-1).value });

  const highest = ceiling(Math.max(top, ...points.map(({ value }) => value ?? 0)));
  const x = (at) => WIDTH * (1 - (now - at) / HISTORY_MS);
  const y = (value) => HEIGHT * (1 - value / highest);

  return (
    <section className="card chart">
      <h2>{title}</h2>
      <p className="value">{format(newest)}</p>
      <div className="plot">
        <svg viewBox={`0 ${-MARGIN} ${WIDTH} ${HEIGHT + 2 * MARGIN}`} preserveAspectRatio="none" role="img" aria-label={`${title}, last two minutes`}>
          {[0, 0.5, 1].map((part) => (
            <line key={part} className="grid" x1="0" x2={WIDTH} y1={HEIGHT * part} y2={HEIGHT * part} />
          ))}
          <path className="line" d={path(points, x, y)} />
        </svg>
        <span className="top">{format(highest)}</span>
        <span className="bottom">{format(0)}</span>
      </div>
    </section>
  );
}

/** Returns a line through the points, interrupted where there is no value. */
function path(points, x, y) {
  let pen = 'M';
  let line = '';
  for (const { at, value } of points) {
    if (value !== null) line += `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = value === null ? 'M' : 'L';
  }
  return line;
}

/** Returns the next of 1, 2, 5, 10, 20, 50 … that is not below `value`. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** Returns the time, new every second, so that a chart moves while its value stays the same. */
function useNow() {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
