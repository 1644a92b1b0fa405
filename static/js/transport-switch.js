// @ts-check
/**
 * Switch between transports: real links (`?transport=sse`), so that a choice can be opened in a new tab or bookmarked. A
 * plain click keeps the page and continues from the cursor.
 */

/** @typedef {import('./subscriptions.js').Choice} Choice */

/** Transports with their names in the URL and on the page. */
const TRANSPORTS = /** @type {const} */ ([
  { name: 'websocket', word: 'ws', label: 'WebSocket' },
  { name: 'sse', word: 'sse', label: 'SSE' },
  { name: 'long-poll', word: 'long-poll', label: 'Long poll' },
  { name: 'poll', word: 'poll', label: 'Poll' },
]);

/**
 * Returns the label of a transport; null for an unknown one.
 * @param {string | null} name
 */
export function labelOf(name) {
  return TRANSPORTS.find((transport) => transport.name === name)?.label ?? null;
}

/**
 * Returns the transport named in a query string; `auto` by default.
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
export function startTransportSwitch(nav, choose) {
  const links = [...nav.querySelectorAll('a')].map((link) => ({ link, word: new URLSearchParams(link.search).get('transport') ?? '' }));
  let chosen = choiceOf(location.search);

  const show = () => {
    for (const { link, word } of links) {
      const query = new URLSearchParams(location.search);
      query.set('transport', word);
      link.search = `${query}`; // keeps the rest of the URL
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
    show(); // another dashboard may be open by now
    if (link.href !== location.href) history.pushState(null, '', link.href);
    apply();
  });
  addEventListener('popstate', apply);
  show();
}
