// @ts-check
/**
 * WebSocket. The token goes in a message, for a browser can't set headers here and a URL ends up in logs:
 *
 *     <- connected   -> authenticate, subscribe {since}   <- authenticated, subscribed, states, missed events, changes
 *
 * The own ping measures the round trip and shows life where nothing changes.
 */
const PING_MS = 10_000;
/** An answer that is late by this much is too late. */
const QUIET_MS = 13_000;
/** Above the 25 s of the server's own pings, for timers of hidden pages are slow. */
const DEAD_MS = 30_000;

/** @type {import('../connection.js').Open} */
export function openWebSocket({ http, options, wants, since }, say) {
  const Socket = options.WebSocket ?? globalThis.WebSocket;
  const url = http.address('ws');
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new Socket(url);
  /** @type {Map<string, string | number>} what was subscribed, with its interval */
  const sent = new Map();
  /** @type {any} */
  let timer;
  let pings = 0;
  let pingedAt = 0;
  let greeted = false;
  /** @type {any} what the server said before it closes, or refused */
  let farewell = {};

  /** @param {any} message */
  const send = (message) => {
    if (socket.readyState === 1) socket.send(JSON.stringify(message));
  };

  /** @param {import('../connection.js').Down} down */
  const fail = (down) => say({ type: 'down', ...down });

  const ping = () => {
    pingedAt = performance.now();
    send({ type: 'ping', requestId: `p${++pings}` });
  };

  /** Brings what is subscribed in line with what is wanted. @param {string | null} [from] */
  const update = (from) => {
    const wanted = wants();
    const gone = [...sent.keys()].filter((name) => !wanted.has(name));
    const fresh = [...wanted].filter(([name, interval]) => sent.get(name) !== interval);
    gone.forEach((name) => sent.delete(name));
    fresh.forEach(([name, interval]) => sent.set(name, interval));
    if (gone.length) send({ type: 'unsubscribe', requestId: 'off', channels: gone });
    const channels = fresh.map(([name, interval]) => (interval ? { name, interval } : name));
    if (channels.length)
      send({ type: 'subscribe', requestId: from === undefined ? 'more' : 'first', channels, since: from ?? undefined });
  };

  /** @param {any} message */
  const start = ({ cursor }) => since() || say({ type: 'start', cursor });

  /** @param {any} message */
  const begin = async (message) => {
    if (!message.cursor) {
      // Nobody yet. What is sent behind the token waits for its outcome.
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
    else if (type === 'metrics' || type === 'metric') say({ ...message, type: 'state', channel: channel ?? 'metrics' });
    else if (type === 'subscribed') {
      if (message.requestId === 'first') {
        say({ type: 'open', quiet: QUIET_MS, dead: DEAD_MS });
        if (message.resume === 'reset' && message.reason !== 'too_old') say({ type: 'gap', reason: message.reason });
        ping();
        timer = setInterval(ping, PING_MS);
      }
      for (const line of message.channels) {
        if (line.status !== 'denied') continue;
        sent.delete(line.name);
        say({ ...line, type: 'denied' });
      }
    } else if (type === 'pong')
      message.requestId === `p${pings}` && say({ type: 'latency', ms: performance.now() - pingedAt });
    else if (type === 'auth_expiring') say({ type: 'expiring', seconds: message.expiresIn });
    else if (type === 'disconnecting') farewell = { reason: message.reason, retryAfter: message.reconnectAfter * 1000 };
    else if (type === 'error' && /^(first|more)$/.test(message.requestId))
      fail({ reason: message.message, retryAfter: message.details?.retryAfter });
    else if (type === 'error' && !message.requestId) farewell = { reason: message.message, code: message.code };
    else if (type !== 'ping') say(message); // event, gap, response, error; the browser has answered the ping frame
  };

  socket.onmessage = (/** @type {any} */ { data }) => {
    say({ type: 'alive' });
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
