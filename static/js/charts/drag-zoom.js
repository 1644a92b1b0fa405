// @ts-check
/** Selecting a time range in a chart with the pointer. By touch a drag scrolls the page, so the buttons and the menu zoom there. */

import { element } from '../dom.js';

/** Shorter drags are clicks, CSS pixels. */
const LEAST = 6;

/**
 * @param {HTMLElement} host of the plot
 * @param {import('./plot.js').Plot} plot
 * @param {(from: number, to: number) => void} zoom
 * @returns {() => boolean} whether the reader is selecting
 */
export function dragToZoom(host, plot, zoom) {
  const box = element('div', 'chart-select');
  box.hidden = true;
  host.append(box);
  let selecting = false;

  host.addEventListener('pointerdown', (down) => {
    const start = plot.timeAt(down.clientX);
    const { area } = plot;
    if (down.button !== 0 || down.pointerType === 'touch' || down.ctrlKey || down.shiftKey || Number.isNaN(start) || area === null) return;
    const { left } = host.getBoundingClientRect();
    const within = (/** @type {number} */ x) => Math.min(area.left + area.width, Math.max(area.left, x - left));
    const from = within(down.clientX);

    const move = (/** @type {PointerEvent} */ event) => {
      const to = within(event.clientX);
      selecting ||= Math.abs(to - from) >= LEAST;
      if (!selecting) return;
      if (!host.hasPointerCapture(down.pointerId)) host.setPointerCapture(down.pointerId);
      box.hidden = false;
      box.style.left = `${Math.min(from, to)}px`;
      box.style.width = `${Math.abs(to - from)}px`;
      box.style.top = `${area.top}px`;
      box.style.height = `${area.height}px`;
    };
    const end = (/** @type {Event} */ event) => {
      for (const name of ['pointermove', 'pointerup', 'pointercancel']) host.removeEventListener(name, /** @type {EventListener} */ (name === 'pointermove' ? move : end));
      removeEventListener('keydown', escape);
      box.hidden = true;
      const wasSelecting = selecting;
      selecting = false;
      if (!wasSelecting || !(event instanceof PointerEvent) || event.type !== 'pointerup') return;
      const stop = plot.timeAt(event.clientX, true);
      if (stop !== start) zoom(Math.min(start, stop), Math.max(start, stop));
    };
    const escape = (/** @type {KeyboardEvent} */ event) => event.key === 'Escape' && end(event);
    host.addEventListener('pointermove', move);
    host.addEventListener('pointerup', end);
    host.addEventListener('pointercancel', end);
    addEventListener('keydown', escape);
  });
  return () => selecting;
}
