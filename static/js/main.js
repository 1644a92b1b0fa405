// @ts-check
/**
 * The dashboard: plain ES modules, no build step, and one vendored library (uPlot, which only charts/plot.js uses).
 *
 *     session          current user, sign-in panel          token            storage for browsers without cookies
 *     rest             HTTP requests, errors                subscriptions    channels over the client library in ../client
 *     time             the page's steady clock              freshness        age of values, stopped sources
 *     page             the dashboard that is open           controls         time range, pause, edit mode
 *     wall             wall display                         print            print layout
 *     board/           model (edit steps, pure) > sync (If-Match, 412, undo) > grid > card;
 *                      editor with drag and dialog (field-picker, tile-settings); boards (menu) with prompt; presence (empty tiles)
 *     tiles/           one module per kind of tile, all with the interface of contract.js:
 *                      number  chart  gauge  bar  state  status  fields  orders  events  channels  nodes  alerts  text
 *                      markdown;  kinds (labels, sizes), level (good, warning, critical), live-list, problem (error message)
 *     explore/         catalog of all channels, for /explore and the tile channels: feed (keeps it current), past (history),
 *                      bins (short lines), row, virtual-list, pin, details
 *     charts/          track (history, then live values) over ring (ring buffer); history; shadow (an earlier time); rows;
 *                      plot (uPlot) with axes, layers, legend, tooltip, drag-zoom, table; sparkline;
 *                      range (time range) with range-address and length; colors (of series), palette (of the scheme)
 *     fields           names and formats of fields over units, format (values to text) and locale;  describe (events to text)
 *     limits           thresholds of tiles and alert rules;  marks  events and alerts in charts;  time-menu  time range, comparison, link
 *     badge            connection state; transport-switch
 *     alert-announcer  announces alerts;  announcer  the live regions;  toast  messages at the foot of the page;  menus
 *     first-number     how to send the first number;  markdown (safe subset);  icons
 *     dom              building elements without markup strings; frame-scheduler (one redraw per animation frame)
 *
 * Values flow one way: the client library receives them, subscriptions passes them to the subscribers of the channel, tiles
 * store them, and the next animation frame draws the newest. Tiles depend on no transport, transports on no page.
 */

import { announceAlerts } from './alert-announcer.js';
import { Announcer } from './announcer.js';
import { Badge } from './badge.js';
import { Boards } from './board/boards.js';
import { Editor } from './board/editor.js';
import { Grid } from './board/grid.js';
import { readPalette } from './charts/palette.js';
import { Range } from './charts/range.js';
import { followAddress } from './charts/range-address.js';
import { startControls } from './controls.js';
import { byId } from './dom.js';
import { span } from './format.js';
import { FrameScheduler } from './frame-scheduler.js';
import { Freshness } from './freshness.js';
import { Limits } from './limits.js';
import { Marks } from './marks.js';
import { startMenus } from './menus.js';
import { Page } from './page.js';
import { startPrinting } from './print.js';
import { Rest } from './rest.js';
import { Session } from './session.js';
import { Subscriptions } from './subscriptions.js';
import { checkClock, now, onClockSet } from './time.js';
import { toast } from './toast.js';
import { choiceOf, startTransportSwitch } from './transport-switch.js';
import { startTimeMenu } from './time-menu.js';
import { startWall } from './wall.js';

const calm = matchMedia('(prefers-reduced-motion: reduce)');
/** Time between two redraws of sparklines: one second, more with reduced motion. */
const linesEveryMs = () => (calm.matches ? 5_000 : 1_000);

startMenus();
const rest = new Rest();
const session = new Session(rest);
// Sent in parallel with the identification, because most servers need no token; otherwise it is sent again.
const early = rest.request('api/channels').catch(() => null);
await session.start();

const announcer = new Announcer();
const subscriptions = new Subscriptions(choiceOf(location.search), session.required ? (refused) => session.provideToken(refused) : undefined);
rest.onResponse = () => subscriptions.serverResponded();
const range = new Range();
followAddress(range);
const main = byId('main');
/** @type {Map<string, string>} */
const kinds = new Map();
const kindsKnown = (async () => {
  const answer = (await early) ?? (await rest.request('api/channels').catch(() => null));
  for (const { channel, kind } of answer?.data?.channels ?? []) kinds.set(channel, kind);
})();

let currency = '';
let palette = readPalette();
let linesDrawnAt = 0;
let wasLive = false;
let wasDrawnLive = false;

const scheduler = new FrameScheduler((now) => {
  const { status } = subscriptions;
  const isLive = status.state === 'live';
  const lines = now - linesDrawnAt >= linesEveryMs() - 50 || now < linesDrawnAt || isLive !== wasDrawnLive;
  if (lines) linesDrawnAt = now;
  wasDrawnLive = isLive;
  const age = isLive || status.aliveAt === null ? '' : `${span((now - status.aliveAt) / 1000)} ago`;
  main.dataset.fresh = String(age === '');
  const view = { now, live: isLive, lines, calm: calm.matches, palette };
  for (const card of grid.cards) card.draw(view, age);
  editor.draw(view);
  badge.draw(status, now);
});

/**
 * Returns why the reader may not see a channel; empty if they may. Business numbers need the permission for orders.
 * @param {string} channel
 * @param {readonly string[]} fields
 */
function denied(channel, fields = []) {
  const orders = /^(orders|metrics\.(orders|revenue|business))$/.test(channel);
  if (orders || (channel === 'metrics' && fields.length > 0 && fields.every((field) => /^business(\.|$)/.test(field)))) {
    return session.may('read:orders') ? '' : 'You don’t have permission to view orders.';
  }
  if (channel === 'alerts') return session.may('read:alerts') ? '' : 'You don’t have permission to view alerts.';
  return channel === 'system' || session.may('read:metrics') ? '' : 'You don’t have permission to view metrics.';
}

/** @type {import('./tiles/contract.js').Context} */
const context = {
  subscriptions,
  rest,
  range,
  limits: new Limits(rest, () => redrawAll()),
  marks: new Marks({ rest, subscriptions, denied, currency: () => currency }),
  announcer,
  currency: () => currency,
  followCurrency: () => (denied('metrics.revenue') === '' ? subscriptions.subscribe('metrics.revenue', { onUpdate: () => {} }) : () => {}),
  mayWriteOrders: () => session.may('write:orders'),
  mayAcknowledge: () => session.may('read:alerts') && session.may('write:dashboards'),
  pushing: () => ({ required: session.required, mayPush: session.may('write:metrics') }),
  denied,
  age: (tile) => freshness.ageOf(tile),
  redraw: () => scheduler.request(),
  redrawNow: () => scheduler.requestNow(),
};
const kindOfChannel = (/** @type {string} */ channel) => kinds.get(channel);
const grid = new Grid(byId('board'), context, kindOfChannel);
const freshness = new Freshness(rest, () => [...grid.cards].map(({ tile }) => tile), () => scheduler.request());
const editor = new Editor(grid, context, kindOfChannel);
const badge = new Badge(announcer, () => subscriptions.retry());
const page = new Page(rest, subscriptions, grid, editor, announcer, kindsKnown, session.may('write:dashboards'));
const boards = new Boards(/** @type {HTMLDetailsElement} */ (byId('boards')), rest, {
  open: (id) => page.open(id),
  rename: (name) => page.sync?.change({ kind: 'rename', name }),
  current: () => page.board,
  notify: toast,
});
boards.allow(session.may('write:dashboards'));
startControls({ range, editor, sync: () => page.sync, announcer, create: () => boards.create() });
startTimeMenu(/** @type {HTMLDetailsElement} */ (byId('time')), range, { announcer, board: () => page.board?.id ?? null });
startWall(byId('board'));

if (session.may('read:alerts')) announceAlerts(subscriptions, announcer, () => page.board);
subscriptions.onUpdate((channel, data, timestamp) => {
  if (channel === 'metrics.revenue' && typeof data?.currency === 'string') currency = data.currency;
  freshness.record(channel, data, timestamp);
});
subscriptions.onStatus((status) => {
  const isLive = status.state === 'live';
  for (const card of grid.cards) {
    if (wasLive && !isLive) card.disconnected(status.aliveAt ?? now());
    if (isLive && !wasLive && status.aliveAt !== null) card.reconnected(now());
  }
  if (isLive && !wasLive) {
    page.clearProblem();
    void freshness.refresh();
  }
  wasLive = isLive;
  badge.announce(status);
  scheduler.request();
});
/** Draws every chart and sparkline again. @param {boolean} [clock] whether the page's clock was set */
function redrawAll(clock = false) {
  for (const card of grid.cards) card.rangeChanged(clock);
  linesDrawnAt = 0;
  scheduler.requestNow();
}
range.onChange(() => redrawAll());
if (session.may('read:alerts')) void context.limits.refresh();
onClockSet(async (moved) => {
  freshness.clockSet(moved);
  // Times before and after can't be compared: any response measures the difference to the server's clock again.
  await rest.request('api/me').catch(() => null);
  if (range.paused) range.pause(null); // the pause refers to the old clock
  redrawAll(true);
});
const repaint = () => {
  palette = readPalette();
  linesDrawnAt = 0;
  scheduler.request();
};
for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) matchMedia(query).addEventListener('change', repaint);
addEventListener('resize', repaint); // on a wall display the font size follows the width
setInterval(() => {
  checkClock();
  if (!document.hidden && session.may('read:alerts')) void context.limits.refresh();
  scheduler.request(); // ages, countdowns and the right edge of charts change with time
}, 1_000);
startTransportSwitch(byId('transport-switch'), (choice) => subscriptions.use(choice));
startPrinting({
  prepare: (on) => {
    palette = readPalette();
    for (const card of grid.cards) card.printing(on);
    scheduler.drawNow();
  },
  title: () => `${page.board?.name ?? ''} · ${range.name}`,
  end: () => range.end(now()),
});
