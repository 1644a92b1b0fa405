// @ts-check
/** Drag and drop of a card with mouse, pen or finger: a mark shows the target, Escape cancels. */

/**
 * @param {HTMLElement} handle to drag
 * @param {HTMLElement} grid
 * @param {HTMLElement} card
 * @param {(before: string | null) => void} drop id of the tile before which it is dropped; null for the end
 */
export function drag(handle, grid, card, drop) {
  handle.addEventListener('pointerdown', (down) => {
    if (down.button !== 0) return;
    handle.setPointerCapture(down.pointerId);
    let moved = false;
    /** @type {HTMLElement | null} */
    let target = null;
    let after = false;

    const clear = () => grid.querySelectorAll('[data-drop]').forEach((node) => node.removeAttribute('data-drop'));
    const move = (/** @type {PointerEvent} */ event) => {
      if (!moved && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < 5) return;
      moved = true;
      card.dataset.dragged = 'true';
      clear();
      target = cardAt(grid, event.clientX, event.clientY);
      if (target === null || target === card) return;
      const box = target.getBoundingClientRect();
      // Tiles side by side are split vertically, full-width tiles horizontally.
      after = box.width < grid.clientWidth * 0.9 ? event.clientX > box.left + box.width / 2 : event.clientY > box.top + box.height / 2;
      target.dataset.drop = after ? 'after' : 'before';
    };
    const end = (/** @type {Event} */ event) => {
      handle.removeEventListener('pointermove', move);
      handle.removeEventListener('pointerup', end);
      handle.removeEventListener('pointercancel', end);
      removeEventListener('keydown', escape, true);
      clear();
      delete card.dataset.dragged;
      if (event.type !== 'pointerup' || !moved || target === null || target === card) return;
      const next = after ? target.nextElementSibling : target;
      if (next === card) return;
      drop(next instanceof HTMLElement ? (next.dataset.tile ?? null) : null);
    };
    const escape = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'Escape') end(event);
    };
    handle.addEventListener('pointermove', move);
    handle.addEventListener('pointerup', end);
    handle.addEventListener('pointercancel', end);
    addEventListener('keydown', escape, true);
  });
}

/**
 * @param {HTMLElement} grid
 * @param {number} x
 * @param {number} y
 * @returns {HTMLElement | null}
 */
function cardAt(grid, x, y) {
  for (const node of document.elementsFromPoint(x, y)) {
    const card = node.closest('.card');
    if (card instanceof HTMLElement && grid.contains(card)) return card;
  }
  return null;
}
