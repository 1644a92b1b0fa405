"""Blocking client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import httpx

from . import _calls
from ._calls import Json, Token
from ._errors import unreachable
from ._follow import Close, Command, Deliver, Follower, Lost, Open, Read, Reply, Sleep
from ._updates import Update


class Client:
    """Blocking connection to one server. Close it, or use it in a `with` statement.

    Args:
        url: URL of the server, also below a path (`https://example.com/live/`). Default: TRICAST_URL of the environment,
            otherwise http://localhost:8080.
        token: access token, or a function that returns one, which is called before each request. Default: TRICAST_TOKEN.
        timeout: longest wait for a reply, in seconds.
        http: an `httpx.Client` to use, for example with a proxy or a private certificate authority.
    """

    def __init__(
        self, url: str | None = None, token: Token = None, *, timeout: float = 15.0, http: httpx.Client | None = None
    ) -> None:
        self._address = _calls.address(url, token)
        self._timeout = timeout
        self._http = http or httpx.Client()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def push(
        self, channel: str, data: Json | None = None, *, merge: bool = False, ttl: str | None = None, **fields: Any
    ) -> str:
        """Pushes a value and returns its cursor: `push("metrics.checkout", latency=180, carts=3)`.

        Args:
            merge: replaces the named fields only; otherwise the whole value is replaced.
            ttl: the channel ends when nothing writes it for this time: "30s", "5m", "2h", "7d".

        Raises:
            TricastError: the server refused it, or could not be reached.
        """
        return str(self._call(_calls.push(channel, data, merge, ttl, fields))["cursor"])

    def push_event(self, channel: str, event: str, data: Json | None = None, **fields: Any) -> str:
        """Publishes an event and returns its cursor: `push_event("deploys", "released", version="1.2")`."""
        return str(self._call(_calls.push_event(channel, event, data, fields))["cursor"])

    def sample(
        self, metric: str, value: float | str, kind: str = "gauge", labels: Mapping[str, str] | None = None
    ) -> str:
        """Records a sample (`gauge`, `counter`, `timing` or `set`) and returns its cursor."""
        return str(self._call(_calls.sample(metric, value, kind, labels))["cursor"])

    def push_many(self, lines: Iterable[Json]) -> Json:
        """Pushes several lines as the push API defines them. Returns `{accepted, refused?, cursor, results?}`.

        Refused lines raise no error: look at `refused` and `results`.
        """
        reply: Json = self._call(_calls.push_many(lines))
        return reply

    def delete(self, channel: str) -> None:
        """Ends a pushed channel. Its history stays."""
        self._call(_calls.delete(channel))

    def get(self, channel: str | None = None) -> Json:
        """Returns `{channel, kind, data, cursor, timestamp}` of a channel (`events` of an event channel), or the snapshot."""
        reply: Json = self._call(_calls.get(channel))
        return reply

    def channels(self) -> list[Json]:
        """Returns the channels that the token may read."""
        reply = self._call(_calls.channels())
        return list(reply["channels"])

    def history(
        self, channel: str, *fields: str, start: str | None = None, end: str | None = None, interval: str = "auto"
    ) -> dict[str, list[Json]]:
        """Returns buckets `{period, count, total, average, min, max, last}` by field, of the last hour by default.

        Args:
            fields: names of fields; all by default.
            start, end: RFC 3339, or relative to now, such as "-2h".
            interval: `raw`, `minute`, `hour`, `day`, or `auto`.
        """
        reply = self._call(_calls.history(channel, fields, start, end, interval))
        return dict(_calls.history_reply(reply, fields))

    def follow(
        self,
        *channels: str,
        interval: str | None = None,
        backfill: str | None = None,
        since: str | None = None,
        poll_interval: float = 2.0,
    ) -> Iterator[Update]:
        """Yields values, events, ends and gaps of channels as they come, for ever.

        Uses the event stream, falls back to a long poll and a poll where a proxy does not let it through, and resumes from
        its cursor after each interruption: each event once and in order, or a `Gap`. Interruptions are logged by the logger
        `tricast`.

        Args:
            channels: names, or patterns such as `metrics.*`.
            interval: shortest time between two values of a channel: "500ms", "5s". Events are never held back.
            backfill: delivers the history of this time first: "15m".
            since: cursor of an update, to resume where an earlier call ended.
            poll_interval: seconds between two polls, where neither stream nor long poll work.

        Raises:
            TricastError: the token is missing, not valid or not sufficient, a name is not valid, or the URL is not that of a
                tricast server.
        """
        follower = Follower(
            _calls.names(channels), interval, backfill, since, poll_interval, callable(self._address.token)
        )
        return self._drive(follower)

    def _drive(self, follower: Follower) -> Iterator[Update]:
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
                    result = stream.do(command)
        finally:
            steps.close()
            stream.close()

    def _call(self, call: _calls.Call) -> Any:
        url = self._address.url
        try:
            reply = self._http.request(
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

    def __init__(self, http: httpx.Client, address: _calls.Address) -> None:
        self._http = http
        self._address = address
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def do(self, command: Command) -> Any:
        if isinstance(command, Sleep):
            return time.sleep(command.seconds)
        if isinstance(command, Close):
            return self.close()
        try:
            if isinstance(command, Open):
                return self._open(command)
            return next(self._chunks, b"") if isinstance(command, Read) else None
        except httpx.TimeoutException as error:
            return Lost(
                f"no reply in time from {self._address.url}", was_silent=not isinstance(error, httpx.ConnectTimeout)
            )
        except httpx.HTTPError as error:
            return Lost(str(unreachable(error, self._address.url)))

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _open(self, command: Open) -> Reply:
        self.close()
        request = self._http.build_request(
            "GET",
            self._address.url + command.path,
            params=command.query,
            headers={**command.headers, **self._address.headers()},
            timeout=command.timeout,
        )
        response = self._response = self._http.send(request, stream=True)
        if command.quiet and response.status_code == 200:
            request.extensions["timeout"]["read"] = command.quiet
            self._chunks = response.iter_bytes()
            return Reply(200, response.headers)
        body = response.read()
        self.close()
        return Reply(response.status_code, response.headers, body)
