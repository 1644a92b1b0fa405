// @ts-check
/**
 * The dashboard: plain ES modules, no build step, and one vendored library (uPlot, which only charts/plot.js knows).
 *
 *     session      who is looking; the sign-in panel       token      where the browser takes no cookie
 *     rest         questions over HTTP, refusals as errors
 *     live         what is followed, by whom, over the client library in ../client (transports, resuming, trying again)
 *     time         the page's clock, which moves steadily   freshness  how old values are, whether their source has stopped
 *     page         which board is shown                    controls   range of time, pause, edit mode
 *     wall         the display on a wall                   print      the page on paper
 *     board/       model (steps of an edit, pure) > sync (If-Match, 412, undo) > grid > card;
 *                  editor with drag and dialog; boards (menu) with prompt
 *     tiles/       one module per face, all with the surface of contract.js:
 *                  number  chart  fields  orders  events  alerts  text;  problem (what went wrong in one)
 *     charts/      track (history, then live) over ring (values over time); history; plot (uPlot) and sparkline;
 *                  range (window, pause), ink (colours)
 *     fields       how the fields of a channel read; format (values to text); describe (event to text)
 *     badge        the state of the connection; chooser (the switch between transports)
 *     alarm        alerts are said;  announcer  the live regions; toast (a message at the foot); menus
 *     dom          building without markup strings; frame (one redraw per frame)
 *
 * Values flow one way: the library hears them, live hands them to whoever follows the channel, tiles remember them, and
 * the next animation frame draws what is newest. Tiles know no transport; transports know no page.
 */

import { watchAlerts } from './alarm.js';
import { Announcer } from './announcer.js';
import { Badge } from './badge.js';
import { Boards } from './board/boards.js';
import { Editor } from './board/editor.js';
import { Grid } from './board/grid.js';
import { readInk } from './charts/ink.js';
import { Range } from './charts/range.js';
import { choiceOf, startChooser } from './chooser.js';
import { startControls } from './controls.js';
import { byId } from './dom.js';
import { span } from './format.js';
import { Frame } from './frame.js';
import { Freshness } from './freshness.js';
import { Live } from './live.js';
import { startMenus } from './menus.js';
import { Page } from './page.js';
import { startPrinting } from './print.js';
import { Rest } from './rest.js';
import { Session } from './session.js';
import { checkClock, now, onClockSet } from './time.js';
import { toast } from './toast.js';
import { startWall } from './wall.js';

const calm = matchMedia('(prefers-reduced-motion: reduce)');
/** Sparklines move on once a second, or only now and then for those who asked for less motion. */
const linesEveryMs = () => (calm.matches ? 5_000 : 1_000);

startMenus();
const rest = new Rest();
const session = new Session(rest);
// Asked for beside the question of who is looking, for most servers want no token; if this one does it is asked again.
const early = rest.ask('api/channels').catch(() => null);
await session.begin();

const announcer = new Announcer();
const live = new Live(choiceOf(location.search), session.needed ? (refused) => session.give(refused) : undefined);
rest.onAnswer = () => live.answered();
const range = new Range();
const main = byId('main');
/** @type {Map<string, string>} */
const kinds = new Map();
const kindsKnown = (async () => {
  const answer = (await early) ?? (await rest.ask('api/channels').catch(() => null));
  for (const { channel, kind } of answer?.data?.channels ?? []) kinds.set(channel, kind);
})();

let currency = '';
let ink = readInk();
let linesDrawnAt = 0;
let wasLive = false;
let wasDrawnLive = false;

const frame = new Frame((now) => {
  const { status } = live;
  const isLive = status.state === 'live';
  const lines = now - linesDrawnAt >= linesEveryMs() - 50 || now < linesDrawnAt || isLive !== wasDrawnLive;
  if (lines) linesDrawnAt = now;
  wasDrawnLive = isLive;
  const age = isLive || status.aliveAt === null ? '' : `${span((now - status.aliveAt) / 1000)} ago`;
  main.dataset.fresh = String(age === '');
  const view = { now, live: isLive, lines, calm: calm.matches, ink };
  for (const card of grid.cards) card.draw(view, age);
  badge.draw(status, now);
});

/**
 * What reading a channel takes; the numbers of the business are the orders'.
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
  live,
  rest,
  range,
  announcer,
  currency: () => currency,
  followCurrency: () => (denied('metrics.revenue') === '' ? live.subscribe('metrics.revenue', { take: () => {} }) : () => {}),
  mayWriteOrders: () => session.may('write:orders'),
  mayAcknowledge: () => session.may('read:alerts') && session.may('write:dashboards'),
  denied,
  age: (tile) => freshness.of(tile),
  redraw: () => frame.request(),
  hurry: () => frame.hurry(),
};
const grid = new Grid(byId('board'), context, (channel) => kinds.get(channel));
const freshness = new Freshness(rest, () => [...grid.cards].map(({ tile }) => tile), () => frame.request());
const editor = new Editor(grid, rest, announcer);
const badge = new Badge(announcer, () => live.retry());
const page = new Page(rest, live, grid, editor, announcer, kindsKnown, session.may('write:dashboards'));
const boards = new Boards(/** @type {HTMLDetailsElement} */ (byId('boards')), rest, {
  open: (id) => page.open(id),
  rename: (name) => page.sync?.change({ kind: 'rename', name }),
  current: () => page.board,
  tell: toast,
});
boards.allow(session.may('write:dashboards'));
startControls({ range, editor, sync: () => page.sync, announcer, create: () => boards.make() });
startWall(byId('board'));

if (session.may('read:alerts')) watchAlerts(live, announcer, () => page.board);
live.onNews((channel, data, timestamp) => {
  if (channel === 'metrics.revenue' && typeof data.currency === 'string') currency = data.currency;
  freshness.hear(channel, timestamp);
});
live.onStatus((status) => {
  const isLive = status.state === 'live';
  for (const card of grid.cards) {
    if (wasLive && !isLive) card.lose(status.aliveAt ?? now());
    if (isLive && !wasLive && status.aliveAt !== null) card.regain(now());
  }
  if (isLive && !wasLive) {
    page.settle();
    void freshness.ask();
  }
  wasLive = isLive;
  badge.announce(status);
  frame.request();
});
let length = range.length;
range.onChange(() => {
  for (const card of grid.cards) card.rescale(range.length !== length);
  length = range.length;
  linesDrawnAt = 0;
  frame.hurry();
});
onClockSet(async () => {
  // Times on our clock before and after can't be compared: its difference to the server's is measured anew, by any answer.
  await rest.ask('api/me').catch(() => null);
  if (range.paused) range.pause(null); // at a time of the clock before
  for (const card of grid.cards) card.rescale(true);
  freshness.forget();
  frame.hurry();
});
const repaint = () => {
  ink = readInk();
  linesDrawnAt = 0;
  frame.request();
};
for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) matchMedia(query).addEventListener('change', repaint);
addEventListener('resize', repaint); // the size of letters follows the width of a wall
setInterval(() => {
  checkClock();
  frame.request(); // ages, countdowns and the lines' right edge move without news
}, 1_000);
startChooser(byId('chooser'), (choice) => live.use(choice));
startPrinting({
  prepare: (on) => {
    ink = readInk();
    for (const card of grid.cards) card.print(on);
    frame.now();
  },
  title: () => `${page.board?.name ?? ''} · ${range.name}`,
  end: () => range.end(now()),
});
