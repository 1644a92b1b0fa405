// @ts-check
/**
 * Alerts are told on every board: a critical one at once, others when the reader is at rest. Where no tile lists them, a
 * word at the foot of the page says it, too.
 */

import { humanName } from './format.js';
import { toast } from './toast.js';

/**
 * @param {import('./live.js').Live} live
 * @param {import('./announcer.js').Announcer} announcer
 * @param {() => import('./board/model.js').Board | null} board
 */
export function watchAlerts(live, announcer, board) {
  live.subscribe('alerts', {
    take: ({ event, data }) => {
      const what = String(data.message ?? data.metric ?? '');
      if (event === 'alert_resolved') announcer.say(`Resolved: ${what}`);
      if (event !== 'alert_raised') return;
      const critical = data.type === 'critical';
      const text = `${humanName(String(data.type ?? 'warning'))} alert: ${what}`;
      if (critical) announcer.warn(text);
      else announcer.say(text);
      if (board()?.tiles.every(({ type }) => type !== 'alerts')) toast(text, critical);
    },
  });
}
