// @ts-check
/** Page of the connection test: starts automatically, shows the result of each check, and then a summary. */

import { address } from '../address.js';
import { byId, element, setText } from '../dom.js';
import { storedToken } from '../token.js';
import { examine } from './examine.js';
import { VERDICTS, WORDS, asText, remediesOf, summary, worst } from './report.js';

/** @typedef {import('./report.js').Check} Check */
/** @typedef {import('./report.js').Remedy} Remedy */

/** Longer than the 60 s after which common proxies cut. */
const IDLE_MS = 65_000;

/** Order in which results are shown. */
const ORDER = [
  'reach', 'websocket', 'events', 'polling', 'long_poll', 'push', 'address', 'proxy', 'idle_events', 'idle_websocket',
];

/** Shown results. @type {{checks: Check[], table: Record<string, Remedy>, busy: boolean}} */
const state = { checks: [], table: {}, busy: false };

function announce(/** @type {string} */ text) {
  const announcer = byId('announcer');
  // The same text again has to be announced, too.
  announcer.textContent = '';
  requestAnimationFrame(() => setText(announcer, text));
}

/** @param {Check} check */
function line(check) {
  const head = element(
    'p', 'check-head',
    element('span', `badge badge-${check.verdict}`, WORDS[check.verdict]),
    element('strong', 'check-name', check.name),
    element('span', 'check-headline', check.headline),
  );
  const item = element('li', `check check-${check.verdict}`, head);
  item.id = `check-${check.id}`;
  if (check.detail) item.append(element('p', 'soft', check.detail));
  for (const { advice, nginx, setting } of remediesOf(check, state.table)) {
    item.append(element('p', '', advice));
    const text = nginx || setting;
    if (text === '') continue;
    const where = nginx === '' ? 'tricast.toml' : 'nginx';
    const code = element('pre', 'remedy', element('code', '', nginx === '' ? setting : nginx.replaceAll('; ', ';\n')));
    code.tabIndex = 0;
    code.setAttribute('role', 'group');
    code.setAttribute('aria-label', `For ${where}, about ${check.name}`);
    item.append(element('p', 'where', where), code);
  }
  return item;
}

/** Renders a text with inline `code`. */
function withCode(/** @type {string} */ text) {
  return text.split('`').map((part, n) => (n % 2 === 1 ? element('code', '', part) : part));
}

function draw() {
  state.checks.sort((a, b) => ORDER.indexOf(a.id) - ORDER.indexOf(b.id));
  byId('checks').replaceChildren(...state.checks.map(line));
  byId('report').hidden = state.checks.length === 0;
  const section = byId('verdict');
  section.hidden = false;
  const verdict = state.busy ? 'busy' : worst(state.checks);
  for (const name of [...VERDICTS, 'busy']) section.classList.toggle(`verdict-${name}`, name === verdict);
  for (const id of ['again', 'silent']) /** @type {HTMLButtonElement} */ (byId(id)).setAttribute('aria-disabled', String(state.busy));
  byId('copy').setAttribute('aria-disabled', String(state.busy));
}

/** @param {number} idle ms */
async function run(idle) {
  if (state.busy) return;
  Object.assign(state, { checks: [], busy: true });
  // A cookie is sent automatically; without one the tab may have a token from the dashboard.
  const token = /** @type {HTMLInputElement} */ (byId('token')).value.trim() || (storedToken() ?? '');
  setText(byId('summary'), idle > 0 ? 'Testing; idle connections are held for 65 s.' : 'Testing.');
  draw();
  try {
    state.table = await examine({ token, idle }, (check) => {
      state.checks.push(check);
      draw();
    });
  } finally {
    state.busy = false;
    byId('summary').replaceChildren(...withCode(summary(state.checks, state.table)));
    draw();
  }
}

async function copy() {
  if (state.busy) return;
  try {
    await navigator.clipboard.writeText(asText(address('./').href, state.checks, state.table));
    announce('Copied');
  } catch {
    announce('This page may not write to the clipboard');
  }
}

byId('controls').hidden = false;
byId('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  run(0);
});
byId('silent').addEventListener('click', () => run(IDLE_MS));
byId('copy').addEventListener('click', copy);
run(0);
