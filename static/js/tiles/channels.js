// @ts-check
/**
 * Channels: what is pushed, live, as a list of numbers with their lines, or as a table with a row for each channel and the
 * columns `fields`. `options.prefix` restricts it, as `metrics.host.` does to a fleet. A server to which nothing was pushed
 * shows how to send the first number.
 */

import { element, setText } from '../dom.js';
import { Catalog } from '../explore/catalog.js';
import { Feed } from '../explore/feed.js';
import { Past } from '../explore/past.js';
import { RowView } from '../explore/row.js';
import { nameOf } from '../fields.js';
import { firstNumber } from '../first-number.js';
import { ChannelTable } from './channel-table.js';

/** Most rows of a tile; the page `/explore` has all. */
const MOST_ROWS = 60;
/** Most rows of a tile with columns. */
const MOST_CHANNELS = 200;
/** Up to this many channels all metrics are received, and above it only those of the rows. */
const MOST_ALL = 250;

/** @type {import('./contract.js').Mount} */
export function mountChannels(tile, body, context) {
  const prefix = typeof tile.options?.prefix === 'string' ? tile.options.prefix : '';
  const list = element('div', 'explore-list');
  list.setAttribute('role', 'table');
  list.setAttribute('aria-label', tile.title);
  const more = element('p', 'explore-more');
  const note = element('p', 'tile-empty', 'Loading …');
  const scroll = element('div', 'tile-scroll', note, list, more);
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', tile.title);
  const first = element('div', 'first-tile');
  first.hidden = true;
  body.append(first, scroll);

  const catalog = new Catalog();
  const feed = new Feed(context, catalog, { metricsOnly: true, mostAll: MOST_ALL, changed: () => context.redraw() });
  let redrawn = false;
  const past = new Past(context.rest, catalog, () => {
    redrawn = true;
    context.redraw();
  });
  const table = tile.fields === undefined ? null : new ChannelTable(tile.fields, prefix, tile.options?.unit);
  if (table !== null) list.replaceWith(table.element);
  /** @type {Map<string, RowView>} */
  const views = new Map();
  /** @type {import('../explore/catalog.js').Row[]} */
  let rows = [];
  let structure = -1;

  const arrange = () => {
    structure = catalog.structure;
    const all = catalog.rows({ search: '', show: 'pushed' }).filter(({ channel }) => channel.kind === 'state' && channel.name.startsWith(prefix));
    if (table !== null) rows = all.filter(({ first }) => first).slice(0, MOST_CHANNELS);
    else rows = all.slice(0, MOST_ROWS);
    const keys = new Set(rows.map(({ key }) => key));
    for (const [key, view] of views) {
      if (keys.has(key)) continue;
      view.element.remove();
      views.delete(key);
    }
    if (table === null) {
      rows.forEach((row, index) => {
        const view = views.get(row.key) ?? new RowView({ pin: null, open: () => (location.href = `explore?q=${encodeURIComponent(row.channel.name)}`) });
        views.set(row.key, view);
        view.update(row);
        if (list.children[index] !== view.element) list.insertBefore(view.element, list.children[index] ?? null);
      });
    }
    const isEmpty = feed.listed && rows.length === 0;
    first.hidden = !isEmpty || prefix !== '';
    if (!first.hidden && first.childElementCount === 0) first.append(firstNumber({ ...context.pushing(), rest: context.rest, linked: true }));
    scroll.hidden = !first.hidden;
    note.hidden = rows.length > 0;
    setText(note, feed.problem || (!feed.listed ? 'Loading …' : `No channels that begin with ${prefix} yet.`));
    const channels = new Set(all.map(({ channel }) => channel.name)).size;
    const shown = new Set(rows.map(({ channel }) => channel.name)).size;
    more.hidden = shown >= channels;
    if (!more.hidden) {
      const link = element('a', '', `All ${channels} channels`);
      link.href = 'explore';
      more.replaceChildren(link);
    }
    const names = new Set(rows.map(({ channel }) => channel.name));
    feed.show(names);
    if (table === null) past.show(names);
  };

  return {
    draw: (frame) => {
      if (structure !== catalog.structure || !feed.listed || scroll.hidden === first.hidden) arrange();
      const lines = frame.lines || redrawn;
      redrawn = false;
      if (table !== null) table.draw(rows.map(({ channel }) => channel), frame.now, context.currency());
      else {
        for (const view of views.values()) view.draw({ ...frame, lines }, context.currency());
        if (lines) past.show(new Set(rows.map(({ channel }) => channel.name)));
      }
    },
    close: () => {
      feed.close();
      past.close();
    },
  };
}
