// @ts-check
/** The page's own switches: range of time, pause, edit mode, wall display. */

import { byId, setText } from './dom.js';

/**
 * @typedef {object} Parts
 * @property {import('./charts/range.js').Range} range
 * @property {import('./board/editor.js').Editor} editor
 * @property {() => import('./board/sync.js').BoardSync | null} sync
 * @property {import('./announcer.js').Announcer} announcer
 */

/** @param {Parts} parts */
export function startControls({ range, editor, sync, announcer }) {
  const lengths = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll('#range input')]);
  const pause = byId('pause');
  const edit = byId('edit');
  const bar = byId('edit-bar');
  const undo = /** @type {HTMLButtonElement} */ (byId('edit-undo'));

  const showRange = () => {
    for (const input of lengths) input.checked = input.value === range.name;
    pause.setAttribute('aria-pressed', String(range.paused));
    setText(pause, range.paused ? 'Resume' : 'Pause');
  };
  for (const input of lengths) {
    input.addEventListener('change', () => {
      if (range.paused) range.pause(null);
      range.choose(input.value);
    });
  }
  pause.addEventListener('click', () => {
    range.pause(range.paused ? null : Date.now());
    announcer.say(range.paused ? 'Charts paused.' : 'Charts go on.');
  });
  range.onChange(showRange);
  showRange();

  const turn = (/** @type {boolean} */ on) => {
    editor.turn(on);
    bar.hidden = !on;
    edit.setAttribute('aria-pressed', String(on));
    setText(edit, on ? 'Done' : 'Edit');
  };
  edit.addEventListener('click', () => turn(!editor.on));
  byId('edit-add').addEventListener('click', () => editor.add());
  undo.addEventListener('click', () => sync()?.undo());
  addEventListener('keydown', (event) => {
    const typing = event.target instanceof Element && event.target.closest('input, textarea, select, dialog') !== null;
    if (editor.on && !typing && event.key.toLowerCase() === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey) {
      event.preventDefault();
      sync()?.undo();
    }
  });
  editor.onChange = () => (undo.disabled = !(sync()?.canUndo ?? false));

  const wall = new URLSearchParams(location.search).get('view') === 'wall';
  document.documentElement.dataset.view = wall ? 'wall' : 'desk';
  if (wall) {
    keepAwake();
    fill(byId('board'));
  }
}

/**
 * On a wall the rows are as high as makes the board fill the screen, for nobody scrolls there.
 * @param {HTMLElement} board
 */
function fill(board) {
  const LEAST_PX = 40;
  const fit = () => {
    board.style.removeProperty('--row');
    const style = getComputedStyle(board);
    const rows = style.gridTemplateRows.split(' ').length;
    const gap = Number.parseFloat(style.rowGap) || 0;
    const below = Number.parseFloat(getComputedStyle(byId('main')).paddingBottom) || 0;
    const height = (innerHeight - (board.getBoundingClientRect().top + scrollY) - below + gap) / rows - gap;
    if (height >= LEAST_PX) board.style.setProperty('--row', `${Math.floor(height)}px`);
  };
  new MutationObserver(fit).observe(board, { childList: true });
  addEventListener('resize', fit);
}

/** A wall display shall not go dark; browsers that can't hold it are left alone. */
function keepAwake() {
  const hold = () => {
    if (!document.hidden) navigator.wakeLock?.request('screen').catch(() => {});
  };
  document.addEventListener('visibilitychange', hold);
  hold();
}
