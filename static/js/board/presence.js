// @ts-check
/**
 * Tiles that are hidden while there is nothing to show (`options.whenEmpty: "hide"`): those of a shop until there is an order,
 * others until their channel has an event, or their fields have a value. In edit mode they are shown.
 */

import { valueAt } from '../fields.js';

/** Channels that only mean something in a shop. */
const SHOP = /^(orders|metrics\.(orders|revenue|business))$/;

/** The answer for all tiles of a shop, which ask at the same time. @type {{rest: unknown, at: number, answer: Promise<boolean>} | null} */
let asked = null;
const SHARED_MS = 1_000;

/**
 * @param {import('../tiles/contract.js').Tile} tile
 * @param {import('../tiles/contract.js').Context} context
 * @param {(isPresent: boolean) => void} show called when it becomes known or changes
 * @returns {() => void} ends it
 */
export function followPresence({ channel, field, fields, options }, context, show) {
  if (options?.whenEmpty !== 'hide' || channel === undefined) return () => {};
  const isShop = SHOP.test(channel);
  const named = fields ?? (field === undefined ? [] : [field]);
  const hasValue = (/** @type {any} */ data) =>
    named.length === 0 ? Object.keys(data ?? {}).length > 0 : named.some((name) => (valueAt(data, name) ?? null) !== null);
  let closed = false;
  let known = false;
  const tell = (/** @type {boolean} */ isPresent) => {
    if (closed || (known && !isPresent)) return;
    known = isPresent;
    show(isPresent);
    context.redraw();
  };
  tell(false);
  if (isShop && context.denied('orders') !== '') return () => {};
  const ask = () => (isShop ? hasOrders(context.rest) : hasContent(context.rest, channel, hasValue)).then(tell);
  void ask();
  const end = context.subscriptions.subscribe(isShop ? 'orders' : channel, {
    onUpdate: ({ event, data }) => tell(event !== null || (!isShop && hasValue(data))),
    onGap: () => void ask(),
  });
  return () => {
    closed = true;
    end();
  };
}

/** @param {import('../rest.js').Rest} rest */
function hasOrders(rest) {
  if (asked === null || asked.rest !== rest || performance.now() - asked.at > SHARED_MS) {
    const answer = rest.request('api/orders', { query: { limit: '1' } }).then(({ data }) => (data?.orders ?? []).length > 0, () => false);
    asked = { rest, at: performance.now(), answer };
  }
  return asked.answer;
}

/**
 * @param {import('../rest.js').Rest} rest
 * @param {string} channel
 * @param {(data: any) => boolean} hasValue
 */
function hasContent(rest, channel, hasValue) {
  return rest.request(`api/metrics/${channel}`).then(({ data }) => (data?.events ?? []).length > 0 || hasValue(data?.data), () => false);
}
