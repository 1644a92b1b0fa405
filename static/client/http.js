// @ts-check
/** URLs of the server, and requests with the token in a header. */

export class TricastError extends Error {
  name = 'TricastError';

  /**
   * @param {string} code
   * @param {string} [message]
   */
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}

export class Http {
  #fetch;

  /**
   * @param {string | URL} url
   * @param {import('./index.js').Options} options
   * @param {import('./token.js').Token} token
   */
  constructor(url, options, token) {
    const page = globalThis.document?.baseURI ?? globalThis.location?.href;
    try {
      this.base = new URL(url, page);
    } catch {
      throw new TypeError(`not an address: ${url}${page ? '' : ' (outside a page it has to be a whole one: https://…)'}`);
    }
    this.#fetch = options.fetch ?? globalThis.fetch?.bind(globalThis);
    this.token = token;
  }

  /**
   * @param {string} path relative
   * @param {Record<string, any>} [query] null and undefined values are left out
   */
  address(path, query = {}) {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(query)) if (value != null) url.searchParams.set(name, value);
    return url;
  }

  /**
   * @param {URL} url
   * @param {RequestInit & {headers?: Record<string, string>}} [init]
   */
  async ask(url, init = {}) {
    const token = await this.token.get();
    const headers = { ...init.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    return this.#fetch(url, { cache: 'no-store', ...init, headers });
  }
}

/**
 * Converts an error response into the reason of a lost link.
 * @param {Response} response
 * @returns {Promise<import('./connection.js').Down>}
 */
export async function refusal(response) {
  const { status } = response;
  const problem = await response.json().catch(() => null);
  const seconds = parseInt(response.headers.get('Retry-After') ?? '');
  return {
    reason: problem?.detail ?? problem?.title ?? `answer ${status}`,
    code: problem?.code,
    status,
    retryAfter: seconds >= 0 ? seconds * 1000 : undefined,
  };
}
