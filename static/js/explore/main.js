// @ts-check
/** The page `/explore`: every channel that the reader may read, live, with search, and a button that pins it to a dashboard. */

import { Announcer } from '../announcer.js';
import { Badge } from '../badge.js';
import { readPalette } from '../charts/palette.js';
import { byId, element, setText } from '../dom.js';
import { firstNumber } from '../first-number.js';
import { FrameScheduler } from '../frame-scheduler.js';
import { startMenus } from '../menus.js';
import { Rest } from '../rest.js';
import { Session } from '../session.js';
import { Subscriptions } from '../subscriptions.js';
import { checkClock } from '../time.js';
import { toast } from '../toast.js';
import { choiceOf, startTransportSwitch } from '../transport-switch.js';
import { Catalog } from './catalog.js';
import { showDetails } from './details.js';
import { Feed } from './feed.js';
import { Past } from './past.js';
import { pinRow } from './pin.js';
import { RowView } from './row.js';
import { VirtualList } from './virtual-list.js';

/** @typedef {import('./catalog.js').Row} Row */

startMenus();
const rest = new Rest();
const session = new Session(rest);
await session.start();

const announcer = new Announcer();
const subscriptions = new Subscriptions(choiceOf(location.search), session.required ? (refused) => session.provideToken(refused) : undefined);
rest.onResponse = () => subscriptions.serverResponded();
const badge = new Badge(announcer, () => subscriptions.retry());
startTransportSwitch(byId('transport-switch'), (choice) => subscriptions.use(choice));

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const search = /** @type {HTMLInputElement} */ (byId('search'));
const kinds = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll('#show input')]);
const catalog = new Catalog();
let palette = readPalette();
let currency = '';
let linesDrawnAt = 0;
/** Rows have to be made again: the filter has changed. */
let filtered = true;
let structure = -1;
let visible = '';

const view = () => /** @type {'all'} */ (kinds.find((input) => input.checked)?.value ?? 'all');
const actions = {
  open: (/** @type {Row} */ { channel }) => showDetails(channel, subscriptions, session.required),
  pin: session.may('write:dashboards') ? pin : null,
};
const list = new VirtualList(byId('explore-rows'), () => /** @type {any} */ (new RowView(actions)), () => scheduler.requestNow());

const scheduler = new FrameScheduler((now) => {
  const isLive = subscriptions.status.state === 'live';
  const lines = now - linesDrawnAt >= (calm.matches ? 5_000 : 1_000) - 50 || now < linesDrawnAt || filtered;
  if (lines) linesDrawnAt = now;
  if (filtered || structure !== catalog.structure) arrange();
  const rows = /** @type {Row[]} */ (list.place());
  byId('main').dataset.fresh = String(isLive);
  const frame = { now, live: isLive, lines, calm: calm.matches, palette };
  for (const row of rows) /** @type {any} */ (list.view(row.key)).draw(frame, currency);
  badge.draw(subscriptions.status, now);
  watch(new Set(rows.map(({ channel }) => channel.name)));
});

/** Makes the rows that match the filter. */
function arrange() {
  filtered = false;
  structure = catalog.structure;
  const rows = catalog.rows({ search: search.value, show: view() });
  list.set(rows);
  const channels = new Set(rows.map(({ channel }) => channel.name)).size;
  setText(byId('count'), channels === catalog.size ? `${channels} channels` : `${channels} of ${catalog.size} channels`);
  const nothing = byId('nothing');
  nothing.hidden = rows.length > 0 || !feed.listed;
  setText(nothing, search.value === '' ? 'No channels of this kind yet.' : `No channel or field matches “${search.value}”.`);
  byId('explore-table').hidden = rows.length === 0;
  byId('first').hidden = !feed.listed || catalog.pushed > 0;
}

/**
 * Receives the values of the visible channels, and their history once.
 * @param {Set<string>} names
 */
function watch(names) {
  const key = [...names].join();
  if (key === visible && !(key === '')) return past.show(names);
  visible = key;
  feed.show(names);
  past.show(names);
}

/** @param {Row} row */
async function pin(row) {
  const board = await pinRow(row, rest);
  if (board === null) return;
  const link = element('a', 'toast-link', 'Open');
  link.href = `./?board=${encodeURIComponent(board.id)}`;
  toast(`Pinned to “${board.name}”.`, false, link);
  announcer.announce(`Pinned to ${board.name}.`);
}

const feed = new Feed({ rest, subscriptions }, catalog, {
  metricsOnly: false,
  mostAll: Infinity,
  changed: () => {
    setText(byId('explore-problem'), feed.problem);
    filtered ||= !wasListed && feed.listed;
    wasListed = feed.listed;
    scheduler.request();
  },
});
let wasListed = false;
const past = new Past(rest, catalog, () => {
  linesDrawnAt = 0;
  scheduler.request();
});
byId('first').append(firstNumber({ rest, required: session.required, mayPush: session.may('write:metrics') }));

search.value = new URLSearchParams(location.search).get('q') ?? '';
search.addEventListener('input', () => {
  const url = new URL(location.href);
  if (search.value === '') url.searchParams.delete('q');
  else url.searchParams.set('q', search.value);
  history.replaceState(null, '', url.href);
  filter();
});
for (const input of kinds) input.addEventListener('change', filter);
function filter() {
  filtered = true;
  scheduler.requestNow();
  announcer.announce(`${byId('count').textContent}`);
}
addEventListener('keydown', (event) => {
  const typing = event.target instanceof Element && event.target.closest('input, textarea, select, dialog') !== null;
  if (event.key !== '/' || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
});
subscriptions.onUpdate((channel, data) => {
  if (channel === 'metrics.revenue' && typeof data?.currency === 'string') currency = data.currency;
});
subscriptions.onStatus((status) => {
  badge.announce(status);
  scheduler.request();
});
const repaint = () => {
  palette = readPalette();
  linesDrawnAt = 0;
  scheduler.request();
};
for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) matchMedia(query).addEventListener('change', repaint);
setInterval(() => {
  checkClock();
  scheduler.request(); // ages change with time
}, 1_000);
scheduler.request();
