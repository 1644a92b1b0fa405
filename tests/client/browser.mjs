// The browser features that tabs need to share a connection: Web Locks, BroadcastChannel and a document that can be hidden.

/** Defines the fakes in the global scope until the test ends. */
export function fakeBrowser(t) {
  const channels = new Set();
  /** Tabs whose scripts are suspended: they neither send nor receive messages. */
  const frozen = new Set();
  const browser = { tab: 0, frozen, document: new EventTarget(), locks: new Map(), channels };
  browser.document.hidden = false;
  browser.setHidden = (hidden) => {
    browser.document.hidden = hidden;
    browser.document.dispatchEvent(new Event('visibilitychange'));
  };

  class BroadcastChannel {
    constructor(name) {
      Object.assign(this, { name, tab: browser.tab });
      channels.add(this);
    }

    postMessage(message) {
      if (frozen.has(this.tab)) return;
      const data = structuredClone(message);
      for (const other of channels) {
        if (other === this || other.name !== this.name || frozen.has(other.tab)) continue;
        queueMicrotask(() => channels.has(other) && other.onmessage?.({ data }));
      }
    }

    close() {
      channels.delete(this);
    }
  }

  /** Lock name to its queue: the holder first, then the waiting requests in order. */
  const queues = new Map();
  const request = (name, options, callback) =>
    new Promise((resolve, reject) => {
      const queue = queues.get(name) ?? queues.set(name, []).get(name);
      const entry = { tab: browser.tab, held: false, reject, callback, resolve };
      const leave = () => {
        const at = queue.indexOf(entry);
        if (at >= 0) queue.splice(at, 1);
        grant(queue);
      };
      entry.leave = leave;
      options.signal?.addEventListener('abort', () => {
        if (entry.held) return;
        leave();
        reject(new DOMException('aborted', 'AbortError'));
      });
      if (options.steal) {
        const [holder] = queue;
        if (holder?.held) {
          queue.shift();
          holder.reject(new DOMException('stolen', 'AbortError'));
        }
        queue.unshift(entry);
      } else queue.push(entry);
      grant(queue);
    });
  function grant(queue) {
    const [first] = queue;
    if (!first || first.held) return;
    first.held = true;
    queueMicrotask(async () => {
      const result = await first.callback({});
      first.leave();
      first.resolve(result);
    });
  }
  /** Ends a tab without notice: its locks are released and its channels are closed. */
  browser.crash = (tab) => {
    frozen.add(tab);
    for (const channel of [...channels]) if (channel.tab === tab) channels.delete(channel);
    for (const queue of queues.values()) for (const entry of [...queue]) if (entry.tab === tab) entry.leave();
  };

  const globals = { document: browser.document, navigator: { locks: { request } }, BroadcastChannel };
  const before = Object.keys(globals).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  for (const [name, value] of Object.entries(globals))
    Object.defineProperty(globalThis, name, { configurable: true, writable: true, value });
  t.after(() => {
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete globalThis[name];
    }
  });
  return browser;
}
