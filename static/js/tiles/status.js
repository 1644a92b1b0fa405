// @ts-check
/**
 * Status: the present state, a strip of states over the time range, and the share of time that was up. Numbers have their
 * history; texts and booleans, which the server does not record, have what this page has received.
 */

import { Track } from '../charts/track.js';
import { element, setText } from '../dom.js';
import { kindOf, valueAt } from '../fields.js';
import { clock } from '../format.js';
import { NO_DATA, empty } from './empty.js';
import { levelOf } from './level.js';
import { changesOf, segments, uptime } from './states.js';
import { textOf } from './state.js';

const CAPACITY = 1_200;
const SEGMENTS = 48;
const MOST_CHANGES = 500;
const NAMES = { none: 'No data', plain: 'Up', good: 'Up', warning: 'Warning', critical: 'Down' };

/** @type {import('./contract.js').Mount} */
export function mountStatus(tile, body, context) {
  const { channel, field, options = {} } = tile;
  if (channel === undefined || field === undefined) return empty(body, 'This tile has no channel yet. Edit it to choose one.');
  const { range } = context;
  const track = new Track(context, channel, [field], options.unit, CAPACITY);
  const value = element('span', 'status-value');
  const share = element('span', 'status-share');
  const head = element('p', 'status-head', value, share);
  const bars = Array.from({ length: SEGMENTS }, () => element('span', 'status-bar'));
  const strip = element('div', 'status-strip', ...bars);
  strip.setAttribute('role', 'img');
  const start = element('span');
  const ends = element('p', 'status-ends', start, element('span', '', 'now'));
  const note = element('p', 'tile-empty', NO_DATA);
  body.append(head, strip, ends, note);
  /** States of texts and booleans that the page has received. @type {import('./states.js').Change[]} */
  let seen = [];
  let silent = false;
  /** Newest value that was drawn. @type {any} */
  let drawn = null;

  /** Records the state of a text or a boolean. */
  const record = (/** @type {number} */ time, /** @type {import('./states.js').SegmentLevel} */ level) => {
    if (seen.at(-1)?.level === level) return;
    seen.push({ from: time, level });
    if (seen.length > MOST_CHANGES) seen.shift();
  };

  return {
    draw: ({ now, live, lines }) => {
      const current = valueAt(track.data, field);
      const isNumber = !Number.isNaN(kindOf(field, options.unit).number(current));
      const isKnown = track.data !== null && !silent && current !== undefined && current !== null;
      const limits = context.limits.of(channel, field, options);
      const level = isKnown ? levelOf(current, field, options, limits) : 'none';
      if (track.data !== null && !isNumber) record(now, level);
      if (!lines && !track.changed && drawn === track.data) return;
      track.changed = false;
      drawn = track.data;
      const to = range.end(now);
      const from = to - range.length;
      const changes = isNumber ? changesOf(track.view(to, live), (number) => levelOf(number, field, options, limits)) : seen;
      note.hidden = track.data !== null;
      for (const node of [head, strip, ends]) node.hidden = track.data === null;
      setText(value, level === 'none' ? NAMES.none : isNumber ? NAMES[level] : textOf(current, field, options.unit, context.currency()));
      head.dataset.level = level;
      const up = uptime(changes, from, to);
      setText(share, Number.isNaN(up) ? '' : `${percent(up)} over ${range.name}`);
      const worst = segments(changes, from, to, SEGMENTS);
      worst.forEach((one, index) => {
        const bar = bars[index];
        if (bar.dataset.level !== one) bar.dataset.level = one;
        if (lines && one !== 'none') bar.title = `${clock(from + (index * range.length) / SEGMENTS)}: ${NAMES[one].toLowerCase()}`;
      });
      setText(start, range.name);
      strip.setAttribute('aria-label', `${value.textContent}. ${share.textContent}`);
    },
    ...track.handlers,
    disconnected: (time) => {
      track.disconnected(time);
      if (seen.length > 0) record(time, 'none');
    },
    sourceStopped: (stopped) => {
      track.sourceStopped(stopped);
      if (silent !== stopped.has(field)) track.changed = true;
      silent = stopped.has(field);
    },
    printing: () => (track.changed = true),
    close: () => {
      seen = [];
      track.close();
    },
  };
}

/**
 * Formats a share so that only an uninterrupted one is 100 %.
 * @param {number} share
 */
export const percent = (share) => (share === 1 ? '100 %' : `${(Math.floor(share * 10_000) / 100).toFixed(2)} %`);
