// @ts-check
/**
 * Storage of the token in browsers without cookies: this tab (`sessionStorage`). A sign-in is recorded for all tabs, so that
 * each offers to sign out, which signs all of them out.
 */

const KEY = 'tricast.token';
const SIGNED_IN = 'tricast.signed-in';

/** Returns the token of this tab; null for none. */
export function storedToken() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** @param {string | null} token */
export function storeToken(token) {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // Without storage the token is for this page only.
  }
}

/** Returns whether this browser was signed in through this page. */
export function isSignedIn() {
  try {
    return localStorage.getItem(SIGNED_IN) !== null;
  } catch {
    return false;
  }
}

/** @param {string | null} user that signed in; null after signing out */
export function noteSignedIn(user) {
  try {
    if (user === null) localStorage.removeItem(SIGNED_IN);
    else localStorage.setItem(SIGNED_IN, user);
  } catch {
    // Without storage other tabs are not notified.
  }
}

/** @param {() => void} watch called when another tab signed in or out */
export function onOtherTab(watch) {
  addEventListener('storage', ({ key }) => key === SIGNED_IN && watch());
}
