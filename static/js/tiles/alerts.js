// @ts-check
/**
 * Alerts: active ones, most severe first, followed by recently resolved ones. Each can be acknowledged, which all users see.
 * Screen readers announce new alerts without this tile: see alert-announcer.js.
 */

import { element, setText } from '../dom.js';
import { about, clock, humanName } from '../format.js';
import { ApiError } from '../rest.js';
import { followList } from './live-list.js';
import { Problem, lowered } from './problem.js';

const MOST_ROWS = 40;
const MOST_RESOLVED = 10;
const WEIGHT = { critical: 0, warning: 1, info: 2 };

/**
 * @typedef {object} Alert
 * @property {string} id
 * @property {keyof typeof WEIGHT} type
 * @property {string} metric
 * @property {string} message
 * @property {string} raisedAt
 * @property {string | null} [resolvedAt]
 * @property {string | null} [acknowledgedBy]
 */

/** @type {import('./contract.js').Mount} */
export function mountAlerts(tile, body, context) {
  const list = element('ul', 'alerts');
  const note = element('p', 'tile-empty', 'Loading …');
  const problem = new Problem();
  const scroll = element('div', 'tile-scroll', note, list);
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', tile.title);
  body.append(problem.element, scroll);

  /** @type {Map<string, Alert>} */
  const alerts = new Map();
  let dirty = true;

  const load = async () => {
    const [open, over] = await Promise.all([
      context.rest.request('api/alerts', { query: { status: 'open', limit: String(MOST_ROWS) } }),
      context.rest.request('api/alerts', { query: { status: 'resolved', limit: String(MOST_RESOLVED) } }),
    ]);
    return () => {
      alerts.clear();
      for (const alert of [...(open.data?.alerts ?? []), ...(over.data?.alerts ?? [])]) alerts.set(alert.id, alert);
    };
  };

  /** @param {Alert} alert */
  const acknowledge = async (alert) => {
    problem.clear();
    try {
      const { data } = await context.rest.request(`api/alerts/${encodeURIComponent(alert.id)}/acknowledge`, { method: 'POST' });
      const known = alerts.get(alert.id);
      if (known !== undefined) Object.assign(known, data ?? { acknowledgedBy: 'you' });
      context.announcer.announce('Acknowledged.');
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.show(`Couldn’t acknowledge the alert: ${lowered(error.message)}`);
    }
    dirty = true;
    context.redraw();
  };

  const end = followList(context, {
    channel: 'alerts',
    load,
    update: ({ event, data }) => {
      if (event === null || typeof data.id !== 'string') return;
      alerts.set(data.id, { ...alerts.get(data.id), .../** @type {Alert} */ (data) });
    },
    changed: () => (dirty = true),
    note,
    empty: 'No active alerts.',
    denied: 'You don’t have permission to view alerts.',
  });

  return {
    draw: ({ now, lines }) => {
      if (!dirty && !lines) return;
      const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.alert : undefined;
      const sorted = [...alerts.values()].sort(byWeight).slice(0, MOST_ROWS);
      note.hidden = sorted.length > 0;
      if (dirty) {
        list.replaceChildren(...sorted.map((alert) => item(alert, context.rest.skew, context.mayAcknowledge() ? acknowledge : null)));
        if (focused !== undefined) focusAgain(list, focused);
      }
      dirty = false;
      list.querySelectorAll('time').forEach((time) => setText(time, `${about((now + context.rest.skew - Date.parse(time.dateTime)) / 1000)} ago`));
    },
    reconnected: () => problem.clear(),
    close: end,
  };
}

/**
 * Sorts active before resolved, then by severity, then newest first.
 * @param {Alert} a
 * @param {Alert} b
 */
function byWeight(a, b) {
  const rank = (/** @type {Alert} */ alert) => (alert.resolvedAt ? 10 : 0) + (alert.acknowledgedBy ? 5 : 0) + (WEIGHT[alert.type] ?? 1);
  return rank(a) - rank(b) || Date.parse(b.raisedAt) - Date.parse(a.raisedAt);
}

/**
 * @param {Alert} alert
 * @param {number} skew how far the server's clock is ahead, ms
 * @param {((alert: Alert) => void) | null} acknowledge null without the permission
 */
function item(alert, skew, acknowledge) {
  const active = !alert.resolvedAt;
  const when = element('time', 'alert-time');
  when.dateTime = alert.raisedAt;
  when.title = clock(Date.parse(alert.raisedAt) - skew);
  const severity = element('span', 'alert-severity', active ? humanName(alert.type ?? 'warning') : 'Resolved');
  const words = element('div', 'alert-words', element('p', 'alert-head', severity, when), element('p', 'alert-message', alert.message ?? alert.metric ?? ''));
  const node = element('li', 'alert', words);
  node.dataset.level = active ? (alert.type ?? 'warning') : 'resolved';
  if (alert.acknowledgedBy) {
    words.append(element('p', 'alert-by', `Acknowledged by ${alert.acknowledgedBy}`));
  } else if (active && acknowledge !== null) {
    const button = element('button', 'button button-small', 'Acknowledge');
    button.type = 'button';
    button.dataset.alert = alert.id;
    button.setAttribute('aria-label', `Acknowledge: ${alert.message ?? alert.metric ?? alert.id}`);
    button.addEventListener('click', () => acknowledge(alert));
    node.append(button);
  }
  return node;
}

/**
 * Restores the focus of a button after the list was rebuilt.
 * @param {HTMLElement} list
 * @param {string} id
 */
function focusAgain(list, id) {
  for (const button of list.querySelectorAll('button')) if (button.dataset.alert === id) button.focus();
}
