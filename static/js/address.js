// @ts-check
/**
 * Every address the page asks for is made here, relative to the page, so that the dashboard works below any path.
 * @param {string} path relative, e.g. `api/metrics`
 * @param {Record<string, string | readonly string[] | null>} [query] null values are left out, of a list each is said
 */
export function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    for (const one of value === null ? [] : [value].flat()) url.searchParams.append(name, one);
  }
  return url;
}

/**
 * The same with the WebSocket scheme that belongs to the page's own.
 * @param {string} path
 */
export function socketAddress(path) {
  const url = address(path);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url;
}
