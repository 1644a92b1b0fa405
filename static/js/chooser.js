// @ts-check
/**
 * The switch between transports: real links (`?transport=sse`), so that a choice can be opened in a new tab or kept as a
 * bookmark; followed in place, it keeps the page and continues from the cursor.
 */

/** @typedef {import('./live.js').Choice} Choice */

/** What the transports are called in the address, and for a person. */
const TRANSPORTS = /** @type {const} */ ([
  { name: 'websocket', word: 'ws', label: 'WebSocket' },
  { name: 'sse', word: 'sse', label: 'SSE' },
  { name: 'long-poll', word: 'long-poll', label: 'Long poll' },
  { name: 'poll', word: 'poll', label: 'Poll' },
]);

/**
 * What a transport is called.
 * @param {string | null} name
 */
export function labelOf(name) {
  return TRANSPORTS.find((transport) => transport.name === name)?.label ?? null;
}

/**
 * The choice that a query string makes.
 * @param {string} search
 * @returns {Choice}
 */
export function choiceOf(search) {
  const word = new URLSearchParams(search).get('transport');
  return TRANSPORTS.find((transport) => transport.word === word || transport.name === word)?.name ?? 'auto';
}

/**
 * @param {HTMLElement} nav holds one link per choice
 * @param {(choice: Choice) => void} choose called with every change
 */
export function startChooser(nav, choose) {
  const links = [...nav.querySelectorAll('a')].map((link) => ({ link, word: new URLSearchParams(link.search).get('transport') ?? '' }));
  let chosen = choiceOf(location.search);

  const show = () => {
    for (const { link, word } of links) {
      const query = new URLSearchParams(location.search);
      query.set('transport', word);
      link.search = `${query}`; // the rest of the address stays
      if (choiceOf(link.search) === chosen) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
  };
  const apply = () => {
    const choice = choiceOf(location.search);
    if (choice !== chosen) choose(choice);
    chosen = choice;
    show();
  };

  nav.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (link === null || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    show(); // the board may have changed since
    if (link.href !== location.href) history.pushState(null, '', link.href);
    apply();
  });
  addEventListener('popstate', apply);
  show();
}
