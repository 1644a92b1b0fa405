// A proxy with typical faults. Each kind of traffic has a mode, which can be changed at any time.
//
//     websocket  pass | refuse (400) | swallow: accepts the upgrade and forwards no frames, without an error
//     sse        pass | refuse (502) | buffer: holds the response back until the server ends it
//     poll       pass | refuse (502) | hang: sends no response
//
// `cut()` breaks all connections, also in the middle of a message.

import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { onTestEnd } from './helpers.mjs';

export async function startBadProxy(t, port, faults = {}) {
  const mode = { websocket: 'pass', sse: 'pass', poll: 'pass', ...faults };
  const sockets = new Set();
  const seen = { websocket: 0, sse: 0, poll: 0, urls: [] };
  const keep = (socket) => {
    if (sockets.has(socket)) return socket; // kept alive for another request
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    return socket;
  };

  const kindOf = ({ url }) =>
    /^\/(api\/)?events/.test(url) ? 'sse' : url.startsWith('/api/metrics') ? 'poll' : 'other';

  const proxy = http.createServer((request, response) => {
    const kind = kindOf(request);
    if (kind !== 'other') seen[kind] += 1;
    seen.urls.push(request.url);
    if (mode[kind] === 'refuse') return response.writeHead(502).end();
    if (mode[kind] === 'hang') return;
    const { method, url, headers } = request;
    const onward = http.request({ port, host: '127.0.0.1', method, path: url, headers }, (upstream) => {
      if (kind === 'sse' && mode.sse === 'buffer') {
        response.writeHead(upstream.statusCode, upstream.headers).flushHeaders();
        const held = [];
        upstream.on('data', (bytes) => held.push(bytes));
        upstream.on('end', () => response.end(Buffer.concat(held)));
        return;
      }
      response.writeHead(upstream.statusCode, upstream.headers);
      response.flushHeaders();
      upstream.pipe(response);
    });
    onward.on('socket', keep);
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });

  proxy.on('upgrade', (request, near) => {
    seen.websocket += 1;
    seen.urls.push(request.url);
    if (mode.websocket === 'refuse')
      return near.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    const far = keep(net.connect(port, '127.0.0.1'));
    const head = [`${request.method} ${request.url} HTTP/1.1`];
    for (let n = 0; n < request.rawHeaders.length; n += 2)
      head.push(`${request.rawHeaders[n]}: ${request.rawHeaders[n + 1]}`);
    far.write(`${head.join('\r\n')}\r\n\r\n`);
    let upgraded = false;
    far.on('data', (bytes) => {
      const swallows = mode.websocket === 'swallow';
      // The response to the upgrade is forwarded, frames are not.
      if (!swallows) near.write(bytes);
      else if (!upgraded) near.write(bytes.subarray(0, bytes.indexOf('\r\n\r\n') + 4));
      upgraded = true;
    });
    near.on('data', (bytes) => mode.websocket === 'swallow' || far.write(bytes));
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });

  proxy.on('connection', keep);
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const cut = () => sockets.forEach((socket) => socket.destroy());
  onTestEnd(t, () => {
    cut();
    proxy.close();
  });
  return { url: `http://127.0.0.1:${proxy.address().port}/`, mode, seen, cut };
}
