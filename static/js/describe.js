// @ts-check
/** Describes an event in a title and one line. Unknown events are described by their name and scalar fields. */

import { humanName } from './format.js';
import { money } from './locale.js';

/** @typedef {'plain' | 'good' | 'warning' | 'critical'} Level */
/** @typedef {{title: string, detail: string, level: Level}} Description */

const MOST_FIELDS = 5;

/**
 * Returns `name value` of the scalar fields, at most {@link MOST_FIELDS}.
 * @param {Record<string, any>} data
 * @param {readonly string[]} [skip]
 */
function fields(data, skip = []) {
  return Object.entries(data)
    .filter(([name, value]) => !skip.includes(name) && ['string', 'number', 'boolean'].includes(typeof value))
    .slice(0, MOST_FIELDS)
    .map(([name, value]) => `${humanName(name).toLowerCase()} ${value}`)
    .join(' · ');
}

/**
 * Joins the non-empty parts.
 * @param {...(string | false | undefined | null)} parts
 */
const line = (...parts) => parts.filter(Boolean).join(' · ');

/**
 * @param {string} channel
 * @param {string} event
 * @param {Record<string, any>} data
 * @param {string} currency
 * @returns {Description}
 */
export function describe(channel, event, data, currency) {
  const title = humanName(event || channel);
  if (event === 'order_created') {
    const items = typeof data.items === 'number' && `${data.items} ${data.items === 1 ? 'item' : 'items'}`;
    const total = typeof data.total === 'number' && money(data.total, currency, false);
    return { title, detail: line(data.orderId, items, total, data.customerName), level: 'plain' };
  }
  if (event === 'order_updated') {
    const by = typeof data.updatedBy === 'string' && `by ${data.updatedBy}`;
    return { title, detail: line(data.orderId, fields(data.changes ?? {}), by), level: 'plain' };
  }
  if (channel === 'alerts') {
    if (event === 'alert_acknowledged') {
      const by = typeof data.acknowledgedBy === 'string' && `by ${data.acknowledgedBy}`;
      return { title, detail: line(data.message, by), level: 'plain' };
    }
    const resolved = event === 'alert_resolved';
    const level = resolved ? 'good' : data.type === 'critical' ? 'critical' : data.type === 'info' ? 'plain' : 'warning';
    const severity = !resolved && typeof data.type === 'string' ? `${humanName(data.type)}: ` : '';
    const detail = line(data.message ?? fields(data, ['id', 'ruleId', 'action', 'channel']));
    return { title: severity === '' ? title : severity + title.toLowerCase(), detail, level };
  }
  if (channel === 'system') {
    const level = event === 'recovered' ? 'good' : event === 'degraded' ? 'critical' : 'warning';
    return { title, detail: line(data.message ?? fields(data, ['channel', 'event', 'action', 'timestamp'])), level };
  }
  return { title, detail: fields(data, ['channel', 'timestamp']), level: 'plain' };
}
