// @ts-check
/**
 * Current user. If the server requires a token, the page asks for one and stores it in a cookie that scripts can't read,
 * so that all tabs and pages of this server are signed in. If that is not possible the token stays in this tab.
 */

import { byId, setText } from './dom.js';
import { locale, sentence } from './format.js';
import { ApiError } from './rest.js';
import { now } from './time.js';
import { isSignedIn, noteSignedIn, onOtherTab, storeToken, storedToken } from './token.js';

/** @typedef {{user: string, tenant: string, permissions: string[], anonymous: boolean, expiresAt: string | null, demo?: boolean}} Me */

export class Session {
  #rest;
  #panel = byId('signin');
  #form = /** @type {HTMLFormElement} */ (byId('signin-form'));
  #input = /** @type {HTMLTextAreaElement} */ (byId('signin-token'));
  #problem = byId('signin-problem');
  /** @type {Promise<Me> | null} */
  #starting = null;
  /** @type {Me | null} */
  me = null;

  /** @param {import('./rest.js').Rest} rest */
  constructor(rest) {
    this.#rest = rest;
    rest.token = storedToken();
    rest.onUnauthorized = () => {
      if (this.me !== null) void this.start(); // it expired while the page was open
    };
    byId('signout').addEventListener('click', () => this.end());
    onOtherTab(() => location.reload()); // possibly another user: discard the whole page
  }

  /** Whether the server requires a token. */
  get required() {
    return this.me !== null && !this.me.anonymous;
  }

  /**
   * Identifies the user, and shows the sign-in panel until a token is accepted.
   * @returns {Promise<Me>}
   */
  start() {
    this.#starting ??= this.#identify().finally(() => (this.#starting = null));
    return this.#starting;
  }

  /** @returns {Promise<Me>} */
  async #identify() {
    for (;;) {
      try {
        const { data } = await this.#rest.request('api/me');
        this.me = data;
        this.#show(data);
        return data;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.status === 401) await this.#signIn(this.#reason(error));
        else await new Promise((resolve) => setTimeout(resolve, 2_000)); // unavailable: retry
      }
    }
  }

  /**
   * Returns why the user has to sign in; empty at the first visit.
   * @param {ApiError} error
   */
  #reason(error) {
    const { me } = this;
    if (me !== null) {
      const ended = Date.parse(me.expiresAt ?? '') - this.#rest.skew;
      return `Your session ended at ${locale.minutes(Math.min(ended || now(), now()))}. Sign in again.`;
    }
    return this.#rest.token === null ? '' : sentence(error.message);
  }

  /** @param {string} permission e.g. `write:orders` */
  may(permission) {
    return this.me !== null && (this.me.permissions.includes(permission) || this.me.permissions.includes('admin'));
  }

  /**
   * Returns a token for the connection; null if the cookie suffices.
   * @param {boolean} refused whether the last token was refused, so that a new one is needed
   * @returns {Promise<string | null>}
   */
  async provideToken(refused) {
    if (refused) await this.start();
    return this.#rest.token;
  }

  /** Signs out in all tabs, and reloads. */
  async end() {
    storeToken(null);
    await this.#rest.request('api/session', { method: 'DELETE' }).catch(() => null);
    noteSignedIn(null);
    location.reload();
  }

  /** @param {string} problem why the last token was refused */
  #signIn(problem) {
    storeToken(null);
    this.#rest.token = null;
    document.documentElement.dataset.signedOut = 'true';
    byId('user').hidden = true;
    this.#panel.hidden = false;
    setText(this.#problem, problem);
    this.#input.focus();
    return new Promise((resolve) => {
      this.#form.onsubmit = async (event) => {
        event.preventDefault();
        const token = this.#input.value.trim().replace(/^Bearer\s+/i, '');
        if (!/^[\x21-\x7e]+$/.test(token)) {
          return setText(this.#problem, 'That doesn’t look like a token: it contains spaces or unsupported characters.');
        }
        const refusal = await this.#submit(token);
        if (refusal !== '') return setText(this.#problem, refusal);
        this.#input.value = '';
        if (this.me === null) resolve(undefined);
        else location.reload(); // possibly another user: discard the whole page
      };
    });
  }

  /**
   * Signs in by cookie, or stores the token if the browser accepts no cookie.
   * @param {string} token
   * @returns {Promise<string>} why it was refused; empty on success
   */
  async #submit(token) {
    const { me } = this;
    this.me = null; // a 401 refers to the new token
    try {
      await this.#rest.request('api/session', { method: 'POST', body: { token } });
      const { data } = await this.#rest.request('api/me');
      noteSignedIn(`${data.user} ${now()}`);
      return '';
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return (await this.#acceptsBearer(token)) ? '' : sentence(error.message);
    } finally {
      this.me = me;
    }
  }

  /**
   * Whether the token is accepted when it is sent with each request.
   * @param {string} token
   */
  async #acceptsBearer(token) {
    this.#rest.token = token;
    try {
      await this.#rest.request('api/me');
      storeToken(token);
      return true;
    } catch {
      this.#rest.token = null;
      return false;
    }
  }

  /** @param {Me} me */
  #show(me) {
    delete document.documentElement.dataset.signedOut;
    this.#panel.hidden = true;
    byId('user').hidden = me.anonymous;
    setText(byId('user-name'), me.user);
    setText(byId('user-detail'), me.tenant === 'default' ? '' : `(${me.tenant})`);
    byId('signout').hidden = this.#rest.token === null && !isSignedIn();
    byId('demo').hidden = me.demo !== true;
  }
}
