// @ts-check
/** Controls in the page's header: time range, pause, edit mode. */

import { byId, setText } from './dom.js';
import { now } from './time.js';

/**
 * @typedef {object} Parts
 * @property {import('./charts/range.js').Range} range
 * @property {import('./board/editor.js').Editor} editor
 * @property {() => import('./board/sync.js').BoardSync | null} sync
 * @property {import('./announcer.js').Announcer} announcer
 * @property {() => void} create creates a dashboard
 */

/** @param {Parts} parts */
export function startControls({ range, editor, sync, announcer, create }) {
  const lengths = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll('#range input')]);
  const pause = byId('pause');
  const edit = byId('edit');
  const bar = byId('edit-bar');
  const undo = /** @type {HTMLButtonElement} */ (byId('edit-undo'));
  const redo = /** @type {HTMLButtonElement} */ (byId('edit-redo'));

  const showRange = () => {
    for (const input of lengths) input.checked = input.value === range.name;
    pause.setAttribute('aria-pressed', String(range.paused));
    setText(pause, range.paused ? 'Resume' : 'Pause');
  };
  for (const input of lengths) {
    input.addEventListener('change', () => range.choose(input.value));
  }
  pause.addEventListener('click', () => {
    range.pause(range.paused ? null : now());
    announcer.announce(range.paused ? 'Charts paused.' : 'Charts resumed.');
  });
  range.onChange(showRange);
  showRange();

  editor.onToggle = (on) => {
    bar.hidden = !on;
    edit.setAttribute('aria-pressed', String(on));
    setText(edit, on ? 'Done' : 'Edit');
  };
  edit.addEventListener('click', () => editor.setEditing(!editor.on));
  byId('create').addEventListener('click', create);
  byId('edit-add').addEventListener('click', () => editor.add());
  undo.addEventListener('click', () => sync()?.undo());
  redo.addEventListener('click', () => sync()?.redo());
  addEventListener('keydown', (event) => {
    const typing = event.target instanceof Element && event.target.closest('input, textarea, select, dialog') !== null;
    if (!editor.on || typing || !(event.ctrlKey || event.metaKey)) return;
    const key = event.key.toLowerCase();
    if (key !== 'z' && key !== 'y') return;
    event.preventDefault();
    if (key === 'y' || event.shiftKey) sync()?.redo();
    else sync()?.undo();
  });
  editor.onChange = () => {
    undo.disabled = !(sync()?.canUndo ?? false);
    redo.disabled = !(sync()?.canRedo ?? false);
  };
}
