// @ts-check
/**
 * WebSocket. The token is sent in a message, because browsers can't set headers here and URLs are logged:
 *
 *     <- connected   -> authenticate, subscribe {since}   <- authenticated, subscribed, states, missed events, changes
 *
 * The client's ping measures the round trip and detects a dead connection.
 */
const PING_MS = 10_000;
/** Silence after which the connection is stale. */
const QUIET_MS = 13_000;
/** Silence after which it is dead: above the 25 s of the server's pings, because timers of hidden pages are slow. */
const DEAD_MS = 30_000;

/** @type {import('../connection.js').Open} */
export function openWebSocket({ http, options, wants, since }, emit) {
  const Socket = options.WebSocket ?? globalThis.WebSocket;
  const url = http.address('ws');
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new Socket(url);
  /** @type {Map<string, string | number>} active subscriptions with their intervals */
  const sent = new Map();
  /** @type {string[][]} names in `subscribe` messages without a reply; replies come in their order */
  const asked = [];
  /** @type {any} */
  let timer;
  let pings = 0;
  let pingedAt = 0;
  let greeted = false;
  /** @type {any} reason that the server sent before closing */
  let farewell = {};

  /** @param {any} message */
  const send = (message) => {
    if (socket.readyState === 1) socket.send(JSON.stringify(message));
  };

  /** @param {import('../connection.js').Down} down */
  const fail = (down) => emit({ type: 'down', ...down });

  const ping = () => {
    pingedAt = performance.now();
    send({ type: 'ping', requestId: `p${++pings}` });
  };

  /** Subscribes and unsubscribes according to `wants`. @param {string | null} [from] */
  const update = (from) => {
    const wanted = wants();
    const gone = [...sent.keys()].filter((name) => !wanted.has(name));
    const fresh = [...wanted].filter(([name, interval]) => sent.get(name) !== interval);
    gone.forEach((name) => sent.delete(name));
    fresh.forEach(([name, interval]) => sent.set(name, interval));
    if (gone.length) send({ type: 'unsubscribe', requestId: 'off', channels: gone });
    const channels = fresh.map(([name, interval]) => (interval ? { name, interval } : name));
    if (channels.length) {
      asked.push(fresh.map(([name]) => name));
      send({ type: 'subscribe', requestId: from === undefined ? 'more' : 'first', channels, since: from ?? undefined });
    }
  };

  /** @param {any} message */
  const start = ({ cursor }) => since() || emit({ type: 'start', cursor });

  /** @param {any} message */
  const begin = async (message) => {
    if (!message.cursor) {
      // Not authenticated yet. The server holds messages after the token until it is verified.
      const token = await http.token.get();
      if (!token) return fail({ reason: 'a token is needed', status: 401 });
      send({ type: 'authenticate', requestId: 'token', token });
    } else start(message);
    greeted = true;
    update(since());
  };

  /** @param {any} message */
  const receive = (message) => {
    const { type, channel } = message;
    if (type === 'connected') begin(message).catch((error) => fail({ reason: String(error) }));
    else if (type === 'authenticated') start(message);
    else if (type === 'metrics' || type === 'metric') emit({ ...message, type: 'state', channel: channel ?? 'metrics' });
    else if (type === 'subscribed') {
      if (message.requestId === 'first') {
        emit({ type: 'open', quiet: QUIET_MS, dead: DEAD_MS });
        if (message.resume === 'reset' && message.reason !== 'too_old') emit({ type: 'gap', reason: message.reason });
        ping();
        timer = setInterval(ping, PING_MS);
      }
      const lines = new Map(message.channels.map((/** @type {any} */ line) => [line.name, line]));
      for (const name of asked.shift() ?? []) {
        // The server counts denied channels, but lists a limited number of them. Those that it accepted are all listed.
        const { status = message.denied && 'denied', code = 'FORBIDDEN', message: text } = lines.get(name) ?? {};
        if (status !== 'denied') continue;
        sent.delete(name);
        emit({ type: 'denied', name, code, message: text ?? 'one of many denied channels' });
      }
    } else if (type === 'pong')
      message.requestId === `p${pings}` && emit({ type: 'latency', ms: performance.now() - pingedAt });
    else if (type === 'auth_expiring') emit({ type: 'expiring', seconds: message.expiresIn });
    else if (type === 'disconnecting') farewell = { reason: message.reason, retryAfter: message.reconnectAfter * 1000 };
    else if (type === 'error' && /^(first|more)$/.test(message.requestId))
      fail({ reason: message.message, retryAfter: message.details?.retryAfter });
    else if (type === 'error' && !message.requestId) farewell = { reason: message.message, code: message.code };
    else if (type !== 'ping') emit(message); // event, gap, response, error; the browser answers ping frames
  };

  socket.onmessage = (/** @type {any} */ { data }) => {
    emit({ type: 'alive' });
    try {
      receive(JSON.parse(data));
    } catch {
      fail({ reason: 'unreadable message' });
    }
  };
  socket.onerror = () => {}; // `close` follows
  socket.onclose = (/** @type {any} */ { code, reason }) =>
    fail({
      reason: reason || `closed (${code})`,
      ...farewell,
      status: code === 4401 ? 401 : undefined,
      final: code > 4499,
    });

  return {
    close: () => {
      clearInterval(timer);
      socket.close(1000);
    },
    update: () => greeted && update(),
    send,
  };
}
