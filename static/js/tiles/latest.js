// @ts-check
/** The newest value of a channel for tiles that draw no line. */

/**
 * @param {import('./contract.js').Context} context
 * @param {string} channel
 * @returns {{data: any, changed: boolean, end: () => void}} `data` is null before the first value; the drawing code resets `changed`
 */
export function followLatest(context, channel) {
  const latest = { data: /** @type {any} */ (null), changed: true, end: () => {} };
  latest.end = context.subscriptions.subscribe(channel, {
    onUpdate: ({ event, data }) => {
      if (event !== null) return;
      latest.data = data;
      latest.changed = true;
      context.redraw();
    },
  });
  return latest;
}
