"""A server of the test, and a proxy in front of it that misbehaves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

PROGRAM = os.environ.get("TRICAST_BIN", str(Path(__file__).parents[3] / "target/debug/tricast"))


class Server:
    """A tricast server on a free port."""

    def __init__(self, *options: str) -> None:
        settings = {name: value for name, value in os.environ.items() if not name.startswith("TRICAST_")}
        self.process = subprocess.Popen(
            [PROGRAM, "--listen", "127.0.0.1:0", *options],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "dashboard":
                self.url = rest.strip()
                return
        raise RuntimeError(f"{PROGRAM} has not started")

    def stop(self) -> None:
        """Kills the server."""
        self.process.kill()
        self.process.communicate()


#: Returns what the proxy does with a request, by its first line: "pass", "refuse" (502), "hang" (no reply), "swallow" (passes
#: the reply's header and keeps its body), or "cut" (passes some bytes of the reply and closes).
Rule = Callable[[str], str]


class Proxy:
    """A TCP proxy in a thread of its own, for requests without a body."""

    def __init__(self, target: str, rule: Rule) -> None:
        host, _, port = target.split("//")[1].strip("/").partition(":")
        self._target = (host, int(port))
        self.rule = rule
        self.requests: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Closes all connections."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        self._ready.set()
        await self._stopped.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.split(b"\r\n")[0].decode()
            self.requests.append(line)
            await self._apply(self.rule(line), head, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _apply(self, action: str, head: bytes, writer: asyncio.StreamWriter) -> None:
        if action == "refuse":
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if action == "hang":
            await asyncio.sleep(3600)
        upstream_reader, upstream = await asyncio.open_connection(*self._target)
        upstream.write(head.replace(b"keep-alive", b"close"))
        left = 700 if action == "cut" else None
        try:
            if action == "swallow":
                writer.write(await upstream_reader.readuntil(b"\r\n\r\n"))
                await asyncio.sleep(3600)
            while (chunk := await upstream_reader.read(65536)) and (left is None or left > 0):
                writer.write(chunk[:left])
                left = None if left is None else left - len(chunk)
                await writer.drain()
        finally:
            upstream.close()
