// @ts-check
/**
 * The switch between transports: real links (`?transport=sse`), so that a choice can be opened in a new tab or kept as a
 * bookmark; followed in place, it keeps the page and continues from the cursor.
 */

import { transportNamed } from './transport/index.js';

/** @typedef {import('./transport/contract.js').TransportName | 'auto'} Choice */

/**
 * The choice that a query string makes.
 * @param {string} search
 * @returns {Choice}
 */
export function choiceOf(search) {
  return transportNamed(new URLSearchParams(search).get('transport') ?? '')?.name ?? 'auto';
}

/**
 * @param {HTMLElement} nav holds one link per choice
 * @param {(choice: Choice) => void} choose called once at the start and with every change
 */
export function startChooser(nav, choose) {
  const links = [...nav.querySelectorAll('a')];

  const apply = () => {
    const choice = choiceOf(location.search);
    for (const link of links) {
      const query = new URLSearchParams(location.search);
      query.set('transport', choiceOf(link.search));
      link.search = `${query}`; // the rest of the address stays
      if (choiceOf(link.search) === choice) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
    choose(choice);
  };

  nav.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (link === null || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    if (link.href !== location.href) history.pushState(null, '', link.href);
    apply();
  });
  addEventListener('popstate', apply);
  apply();
}
