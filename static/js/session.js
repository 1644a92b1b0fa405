// @ts-check
/**
 * Who is looking. Where the server wants a token the page asks for one; it stays in this tab (`sessionStorage`) and goes
 * with every request. A cookie that the server takes works without any of this.
 */

import { byId, setText } from './dom.js';
import { Refusal } from './rest.js';

const KEY = 'tricast.token';

/** @typedef {{user: string, tenant: string, permissions: string[], anonymous: boolean, expiresAt: string | null}} Me */

export class Session {
  #rest;
  #panel = byId('signin');
  #form = /** @type {HTMLFormElement} */ (byId('signin-form'));
  #input = /** @type {HTMLTextAreaElement} */ (byId('signin-token'));
  #problem = byId('signin-problem');
  /** @type {Promise<Me> | null} */
  #asking = null;
  /** @type {Me | null} */
  me = null;

  /** @param {import('./rest.js').Rest} rest */
  constructor(rest) {
    this.#rest = rest;
    rest.token = kept();
    rest.onUnauthorized = () => {
      if (this.me !== null) void this.begin(); // it ran out while the page was open
    };
    byId('signout').addEventListener('click', () => this.end());
  }

  /** The token in use; null when a cookie or nothing is. */
  get token() {
    return this.#rest.token;
  }

  /**
   * Finds out who is looking, and asks for a token as long as one is needed.
   * @returns {Promise<Me>}
   */
  begin() {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** @returns {Promise<Me>} */
  async #ask() {
    for (;;) {
      try {
        const { data } = await this.#rest.ask('api/me');
        this.me = data;
        this.#show(data);
        return data;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        if (error.status === 401) await this.#signIn(this.#rest.token === null ? '' : error.message);
        else await new Promise((resolve) => setTimeout(resolve, 2_000)); // away or busy: the page waits with it
      }
    }
  }

  /** @param {string} permission e.g. `write:orders` */
  may(permission) {
    return this.me !== null && (this.me.permissions.includes(permission) || this.me.permissions.includes('admin'));
  }

  /**
   * A token for the connection.
   * @param {boolean} refused whether the last one was no longer taken, so that a new one is needed
   * @returns {Promise<string | null>}
   */
  async give(refused) {
    if (refused) {
      this.#rest.token = null;
      await this.begin();
    }
    return this.#rest.token;
  }

  /** Forgets the token and begins anew. */
  end() {
    keep(null);
    location.reload();
  }

  /** @param {string} problem why the last token was not taken */
  #signIn(problem) {
    keep(null);
    this.#rest.token = null;
    document.documentElement.dataset.signedOut = 'true';
    this.#panel.hidden = false;
    setText(this.#problem, problem);
    this.#input.focus();
    return new Promise((resolve) => {
      this.#form.onsubmit = (event) => {
        event.preventDefault();
        const token = this.#input.value.trim().replace(/^Bearer\s+/i, '');
        if (!/^[\x21-\x7e]+$/.test(token)) return setText(this.#problem, 'This is no token: it has blanks or other characters in it.');
        this.#input.value = '';
        this.#rest.token = token;
        keep(token);
        if (this.me === null) resolve(undefined);
        else location.reload(); // perhaps somebody else: nothing of the page before may stay
      };
    });
  }

  /** @param {Me} me */
  #show(me) {
    delete document.documentElement.dataset.signedOut;
    this.#panel.hidden = true;
    byId('user').hidden = me.anonymous;
    setText(byId('user-name'), me.user);
    setText(byId('user-detail'), me.tenant === 'default' ? '' : `of ${me.tenant}`);
    byId('signout').hidden = this.#rest.token === null;
  }
}

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** @param {string | null} token */
function keep(token) {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // No storage: the token is for this page only.
  }
}
