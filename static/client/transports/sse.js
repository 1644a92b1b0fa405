// @ts-check
/**
 * Server-Sent Events, read with `fetch`: unlike EventSource it can send the token in a header, and sees the status of a refusal,
 * comments, and events of any name.
 */
import { refusal } from '../http.js';

const QUIET_MS = 20_000; // a comment every 15 s
const DEAD_MS = 40_000;

/** @type {import('../connection.js').Open} */
export function openSse({ http, wants, since }, emit) {
  const stop = new AbortController();
  const wanted = wants();
  const from = since();
  // The stream has one interval for all channels, the shortest.
  const shortest = Math.min(...wanted.values());

  /** @param {string} block */
  const receive = (block) => {
    let name = 'message';
    let cursor = null;
    let text = '';
    for (const line of block.split('\n')) {
      const [, field, value] = /^([a-z]+): ?(.*)$/s.exec(line) ?? [];
      if (field === 'event') name = value;
      else if (field === 'id') cursor = value;
      else if (field === 'data') text += value;
    }
    if (!text) return;
    const body = JSON.parse(text);
    if (name === 'connected') {
      emit({ type: 'open', quiet: QUIET_MS, dead: DEAD_MS });
      if (body.resume === 'reset' && body.reason !== 'too_old') emit({ type: 'gap', reason: body.reason });
      if (!from) emit({ type: 'start', cursor: body.cursor });
    } else if (name === 'metrics')
      emit({ type: 'state', channel: name, data: body, timestamp: body.timestamp ?? null, cursor });
    else if (name === 'metric') emit({ ...body, type: 'state', cursor });
    // `connected` reports the other reasons.
    else if (name === 'gap') body.reason === 'too_old' && emit({ ...body, type: 'gap' });
    else if (name === 'auth_expiring') emit({ type: 'expiring', seconds: body.expiresIn });
    else if (name === 'alert') {
      const { action, ...data } = body;
      const timestamp = data[`${action}At`] ?? null;
      emit({ type: 'event', channel: 'alerts', event: `alert_${action}`, data, timestamp, cursor });
    } else if (name === 'bye') throw { reason: body.reason, retryAfter: body.reconnectAfter * 1000 };
    else if (name === 'error') throw { reason: body.detail ?? body.title, code: body.code, status: body.status };
    else if (name !== 'ping') emit({ ...body, type: 'event', cursor });
  };

  const run = async () => {
    const query = { channels: [...wanted.keys()].join(), since: from, interval: shortest || null, strict: 1 };
    const askedAt = performance.now();
    const response = await http.ask(http.address('events', query), {
      headers: { Accept: 'text/event-stream' },
      signal: stop.signal,
    });
    if (response.status === 204) throw { reason: 'not wanted', final: true };
    if (!response.ok) throw await refusal(response);
    emit({ type: 'latency', ms: performance.now() - askedAt });
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw { reason: 'stream ended' };
      emit({ type: 'alive' });
      const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
      rest = blocks.pop() ?? '';
      blocks.forEach(receive);
    }
  };
  run().catch((down) => emit({ type: 'down', ...down, reason: down.reason ?? 'no answer' }));

  return {
    close: () => stop.abort(),
    update: () => String([...wants()]) !== String([...wanted]) && emit({ type: 'again' }),
  };
}
