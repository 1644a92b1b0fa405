// @ts-check
/**
 * Announces alerts to screen readers on every dashboard: critical ones at once, others politely. If no tile lists alerts, a
 * toast shows them, too.
 */

import { humanName } from './format.js';
import { toast } from './toast.js';

/**
 * @param {import('./subscriptions.js').Subscriptions} subscriptions
 * @param {import('./announcer.js').Announcer} announcer
 * @param {() => import('./board/model.js').Board | null} board
 */
export function announceAlerts(subscriptions, announcer, board) {
  subscriptions.subscribe('alerts', {
    onUpdate: ({ event, data }) => {
      const text = String(data.message ?? data.metric ?? '');
      if (event === 'alert_resolved') announcer.announce(`Resolved: ${text}`);
      if (event !== 'alert_raised') return;
      const critical = data.type === 'critical';
      const sentence = `${humanName(String(data.type ?? 'warning'))} alert: ${text}`;
      if (critical) announcer.warn(sentence);
      else announcer.announce(sentence);
      if (board()?.tiles.every(({ type }) => type !== 'alerts')) toast(sentence, critical);
    },
  });
}
