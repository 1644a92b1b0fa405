// @ts-check
/** Makes a curl command for an operation. */

/** @typedef {Record<string, any>} Json */

/** Quotes a text for a POSIX shell. */
const quoted = (/** @type {string} */ text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/**
 * @param {object} call
 * @param {string} call.base URL of the server without a trailing slash
 * @param {string} call.path as in the document
 * @param {string} call.method in lower case
 * @param {Json[]} call.parameters
 * @param {boolean} call.token whether a token is required
 * @param {{type: string, text: string} | null} call.body
 * @param {boolean} call.endless whether the response is a stream
 */
export function curlLine({ base, path, method, parameters, token, body, endless }) {
  const filled = parameters
    .filter((parameter) => parameter.in === 'path')
    .reduce((at, { name, example }) => at.replace(`{${name}}`, String(example ?? name)), path);
  const needed = parameters.filter((parameter) => parameter.required && parameter.in === 'header');
  const query = new URLSearchParams(
    parameters
      .filter((parameter) => parameter.required && parameter.in === 'query')
      .map(({ name, example }) => [name, String(example ?? '')]),
  ).toString();
  const parts = ['curl'];
  if (method === 'head') parts.push('--head');
  else if (endless) parts.push('--no-buffer');
  else if (method !== 'get' && !(method === 'post' && body !== null)) parts.push('-X', method.toUpperCase());
  if (token) parts.push('-H', '"Authorization: Bearer $TOKEN"');
  for (const { name, example } of needed) parts.push('-H', quoted(`${name}: ${example ?? ''}`));
  if (body !== null) {
    parts.push('-H', quoted(`Content-Type: ${body.type}`));
    parts.push(body.text.includes('\n') ? '--data-binary' : '-d', quoted(body.text));
  }
  parts.push(quoted(base + filled + (query && `?${query}`)));
  return parts.join(' ');
}
