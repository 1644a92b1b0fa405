// @ts-check
/**
 * The dashboard: plain ES modules, no build step, no dependency.
 *
 *     transport/   one module per way to the server, all with the surface of contract.js:
 *                  websocket.js  sse.js  poll.js (long poll and poll)  index.js (the order of preference)
 *     connection   which transport, when to try again, live / stale / offline; uses
 *                  position (cursor, nothing twice)  liveness (silence)  backoff (jitter)  address (relative URLs)
 *     catalog      which fields of which channels are shown
 *     board        panel > tile > series + sparkline; custom (panels that come and go)
 *     feed         the list of events; describe (event to text)
 *     badge        the state of the connection; chooser (the switch between transports)
 *     format       values to text; dom (building without markup strings); frame (one redraw per frame)
 *
 * Values flow one way: a transport hears them, the connection sorts them, board and feed remember them, and the next
 * animation frame draws what is newest. Board, feed and badge know no transport; transports know no page.
 */

import { Badge } from './badge.js';
import { Board } from './board.js';
import { CHANNELS } from './catalog.js';
import { startChooser } from './chooser.js';
import { Connection } from './connection.js';
import { byId } from './dom.js';
import { Feed } from './feed.js';
import { span } from './format.js';
import { Frame } from './frame.js';
import { readInk } from './sparkline.js';

const openedAt = Date.now();
const calm = matchMedia('(prefers-reduced-motion: reduce)');
/** Sparklines move on once a second, or only now and then for those who asked for less motion. */
const linesEveryMs = () => (calm.matches ? 5_000 : 1_000);

const board = new Board(byId('standard'), byId('custom'));
const feed = new Feed({ list: byId('events'), empty: byId('events-empty'), counter: byId('events-count') });
const badge = new Badge(() => connection.retryNow());
const main = byId('main');

let ink = readInk();
let linesDrawnAt = 0;
let wasLive = false;
let wasDrawnLive = false;

const frame = new Frame((now) => {
  const { status } = connection;
  const live = status.state === 'live';
  const lines = now - linesDrawnAt >= linesEveryMs() - 50 || live !== wasDrawnLive;
  if (lines) linesDrawnAt = now;
  wasDrawnLive = live;
  const age = live || status.aliveAt === null ? '' : `${span((now - status.aliveAt) / 1000)} ago`;
  main.dataset.fresh = String(age === '');
  board.draw({ now, openedAt, live, lines, age, currency: board.currency, ink });
  feed.draw();
  badge.draw(status, now);
});

const connection = new Connection(CHANNELS, {
  onSnapshot: (channel, data) => {
    board.take(channel, data, Date.now());
    frame.request();
  },
  onEvent: (channel, event, data, timestamp) => {
    feed.add(channel, event, data, timestamp, board.currency);
    frame.request();
  },
  onGap: () => {
    feed.addGap();
    frame.request();
  },
  onState: (status) => {
    const live = status.state === 'live';
    if (wasLive && !live) board.lose(status.aliveAt ?? Date.now());
    if (live && !wasLive) board.regain(Date.now());
    wasLive = live;
    badge.announce(status);
    frame.request();
  },
});

for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
  matchMedia(query).addEventListener('change', () => {
    ink = readInk();
    linesDrawnAt = 0;
    frame.request();
  });
}
setInterval(() => frame.request(), 1_000); // ages, countdowns and the lines' right edge move without news
startChooser(byId('chooser'), (choice) => connection.use(choice));
