// @ts-check
/** The token: asked for once, and again when it was refused or runs out. */
export class Token {
  #source;
  /** @type {Promise<string | null> | null} */
  #value = null;
  #refused = false;

  /** @param {import('./index.js').Options['token']} source */
  constructor(source) {
    this.#source = source;
  }

  /** The token in use; null for none. Fails as the source does, and then asks it again next time. */
  get() {
    const ask = async () => (typeof this.#source === 'function' ? this.#source(this.#refused) : this.#source) || null;
    this.#value ??= ask().catch((error) => {
      this.#value = null;
      throw error;
    });
    return this.#value;
  }

  /** The present one is of no use any more. False if there can be no other. @param {boolean} refused */
  renew(refused) {
    this.#value = null;
    this.#refused = refused;
    return typeof this.#source === 'function';
  }
}
