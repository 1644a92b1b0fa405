// @ts-check
/**
 * The token where the browser takes no cookie: it stays in this tab (`sessionStorage`). That there is a session of our own
 * making is noted for all tabs, so that signing out is offered in each and ends all.
 */

const KEY = 'tricast.token';
const SIGNED_IN = 'tricast.signed-in';

/** The token of this tab, null for none. */
export function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** @param {string | null} token */
export function keep(token) {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // No storage: the token is for this page only.
  }
}

/** Whether this browser was signed in by this page. */
export function isSignedIn() {
  try {
    return localStorage.getItem(SIGNED_IN) !== null;
  } catch {
    return false;
  }
}

/** @param {string | null} user who signed in; null who signed out */
export function noteSignedIn(user) {
  try {
    if (user === null) localStorage.removeItem(SIGNED_IN);
    else localStorage.setItem(SIGNED_IN, user);
  } catch {
    // No storage: other tabs are not told.
  }
}

/** @param {() => void} watch called when another tab signed in or out */
export function onOtherTab(watch) {
  addEventListener('storage', ({ key }) => key === SIGNED_IN && watch());
}
