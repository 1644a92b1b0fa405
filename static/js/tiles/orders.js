// @ts-check
/**
 * Newest orders. The list is loaded once and then updated from the channel `orders`; a priority can be changed in place. The
 * change is shown at once, greyed until the server has confirmed it, and undone with a message if it was refused.
 */

import { element, setText } from '../dom.js';
import { amount, clock, humanName } from '../format.js';
import { ApiError } from '../rest.js';
import { followList } from './live-list.js';
import { Problem, lowered } from './problem.js';

const MOST_ROWS = 50;
const PRIORITIES = ['low', 'normal', 'high', 'urgent'];

/** @typedef {{orderId: string, status: string, items: number, total: number, customerName: string, priority: string, createdAt: string}} Order */

/** @typedef {{order: Order, row: HTMLTableRowElement, total: HTMLElement, status: HTMLElement, select: HTMLSelectElement | null, priority: HTMLElement}} Line */

/** @type {import('./contract.js').Mount} */
export function mountOrders(tile, body, context) {
  const rows = element('tbody');
  const unit = element('span', 'table-unit');
  const head = element('tr', '', ...['Order', 'Customer', 'Total', 'Status', 'Priority'].map((name) => {
    const cell = element('th', name === 'Total' ? 'table-number' : '', name);
    cell.scope = 'col';
    if (name === 'Total') cell.append(' ', unit);
    return cell;
  }));
  const table = element('table', 'table table-orders', element('caption', 'visually-hidden', tile.title), element('thead', '', head), rows);
  const note = element('p', 'tile-empty', 'Loading …');
  const problem = new Problem();
  const scroll = element('div', 'tile-scroll', note, table);
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', tile.title);
  body.append(problem.element, scroll);

  /** @type {Map<string, Line>} */
  const lines = new Map();
  let dirty = true;

  const load = async () => {
    const { data } = await context.rest.request('api/orders', { query: { limit: String(MOST_ROWS) } });
    return () => {
      rows.replaceChildren();
      lines.clear();
      for (const order of [...(data?.orders ?? [])].reverse()) add(order);
    };
  };

  /** @param {Order} order */
  const add = (order) => {
    const known = lines.get(order.orderId);
    if (known !== undefined) return update(order.orderId, order);
    const name = element('th', 'order-id', order.orderId);
    name.scope = 'row';
    name.title = `Created ${clock(Date.parse(order.createdAt) - context.rest.skew)}`;
    const status = element('span', 'order-status');
    const priority = element('td', 'order-priority');
    const select = context.mayWriteOrders() ? prioritySelect(order, change) : null;
    if (select !== null) priority.append(select);
    const total = element('td', 'table-number');
    const row = element('tr', '', name, element('td', 'order-customer', order.customerName), total, element('td', 'order-state', status), priority);
    const line = { order: { ...order }, row, total, status, select, priority };
    lines.set(order.orderId, line);
    rows.prepend(row);
    show(line);
    while (lines.size > MOST_ROWS) {
      const oldest = lines.keys().next().value ?? '';
      lines.get(oldest)?.row.remove();
      lines.delete(oldest);
    }
  };

  /**
   * @param {string} orderId
   * @param {Partial<Order>} changes
   */
  const update = (orderId, changes) => {
    const line = lines.get(orderId);
    if (line === undefined) return;
    Object.assign(line.order, changes);
    show(line);
  };

  /**
   * @param {Order} order
   * @param {HTMLSelectElement} select
   */
  const change = async (order, select) => {
    const { orderId } = order;
    const priority = select.value;
    problem.clear();
    select.setAttribute('aria-busy', 'true');
    try {
      const { data } = await context.rest.request(`api/orders/${orderId}`, { method: 'PATCH', body: { priority } });
      update(orderId, { priority: data?.priority ?? priority });
      context.announcer.announce(`${orderId}: priority ${priority}.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.show(`Couldn’t change the priority of ${orderId}: ${lowered(error.message)}`);
    } finally {
      select.removeAttribute('aria-busy');
      const line = lines.get(orderId);
      if (line !== undefined) show(line);
    }
  };

  const end = followList(context, {
    channel: 'orders',
    load,
    update: ({ event, data }) => {
      if (event === 'order_created') add(/** @type {Order} */ (data));
      if (event === 'order_updated') update(data.orderId, data.changes ?? {});
    },
    changed: () => (dirty = true),
    note,
    empty: 'No orders yet. New orders will appear here.',
    denied: 'You don’t have permission to view orders.',
  });
  const money = context.followCurrency();
  let currency = '';

  return {
    draw: () => {
      if (!dirty && currency === context.currency()) return;
      dirty = false;
      currency = context.currency();
      setText(unit, currency);
      note.hidden = lines.size > 0;
      table.hidden = lines.size === 0;
    },
    reconnected: () => problem.clear(),
    close: () => {
      end();
      money();
    },
  };
}

/** @param {Line} line */
function show({ order, total, status, select, priority }) {
  setText(total, amount.read(order.total, { currency: '' }).text);
  setText(status, humanName(order.status ?? ''));
  status.dataset.status = order.status;
  priority.dataset.priority = order.priority;
  if (select === null) setText(priority, humanName(order.priority ?? ''));
  else if (!select.hasAttribute('aria-busy') && select.value !== order.priority) select.value = order.priority;
}

/**
 * @param {Order} order
 * @param {(order: Order, select: HTMLSelectElement) => void} change
 */
function prioritySelect(order, change) {
  const select = element('select', 'select select-small');
  select.setAttribute('aria-label', `Priority of ${order.orderId}`);
  select.append(...PRIORITIES.map((priority) => {
    const option = element('option', '', humanName(priority));
    option.value = priority;
    return option;
  }));
  select.value = order.priority;
  select.addEventListener('change', () => change(order, select));
  return select;
}
