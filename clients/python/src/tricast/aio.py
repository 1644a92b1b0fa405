"""Client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any

import httpx

from . import _calls
from ._calls import Json, Token
from ._errors import unreachable
from ._follow import Close, Command, Deliver, Follower, Lost, Open, Read, Reply, Sleep
from ._updates import Update


class AsyncClient:
    """Connection to one server. Close it, or use it in an `async with` statement.

    Args:
        url: URL of the server, also below a path (`https://example.com/live/`). Default: TRICAST_URL of the environment,
            otherwise http://localhost:8080.
        token: access token, or a function that returns one, which is called before each request. Default: TRICAST_TOKEN.
        timeout: longest wait for a reply, in seconds.
        http: an `httpx.AsyncClient` to use, for example with a proxy or a private certificate authority.
    """

    def __init__(
        self,
        url: str | None = None,
        token: Token = None,
        *,
        timeout: float = 15.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._address = _calls.address(url, token)
        self._timeout = timeout
        self._http = http or httpx.AsyncClient()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def push(
        self, channel: str, data: Json | None = None, *, merge: bool = False, ttl: str | None = None, **fields: Any
    ) -> str:
        """Pushes a value and returns its cursor. See `Client.push`."""
        return str((await self._call(_calls.push(channel, data, merge, ttl, fields)))["cursor"])

    async def push_event(self, channel: str, event: str, data: Json | None = None, **fields: Any) -> str:
        """Publishes an event and returns its cursor."""
        return str((await self._call(_calls.push_event(channel, event, data, fields)))["cursor"])

    async def sample(
        self, metric: str, value: float | str, kind: str = "gauge", labels: Mapping[str, str] | None = None
    ) -> str:
        """Records a sample (`gauge`, `counter`, `timing` or `set`) and returns its cursor."""
        return str((await self._call(_calls.sample(metric, value, kind, labels)))["cursor"])

    async def push_many(self, lines: Iterable[Json]) -> Json:
        """Pushes several lines. See `Client.push_many`."""
        reply: Json = await self._call(_calls.push_many(lines))
        return reply

    async def delete(self, channel: str) -> None:
        """Ends a pushed channel. Its history stays."""
        await self._call(_calls.delete(channel))

    async def get(self, channel: str | None = None) -> Json:
        """Returns `{channel, kind, data, cursor, timestamp}` of a channel (`events` of an event channel), or the snapshot."""
        reply: Json = await self._call(_calls.get(channel))
        return reply

    async def channels(self) -> list[Json]:
        """Returns the channels that the token may read."""
        reply = await self._call(_calls.channels())
        return list(reply["channels"])

    async def history(
        self, channel: str, *fields: str, start: str | None = None, end: str | None = None, interval: str = "auto"
    ) -> dict[str, list[Json]]:
        """Returns buckets by field. See `Client.history`."""
        reply = await self._call(_calls.history(channel, fields, start, end, interval))
        return dict(_calls.history_reply(reply, fields))

    def follow(
        self,
        *channels: str,
        interval: str | None = None,
        backfill: str | None = None,
        since: str | None = None,
        poll_interval: float = 2.0,
    ) -> AsyncIterator[Update]:
        """Yields updates of channels as they come, for ever. See `Client.follow`.

        Use it in `async for`; leaving the loop closes the stream.
        """
        follower = Follower(
            _calls.names(channels), interval, backfill, since, poll_interval, callable(self._address.token)
        )
        return self._drive(follower)

    async def _drive(self, follower: Follower) -> AsyncIterator[Update]:
        steps = follower.run()
        stream = _Stream(self._http, self._address)
        result: Any = None
        try:
            while True:
                try:
                    command = steps.send(result)
                except StopIteration:
                    return
                if isinstance(command, Deliver):
                    yield command.update
                    result = None
                else:
                    result = await stream.do(command)
        finally:
            steps.close()
            await stream.close()

    async def _call(self, call: _calls.Call) -> Any:
        url = self._address.url
        try:
            reply = await self._http.request(
                call.method,
                url + call.path,
                params=call.query,
                json=call.body,
                headers=self._address.headers(),
                timeout=self._timeout,
            )
        except httpx.HTTPError as error:
            raise unreachable(error, url) from error
        return _calls.parse(reply.status_code, reply.headers, reply.content)


class _Stream:
    """Carries out the commands of a follower."""

    def __init__(self, http: httpx.AsyncClient, address: _calls.Address) -> None:
        self._http = http
        self._address = address
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def do(self, command: Command) -> Any:
        if isinstance(command, Sleep):
            return await asyncio.sleep(command.seconds)
        if isinstance(command, Close):
            return await self.close()
        try:
            if isinstance(command, Open):
                return await self._open(command)
            if isinstance(command, Read) and self._chunks is not None:
                return await anext(self._chunks, b"")
            return None
        except httpx.TimeoutException as error:
            return Lost(
                f"no reply in time from {self._address.url}", was_silent=not isinstance(error, httpx.ConnectTimeout)
            )
        except httpx.HTTPError as error:
            return Lost(str(unreachable(error, self._address.url)))

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None

    async def _open(self, command: Open) -> Reply:
        await self.close()
        request = self._http.build_request(
            "GET",
            self._address.url + command.path,
            params=command.query,
            headers={**command.headers, **self._address.headers()},
            timeout=command.timeout,
        )
        response = self._response = await self._http.send(request, stream=True)
        if command.quiet and response.status_code == 200:
            request.extensions["timeout"]["read"] = command.quiet
            self._chunks = response.aiter_bytes()
            return Reply(200, response.headers)
        body = await response.aread()
        await self.close()
        return Reply(response.status_code, response.headers, body)
