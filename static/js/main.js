// @ts-check
/**
 * The dashboard: plain ES modules, no build step, one vendored library (uPlot, which only charts/plot.js knows).
 *
 *     session      who is looking; the sign-in panel       rest       questions over HTTP, refusals as errors
 *     live         what is followed, by whom, over the client library in ../client (transports, resuming, trying again)
 *     page         which board is shown                    controls   range of time, pause, edit mode, wall display
 *     board/       model (steps of an edit, pure) > sync (If-Match, 412, undo) > grid > card;
 *                  editor with drag and dialog; boards (menu) with prompt
 *     tiles/       one module per face, all with the surface of contract.js:
 *                  number  chart  fields  orders  events  alerts  text
 *     charts/      ring (values over time) > plot (uPlot) and sparkline; history, range (window, pause), ink (colours)
 *     fields       how the fields of a channel read; format (values to text); describe (event to text)
 *     badge        the state of the connection; chooser (the switch between transports)
 *     alarm        alerts are said;  announcer  the live regions; toast (a word at the foot); menus
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
import { Live } from './live.js';
import { startMenus } from './menus.js';
import { Page } from './page.js';
import { Rest } from './rest.js';
import { Session } from './session.js';
import { toast } from './toast.js';

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
const live = new Live(choiceOf(location.search), session.token === null ? undefined : (refused) => session.give(refused));
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
  const lines = now - linesDrawnAt >= linesEveryMs() - 50 || isLive !== wasDrawnLive;
  if (lines) linesDrawnAt = now;
  wasDrawnLive = isLive;
  const age = isLive || status.aliveAt === null ? '' : `${span((now - status.aliveAt) / 1000)} ago`;
  main.dataset.fresh = String(age === '');
  const view = { now, live: isLive, lines, calm: calm.matches, ink };
  for (const card of grid.cards) card.draw(view, age);
  badge.draw(status, now);
});

/** @type {import('./tiles/contract.js').Context} */
const context = {
  live,
  rest,
  range,
  announcer,
  currency: () => currency,
  mayWriteOrders: () => session.may('write:orders'),
  mayAcknowledge: () => session.may('read:alerts') && session.may('write:dashboards'),
  redraw: () => frame.request(),
  hurry: () => frame.hurry(),
};
const grid = new Grid(byId('board'), context, (channel) => kinds.get(channel));
const editor = new Editor(grid, rest, announcer);
const badge = new Badge(announcer, () => live.retry());
const page = new Page(rest, live, grid, editor, announcer, kindsKnown);
const boards = new Boards(/** @type {HTMLDetailsElement} */ (byId('boards')), rest, {
  open: (id) => page.open(id),
  rename: (name) => page.sync?.change({ kind: 'rename', name }),
  current: () => page.board,
  tell: toast,
});
boards.allow(session.may('write:dashboards'));
byId('edit').hidden = !session.may('write:dashboards');
startControls({ range, editor, sync: () => page.sync, announcer });

if (session.may('read:alerts')) watchAlerts(live, announcer, () => page.board);
live.onNews((channel, data) => {
  if (channel === 'metrics.revenue' && typeof data.currency === 'string') currency = data.currency;
});
live.onStatus((status) => {
  const isLive = status.state === 'live';
  const now = Date.now();
  for (const card of grid.cards) {
    if (wasLive && !isLive) card.lose(status.aliveAt ?? now);
    if (isLive && !wasLive && status.aliveAt !== null) card.regain(now);
  }
  wasLive = isLive;
  badge.announce(status);
  frame.request();
});
range.onChange(() => {
  for (const card of grid.cards) card.rescale();
  linesDrawnAt = 0;
  frame.hurry();
});
const repaint = () => {
  ink = readInk();
  linesDrawnAt = 0;
  frame.request();
};
for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) matchMedia(query).addEventListener('change', repaint);
addEventListener('resize', repaint); // the size of letters follows the width of a wall
setInterval(() => frame.request(), 1_000); // ages, countdowns and the lines' right edge move without news
startChooser(byId('chooser'), (choice) => live.use(choice));
