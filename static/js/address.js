// @ts-check
/**
 * Makes every URL that the page requests, relative to the page, so that it works below any path.
 * @param {string} path relative, e.g. `api/metrics`
 * @param {Record<string, string | readonly string[] | null>} [query] null values are left out; a list repeats the parameter
 */
export function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    for (const one of value === null ? [] : [value].flat()) url.searchParams.append(name, one);
  }
  return url;
}

/**
 * Makes a WebSocket URL with the scheme that matches the page's.
 * @param {string} path
 */
export function socketAddress(path) {
  const url = address(path);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url;
}
