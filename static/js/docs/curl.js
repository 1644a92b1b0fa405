// @ts-check
/** A line for a terminal that does what an operation describes. */

/** @typedef {Record<string, any>} Json */

/** Quoted for a POSIX shell. */
const quoted = (/** @type {string} */ text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/**
 * @param {object} call
 * @param {string} call.base the server's address without a slash at the end
 * @param {string} call.path as in the document
 * @param {string} call.method in lower case
 * @param {Json[]} call.parameters
 * @param {boolean} call.token somebody without a token is refused
 * @param {{type: string, text: string} | null} call.body
 * @param {boolean} call.endless the answer goes on for as long as the client stays
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
