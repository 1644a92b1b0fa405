// In-memory tricast server with a fake `WebSocket` and a fake `fetch`, each of which can be made to fail.
//
// `log` holds all publications; offset = index + 1. `mode` is `pass`, `refuse` or `swallow` for each transport.

export class FakeServer {
  epoch = 'e1';
  log = [];
  mode = { websocket: 'pass', sse: 'pass', poll: 'pass' };
  links = new Set();
  waiting = new Set();
  /** Every request and every message, for assertions. */
  seen = [];
  token = null;
  /** Function that a backfill waits for. It may return a response to send in place of the history. */
  backfill = null;
  /** Handler of `POST`, `PATCH` and other calls: takes method, path and body, returns status, body and headers. */
  call = () => ({ status: 404, body: { code: 'RESOURCE_NOT_FOUND', detail: 'nothing here' } });

  get head() {
    return this.log.length;
  }

  cursor(offset = this.head, state = offset) {
    return `${this.epoch}:${offset}${state < offset ? `.${state}` : ''}`;
  }

  event(channel, data, event = 'happened') {
    this.log.push({ channel, event, data, offset: this.head + 1 });
    this.#notify();
  }

  state(channel, data) {
    this.log.push({ channel, data, offset: this.head + 1 });
    this.#notify();
  }

  /** Ends a channel. */
  end(channel, gone) {
    this.log.push({ channel, gone, offset: this.head + 1 });
    this.#notify();
  }

  /** Breaks every link without a farewell message. */
  cut(code = 1006) {
    for (const link of [...this.links]) link.cut(code);
    for (const wake of [...this.waiting]) wake(new TypeError('network error'));
  }

  /** Returns the events and newest states that a reader of `wants` at `position` has not received. */
  due(wants, position) {
    const wanted = ({ channel }) =>
      [...wants].some((w) => w === channel || (w.endsWith('.*') && channel.startsWith(w.slice(0, -1))));
    const events = this.log.filter((p) => p.event && wanted(p) && p.offset > position.offset);
    const newest = new Map();
    for (const p of this.log) if (!p.event && wanted(p)) newest.set(p.channel, p);
    const states = [...newest.values()].filter((p) => p.offset > position.state);
    return [...states, ...events].sort((a, b) => a.offset - b.offset);
  }

  /** Returns the position of a cursor, with the reason of a reset if it is of another epoch. */
  resume(cursor) {
    if (!cursor) return { offset: this.head, state: 0 };
    const [epoch, rest] = cursor.split(':');
    if (epoch !== this.epoch) return { offset: 0, state: 0, reset: 'epoch_changed' };
    const [offset, state = offset] = rest.split('.').map(Number);
    return { offset, state };
  }

  #notify() {
    for (const link of [...this.links]) link.notify();
    for (const wake of [...this.waiting]) wake();
  }

  get WebSocket() {
    const server = this;
    return class {
      readyState = 0;
      subscribed = new Set();
      paths = new Map();

      constructor(url) {
        server.seen.push({ url: String(url) });
        if (server.mode.websocket === 'throw') throw new Error('no WebSocket here');
        queueMicrotask(() => {
          if (this.readyState === 3) return;
          if (server.mode.websocket === 'refuse') return this.cut(1006);
          this.readyState = 1;
          server.links.add(this);
          this.deliver({
            type: 'connected',
            heartbeatInterval: 25_000,
            ...(server.token === null && { cursor: server.cursor() }),
          });
        });
      }

      deliver(message) {
        if (server.mode.websocket === 'swallow') return;
        queueMicrotask(() => this.readyState === 1 && this.onmessage({ data: JSON.stringify(message) }));
      }

      send(text) {
        const message = JSON.parse(text);
        server.seen.push(message);
        if (server.mode.websocket === 'swallow') return;
        const { type, requestId, channels, since } = message;
        if (type === 'authenticate' || type === 'refresh_token') {
          const good = message.token === server.token;
          if (good)
            this.deliver(
              type === 'authenticate'
                ? { type: 'authenticated', cursor: server.cursor() }
                : { type: 'token_refreshed' },
            );
          else this.cut(server.badToken ?? 4401, 'token missing or expired');
        } else if (type === 'ping') this.deliver({ type: 'pong', requestId });
        else if (type === 'request')
          this.deliver(server.request?.(message) ?? { type: 'response', requestId, data: message.params });
        else if (type === 'subscribe' && since && server.mode.websocket === 'behind') {
          this.deliver({ type: 'disconnecting', reason: 'BEHIND', message: 'this node is behind', reconnectAfter: 0.5 });
          queueMicrotask(() => this.cut(4421, 'this node is behind'));
        } else if (type === 'subscribe') {
          const names = channels.map((wanted) => wanted.name ?? wanted);
          const position = server.resume(since);
          this.position ??= { offset: position.offset, state: 0 };
          const denied = (name) => server.denied?.includes(name);
          const refused = names.filter(denied);
          const listed = refused.slice(0, 100);
          this.deliver({
            type: 'subscribed',
            requestId,
            channels: names
              .filter((name) => !denied(name) || listed.includes(name))
              .map((name) => ({
                name,
                status: denied(name) ? 'denied' : 'active',
                ...(denied(name) && { code: 'FORBIDDEN', message: 'no' }),
              })),
            ...(refused.length > listed.length && { denied: refused.length }),
            ...(since && { resume: position.reset ? 'reset' : 'replayed', reason: position.reset }),
          });
          for (const name of names) if (!denied(name)) this.subscribed.add(name);
          // States of the new channels, then the missed publications.
          for (const p of server.due(names, { offset: server.head, state: 0 })) this.publish(p);
          this.notify();
        } else if (type === 'unsubscribe') channels.forEach((name) => this.subscribed.delete(name));
      }

      publish(p) {
        const cursor = server.cursor(Math.max(this.position.offset, p.event ? p.offset : 0));
        this.deliver({
          type: p.event ? 'event' : 'metric',
          channel: p.channel,
          event: p.event,
          gone: p.gone,
          data: p.data,
          timestamp: `t${p.offset}`,
          cursor,
        });
      }

      notify() {
        if (!this.position) return;
        for (const p of server.due(this.subscribed, {
          ...this.position,
          state: this.position.state || this.position.offset,
        })) {
          this.position = { offset: p.offset, state: p.offset };
          this.publish(p);
        }
      }

      cut(code, reason = '') {
        this.readyState = 3;
        server.links.delete(this);
        queueMicrotask(() => this.onclose({ code, reason }));
      }

      close() {
        this.readyState = 3;
        server.links.delete(this);
      }
    };
  }

  get fetch() {
    return async (url, { method = 'GET', headers = {}, body, signal } = {}) => {
      await null;
      signal?.throwIfAborted();
      const { pathname, searchParams } = new URL(url);
      const query = Object.fromEntries(searchParams);
      this.seen.push({ url: String(url), method, headers, body });
      const aborted = new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
      aborted.catch(() => {});
      if (this.token !== null && headers.Authorization !== `Bearer ${this.token}`)
        return respond(401, { code: 'UNAUTHORIZED', detail: 'no' });
      if (pathname === '/events') return this.#stream(query, signal, aborted);
      if (pathname === '/api/metrics' && method === 'GET') return Promise.race([this.#poll(query, headers), aborted]);
      const {
        status = 200,
        body: reply,
        headers: more,
      } = await this.call(method, pathname + new URL(url).search, body);
      return respond(status, reply, more);
    };
  }

  async #stream({ channels, since }, signal, aborted) {
    const mode = this.mode.sse;
    if (mode === 'refuse') return respond(502, {});
    if (mode === 'fail') throw new TypeError('network error');
    if (typeof mode === 'object') return respond(mode.status, mode.body ?? {}, mode.headers);
    const server = this;
    const wants = channels.split(',');
    const position = this.resume(since);
    const chunks = [];
    let wake = () => {};
    const link = {
      write: (text) => {
        if (server.mode.sse !== 'swallow') chunks.push(text);
        wake();
      },
      notify: () => {
        for (const p of server.due(wants, position)) {
          position.offset = Math.max(position.offset, p.offset);
          position.state = position.offset;
          const data = { channel: p.channel, event: p.event, timestamp: `t${p.offset}`, data: p.data, gone: p.gone };
          link.write(
            `id: ${server.cursor(position.offset)}\nevent: ${p.event ?? 'metric'}\ndata: ${JSON.stringify(data)}\n\n`,
          );
        }
      },
      cut: () => {
        server.links.delete(link);
        chunks.push(null);
        wake();
      },
    };
    this.links.add(link);
    const comments = setInterval(() => link.write(':\n'), 15_000);
    signal.addEventListener('abort', () => {
      clearInterval(comments);
      this.links.delete(link);
    });
    const connected = {
      session: 's',
      cursor: this.cursor(position.offset, 0),
      resume: since ? (position.reset ? 'reset' : 'replayed') : null,
      reason: position.reset,
    };
    link.write(`retry: 2000\n\nevent: connected\ndata: ${JSON.stringify(connected)}\n\n`);
    if (since) position.state = 0;
    link.notify();
    const read = async () => {
      while (chunks.length === 0) await Promise.race([new Promise((resolve) => (wake = resolve)), aborted]);
      const text = chunks.shift();
      if (text === null) throw new TypeError('network error');
      // Splits the text into pieces, as networks do.
      const half = Math.floor(text.length / 2);
      if (half > 20) chunks.unshift(text.slice(half));
      return { done: false, value: new TextEncoder().encode(half > 20 ? text.slice(0, half) : text) };
    };
    return { ok: true, status: 200, headers: new Headers(), body: { getReader: () => ({ read }) } };
  }

  /** Returns the history of one channel and its current value, both read after `backfill` has resolved. */
  async #history({ channels: channel, backfill }) {
    const refused = await this.backfill?.();
    if (refused) return refused;
    const all = this.log.filter((p) => p.channel === channel);
    const now = all.pop();
    const points = all.map(({ data, offset }) => ({ period: `t${offset}`, last: data.n }));
    const history = { interval: 'raw', from: `-${backfill}`, to: `t${now?.offset ?? this.head + 1}`, fields: { n: points } };
    const body = { channels: now ? { [channel]: now.data } : {}, events: [], gap: true, cursor: this.cursor() };
    return respond(200, { ...body, timestamp: `t${now?.offset ?? 0}`, history: { [channel]: history } });
  }

  async #poll({ channels, since, backfill }, headers) {
    if (backfill) return this.#history({ channels, backfill });
    const mode = this.mode.poll;
    if (mode === 'refuse') return respond(502, {});
    if (mode === 'fail') throw new TypeError('network error');
    if (mode === 'swallow') return new Promise(() => {});
    if (typeof mode === 'object') return respond(mode.status, mode.body ?? {}, mode.headers);
    const read = () => {
      const position = this.resume(since);
      const due = this.due((channels ?? 'metrics').split(','), position);
      const events = due.filter((p) => p.event);
      const states = Object.fromEntries(due.filter((p) => p.data && !p.event).map((p) => [p.channel, p.data]));
      const ended = due.filter((p) => p.gone).map((p) => [p.channel, p.gone]);
      const gone = ended.length ? Object.fromEntries(ended) : undefined;
      return { events, states, gone, gap: position.reset, timestamp: `t${due.at(-1)?.offset ?? 0}` };
    };
    let found = read();
    const snapshotTag = () => `W/"${JSON.stringify(found.states)}"`;
    const wait = /wait=(\d+)/.exec(headers.Prefer ?? '')?.[1];
    const current = () =>
      channels
        ? !found.gone && found.events.length === 0 && Object.keys(found.states).length === 0
        : headers['If-None-Match'] === snapshotTag();
    if (wait && current()) {
      await new Promise((resolve, reject) => {
        const done = (error) => {
          if (!error && (found = read()) && current()) return;
          clearTimeout(timer);
          this.waiting.delete(done);
          if (error) reject(error);
          else resolve();
        };
        const timer = setTimeout(() => (this.waiting.delete(done), resolve()), wait * 1000);
        this.waiting.add(done);
      });
      found = read();
    }
    if (!channels) {
      if (headers['If-None-Match'] === snapshotTag()) return respond(304, null, { ETag: snapshotTag() });
      return respond(200, { ...found.states.metrics, cursor: this.cursor(), timestamp: 't' }, { ETag: snapshotTag() });
    }
    const empty = !found.gone && found.events.length === 0 && Object.keys(found.states).length === 0;
    const tag = empty ? 'W/"empty"' : `W/"${this.head}"`;
    if (headers['If-None-Match'] === tag) return respond(304, null, { ETag: tag });
    const events = found.events.map((p) => ({
      channel: p.channel,
      event: p.event,
      data: p.data,
      timestamp: `t${p.offset}`,
      cursor: this.cursor(p.offset),
    }));
    return respond(
      200,
      { channels: found.states, gone: found.gone, events, cursor: this.cursor(), timestamp: found.timestamp, ...(found.gap && { gap: true }) },
      { ETag: tag },
    );
  }
}

export function respond(status, body, headers = {}) {
  return { ok: status >= 200 && status < 300, status, headers: new Headers(headers), json: async () => body };
}
