// @ts-check
/** Token of the connection: requested once, and again after a refusal or before it expires. */
export class Token {
  #source;
  /** @type {Promise<string | null> | null} */
  #value = null;
  #refused = false;

  /** @param {import('./index.js').Options['token']} source */
  constructor(source) {
    this.#source = source;
  }

  /** Returns the current token; null for none. Rejects if the source fails, which is then called again next time. */
  get() {
    const ask = async () => (typeof this.#source === 'function' ? this.#source(this.#refused) : this.#source) || null;
    this.#value ??= ask().catch((error) => {
      this.#value = null;
      throw error;
    });
    return this.#value;
  }

  /** Discards the current token. Returns false if there can be no other one. @param {boolean} refused */
  renew(refused) {
    this.#value = null;
    this.#refused = refused;
    return typeof this.#source === 'function';
  }
}
