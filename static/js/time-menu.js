// @ts-check
/** Controls of the time range beside its buttons: earlier and later, the menu with further ranges and a comparison, and the link. */

import { LONG_LENGTHS } from './charts/range.js';
import { linkTo } from './charts/range-address.js';
import { lengthText, parseLength } from './charts/length.js';
import { copyText } from './clipboard.js';
import { byId, element, setText } from './dom.js';
import { about } from './format.js';
import { now } from './time.js';
import { toast } from './toast.js';

/** Part of the range by which the arrows move. */
const STEP = 0.5;

/**
 * @param {HTMLDetailsElement} menu
 * @param {import('./charts/range.js').Range} range
 * @param {{announcer: import('./announcer.js').Announcer, board: () => string | null}} parts `board`: id of the open dashboard
 */
export function startTimeMenu(menu, range, { announcer, board }) {
  const compare = /** @type {HTMLSelectElement} */ (byId('time-compare'));
  const last = /** @type {HTMLFormElement} */ (byId('time-last'));
  const between = /** @type {HTMLFormElement} */ (byId('time-between'));
  const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));
  const label = byId('time-label');
  const later = /** @type {HTMLButtonElement} */ (byId('later'));

  const show = () => {
    const { from, to } = spanOf(range);
    setText(label, `${range.paused ? spanText(from, to) : `Last ${range.name}`}${range.comparedTo === null ? '' : ` · vs. ${range.comparedTo}`}`);
    menu.dataset.fixed = String(range.paused);
    later.disabled = !range.paused;
    compare.value = range.state.compare ?? '';
  };
  const close = () => {
    menu.open = false;
    menu.querySelector('summary')?.focus();
  };
  byId('time-lengths').append(...LONG_LENGTHS.map((name) => {
    const button = element('button', 'button button-small', name);
    button.type = 'button';
    button.setAttribute('aria-label', `Last ${about(parseLength(name) / 1_000)}`);
    button.addEventListener('click', () => {
      range.choose(name);
      close();
    });
    return button;
  }));
  byId('earlier').addEventListener('click', () => range.move(-STEP, now()));
  later.addEventListener('click', () => range.move(STEP, now()));
  byId('zoom-out').addEventListener('click', () => range.zoom(-1, now()));
  compare.addEventListener('change', () => range.compare(compare.value || null));

  last.addEventListener('submit', (event) => {
    event.preventDefault();
    const count = field('time-count');
    const length = parseLength(`${count.value}${field('time-unit').value}`);
    count.setCustomValidity(Number.isNaN(length) ? 'Enter a time from 5 seconds to 10 years.' : '');
    if (!last.reportValidity()) return count.setCustomValidity('');
    range.choose(lengthText(length));
    close();
  });
  between.addEventListener('submit', (event) => {
    event.preventDefault();
    const [from, to] = ['time-from', 'time-to'].map((id) => Date.parse(field(id).value));
    const wrong = !(from < now()) ? 'The beginning has to be before now.' : !(to > from) ? 'The end has to be after the beginning.' : '';
    field('time-to').setCustomValidity(wrong);
    if (!between.reportValidity()) return field('time-to').setCustomValidity('');
    range.show(from, to, now());
    close();
  });
  menu.addEventListener('toggle', () => {
    if (!menu.open) return;
    const { from, to } = spanOf(range);
    field('time-from').value = localText(from);
    field('time-to').value = localText(to);
  });
  byId('copy-link').addEventListener('click', async () => {
    const link = linkTo(range, board());
    const copied = await copyText(link);
    toast(copied ? 'Link copied.' : `Copy this link: ${link}`, false);
    announcer.announce(copied ? 'Link copied.' : 'The link could not be copied.');
  });
  range.onChange(show);
  show();
}

/** @param {import('./charts/range.js').Range} range */
function spanOf(range) {
  const to = range.end(now());
  return { from: to - range.length, to };
}

/**
 * @param {number} from ms
 * @param {number} to ms
 */
function spanText(from, to) {
  const isToday = new Date(from).toDateString() === new Date(now()).toDateString();
  const hour = /** @type {const} */ ('2-digit');
  const length = to - from;
  const clock = length > 7 * 86_400_000 ? {} : { hour, minute: hour, ...(length < 600_000 ? { second: hour } : {}) };
  const year = new Date(from).getFullYear() === new Date(now()).getFullYear() ? {} : { year: /** @type {const} */ ('numeric') };
  const day = isToday && length <= 86_400_000 ? {} : { day: /** @type {const} */ ('numeric'), month: /** @type {const} */ ('short'), ...year };
  return new Intl.DateTimeFormat(undefined, { ...day, ...clock }).formatRange(from, to);
}

/**
 * Returns the value of a local date and time input.
 * @param {number} time ms
 */
function localText(time) {
  const local = new Date(time - new Date(time).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}
