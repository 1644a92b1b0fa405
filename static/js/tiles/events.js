// @ts-check
/** Events of a channel, newest first: those in the log, then live ones. Only the newest are rendered. */

import { describe } from '../describe.js';
import { element } from '../dom.js';
import { clock } from '../format.js';
import { now } from '../time.js';

const MOST_LINES = 60;

/** @typedef {{event: string, data: any, time: number}} Line */

/** @type {import('./contract.js').Mount} */
export function mountEvents(tile, body, context) {
  const channel = tile.channel ?? '';
  const list = element('ol', 'events');
  const note = element('p', 'tile-empty', 'No events yet. They appear here as they happen.');
  const scroll = element('div', 'tile-scroll', note, list);
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'group');
  scroll.setAttribute('aria-label', tile.title);
  body.append(scroll);
  /** @type {Line[]} */
  let waiting = [];
  let closed = false;

  const timeOf = (/** @type {string | null | undefined} */ timestamp) => Date.parse(timestamp ?? '') - context.rest.skew || now();
  const wait = (/** @type {Line} */ line) => {
    waiting.push(line);
    if (waiting.length > MOST_LINES) waiting.shift();
    context.redraw();
  };
  const load = async () => {
    const answer = await context.rest.request(`api/metrics/${channel}`).catch(() => null);
    if (closed || !Array.isArray(answer?.data?.events)) return;
    list.replaceChildren();
    waiting = [];
    for (const { event, data, timestamp } of answer.data.events.slice(-MOST_LINES)) {
      wait({ event, data: data ?? {}, time: timeOf(timestamp) });
    }
  };
  const end = context.subscriptions.subscribe(channel, {
    onUpdate: ({ event, data, timestamp }) => event !== null && wait({ event, data, time: timeOf(timestamp) }),
    onGap: () => void load(),
  });
  void load();

  return {
    draw: () => {
      note.hidden = waiting.length > 0 || list.children.length > 0;
      if (waiting.length === 0) return;
      list.prepend(...waiting.reverse().map((line) => item(channel, line, context.currency())));
      waiting = [];
      while (list.children.length > MOST_LINES) list.lastElementChild?.remove();
    },
    close: () => {
      closed = true;
      end();
    },
  };
}

/**
 * @param {string} channel
 * @param {Line} line
 * @param {string} currency
 */
function item(channel, { event, data, time }, currency) {
  const { title, detail, level } = describe(channel, event, data, currency);
  const when = element('time', 'event-time', clock(time));
  when.dateTime = new Date(time).toISOString();
  const node = element('li', `event event-${level}`, element('p', 'event-head', element('span', 'event-title', title), when));
  if (detail !== '') node.append(element('p', 'event-detail', detail));
  return node;
}
