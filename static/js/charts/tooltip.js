// @ts-check
/**
 * The one tooltip of the page: values at the pointer, the highest first. It is beside the pointer and never takes it. Screen
 * readers get the same values from the announcer.
 */

import { element, setText } from '../dom.js';

/** Distance to the pointer, and to the edges of the window, CSS pixels. */
const [AWAY, MARGIN] = [14, 8];

/** @typedef {{color: string, name: string, text: string, note: string, isEarlier?: boolean}} TooltipRow */

const time = element('p', 'tip-time');
const rows = element('div', 'tip-rows');
const tip = element('div', 'tip', time, rows);
tip.setAttribute('aria-hidden', 'true');
tip.hidden = true;
/** Chart that shows it. @type {object | null} */
let owner = null;

/**
 * @param {object} chart
 * @param {{x: number, y: number}} place CSS pixels, of the window
 * @param {string} title
 * @param {readonly TooltipRow[]} lines
 */
export function showTooltip(chart, { x, y }, title, lines) {
  if (!tip.isConnected) document.body.append(tip);
  owner = chart;
  setText(time, title);
  while (rows.children.length > lines.length) rows.lastElementChild?.remove();
  lines.forEach(({ color, name, text, note, isEarlier }, index) => {
    const row = rows.children[index] ?? rows.appendChild(element('div', 'tip-row', element('span', 'tip-key'), element('span', 'tip-name'), element('span', 'tip-value'), element('span', 'tip-note')));
    const [key, ...texts] = /** @type {HTMLElement[]} */ ([...row.children]);
    key.style.color = color;
    key.dataset.earlier = String(isEarlier === true);
    [name, text, note].forEach((part, i) => setText(texts[i], part));
  });
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = x + AWAY + width + MARGIN <= innerWidth ? x + AWAY : x - AWAY - width;
  const top = Math.min(innerHeight - height - MARGIN, y + AWAY);
  tip.style.transform = `translate(${Math.max(MARGIN, Math.round(left))}px, ${Math.max(MARGIN, Math.round(top))}px)`;
}

/** @param {object} chart that has shown it */
export function hideTooltip(chart) {
  if (owner !== chart) return;
  owner = null;
  tip.hidden = true;
}
