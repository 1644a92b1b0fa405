// @ts-check
/**
 * Who is looking. Where the server wants a token the page asks for one and has it put into a cookie that scripts can't read,
 * so that all tabs and pages of this server are signed in. Where that is not possible it stays in this tab.
 */

import { byId, setText } from './dom.js';
import { clock, sentence } from './format.js';
import { Refusal } from './rest.js';
import { now } from './time.js';
import { isSignedIn, keep, kept, noteSignedIn, onOtherTab } from './token.js';

/** @typedef {{user: string, tenant: string, permissions: string[], anonymous: boolean, expiresAt: string | null, demo?: boolean}} Me */

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
    onOtherTab(() => location.reload()); // perhaps somebody else: nothing of the page before may stay
  }

  /** Whether the server wants to know who is looking. */
  get needed() {
    return this.me !== null && !this.me.anonymous;
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
        if (error.status === 401) await this.#signIn(this.#reason(error));
        else await new Promise((resolve) => setTimeout(resolve, 2_000)); // away or busy: the page waits with it
      }
    }
  }

  /**
   * Why the reader has to sign in; empty for one who comes for the first time.
   * @param {Refusal} error
   */
  #reason(error) {
    const { me } = this;
    if (me !== null) {
      const ended = Date.parse(me.expiresAt ?? '') - this.#rest.skew;
      return `Your session ended at ${clock(Math.min(ended || now(), now())).slice(0, 5)}. Sign in again.`;
    }
    return this.#rest.token === null ? '' : sentence(error.message);
  }

  /** @param {string} permission e.g. `write:orders` */
  may(permission) {
    return this.me !== null && (this.me.permissions.includes(permission) || this.me.permissions.includes('admin'));
  }

  /**
   * A token for the connection; null where the cookie says it all.
   * @param {boolean} refused whether the last one was no longer taken, so that a new one is needed
   * @returns {Promise<string | null>}
   */
  async give(refused) {
    if (refused) await this.begin();
    return this.#rest.token;
  }

  /** Signs out, in all tabs, and begins anew. */
  async end() {
    keep(null);
    await this.#rest.ask('api/session', { method: 'DELETE' }).catch(() => null);
    noteSignedIn(null);
    location.reload();
  }

  /** @param {string} problem why the last token was not taken */
  #signIn(problem) {
    keep(null);
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
        const refusal = await this.#take(token);
        if (refusal !== '') return setText(this.#problem, refusal);
        this.#input.value = '';
        if (this.me === null) resolve(undefined);
        else location.reload(); // perhaps somebody else: nothing of the page before may stay
      };
    });
  }

  /**
   * Signs in by cookie, or keeps the token where the browser takes none.
   * @param {string} token
   * @returns {Promise<string>} why it was refused; empty if it was not
   */
  async #take(token) {
    const { me } = this;
    this.me = null; // an answer 401 is about the new token
    try {
      await this.#rest.ask('api/session', { method: 'POST', body: { token } });
      const { data } = await this.#rest.ask('api/me');
      noteSignedIn(`${data.user} ${now()}`);
      return '';
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return (await this.#bears(token)) ? '' : sentence(error.message);
    } finally {
      this.me = me;
    }
  }

  /**
   * Whether the token is good where it is sent with each request.
   * @param {string} token
   */
  async #bears(token) {
    this.#rest.token = token;
    try {
      await this.#rest.ask('api/me');
      keep(token);
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
    setText(byId('user-detail'), me.tenant === 'default' ? '' : `of ${me.tenant}`);
    byId('signout').hidden = this.#rest.token === null && !isSignedIn();
    byId('demo').hidden = me.demo !== true;
  }
}
