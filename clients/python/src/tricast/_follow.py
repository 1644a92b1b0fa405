"""Following channels: fallback between transports, resuming, and delivery of each event once.

`Follower.run` is a generator without any input or output: it yields commands and is sent their results, so that the blocking
and the asyncio client share all of it.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._errors import TricastError, refusal
from ._position import Position, without_states
from ._sse import Block, Parser
from ._updates import Ended, Event, Gap, Update, Value, history

log = logging.getLogger("tricast")

#: Time within which an event stream has to begin, in seconds. A proxy that buffers it raises no error.
OPENING = 5.0
#: Longest silence of an event stream, on which a comment is sent every 15 s.
QUIET = 40.0
#: Time that a long poll is held: below the 25 s that the server allows and the 60 s after which common proxies cut.
HOLD = 20
#: Longest time of a poll beyond the time it is held.
REPLY = 8.0
#: Pause between two long polls, so that a fast channel does not cause as many requests.
BREATH = 0.2
#: Time after a gap within which a channel that has not ended is sent again.
FRESH = 3.0
#: Bounds of the time after which a better transport is tried again.
BETTER = (30.0, 600.0)
#: Refusals of a token in a row after which following ends.
MAX_REFUSED = 3


@dataclass(frozen=True)
class Open:
    """Sends a GET. The result is a `Reply`, or `Lost`."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    timeout: float
    """Longest wait for the headers and for each part of the body, in seconds."""
    quiet: float | None = None
    """Longest wait for each part of the body of a stream, which is not read before `Read`."""


@dataclass(frozen=True)
class Read:
    """Reads the next part of the open stream. The result is bytes, empty at its end, or `Lost`."""


@dataclass(frozen=True)
class Close:
    """Closes the open stream."""


@dataclass(frozen=True)
class Sleep:
    """Waits."""

    seconds: float


@dataclass(frozen=True)
class Deliver:
    """Passes an update to the caller."""

    update: Update


@dataclass(frozen=True)
class Reply:
    """Status, headers (lower case) and, unless it is a stream with status 200, the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Lost:
    """No reply, or a connection that was cut."""

    reason: str
    was_silent: bool = False


@dataclass(frozen=True)
class Down:
    """The end of one attempt with one transport."""

    reason: str
    worked: bool
    falls_back: bool = False
    retry_after: float | None = None
    is_planned: bool = False
    """A better transport is tried now."""


Command = Open | Read | Close | Sleep | Deliver
Steps = Generator[Command, Any, None]
Attempt = Generator[Command, Any, Down]


@dataclass
class Follower:
    """One call of `follow`."""

    channels: list[str]
    interval: str | None = None
    backfill: str | None = None
    since: str | None = None
    poll_interval: float = 2.0
    has_new_tokens: bool = False
    """Whether another token may be had after a refusal, because the token is a function."""
    clock: Callable[[], float] = time.monotonic
    _values: dict[str, Any] = field(default_factory=dict)
    _doubtful: set[str] = field(default_factory=set)
    _doubtful_until: float = 0.0
    _refused: int = 0

    def run(self) -> Steps:
        """Follows until the caller stops; ends by itself only if the server asks for that (204)."""
        self.position = Position(self.since)
        rung, failures, lost_at, better = 0, 0, 0.0, BETTER[0]
        while True:
            self._better_at = self.clock() + better
            down = yield from (self._stream() if rung == 0 else self._poll(HOLD if rung == 1 else 0))
            if down.reason == "":
                return
            if down.is_planned:
                rung, better = 0, min(2 * better, BETTER[1])
                continue
            if down.falls_back and rung < 2:
                rung += 1
                log.info("%s; falling back to a %s", down.reason, "long poll" if rung == 1 else "poll")
                continue
            if down.worked:
                failures = 0
            if failures == 0:
                lost_at = self.clock()
            failures += 1
            wait = backoff(failures, self.clock() - lost_at)
            if down.retry_after is not None:
                wait = down.retry_after + backoff(1, 0)
            level = logging.INFO if down.worked else logging.WARNING
            log.log(level, "%s; trying again in %.1f s", down.reason, wait)
            yield Sleep(wait)

    # Event stream

    def _stream(self) -> Attempt:
        query = self._query()
        query["strict"] = "1"
        reply = yield Open("events", query, {"Accept": "text/event-stream"}, OPENING, QUIET)
        if isinstance(reply, Lost):
            return Down(reply.reason, worked=False, falls_back=reply.was_silent)
        if reply.status == 204:
            return Down("", worked=True)
        if reply.status != 200:
            return self._stream_refusal(reply)
        if not reply.headers.get("content-type", "").startswith("text/event-stream"):
            yield Close()
            return Down("the reply is no event stream", worked=False, falls_back=True)
        down = yield from self._receive(Parser())
        yield Close()
        return down

    def _receive(self, parser: Parser) -> Attempt:
        is_open = False
        while True:
            chunk = yield Read()
            if isinstance(chunk, Lost):
                return Down(chunk.reason, worked=is_open, falls_back=not is_open)
            if not chunk:
                return Down("the stream ended", worked=is_open, falls_back=not is_open)
            for block in parser.feed(chunk):
                body = json.loads(block.data)
                if block.name == "connected":
                    is_open = True
                    self._refused = 0
                elif block.name == "bye":
                    return Down(
                        f"the server closed the stream: {body['reason']}", True, retry_after=body["reconnectAfter"]
                    )
                elif block.name == "error":
                    return self._failure(block.data.encode(), body)
                yield from self._block(block, body)
            if self._doubtful and self.clock() >= self._doubtful_until:
                yield from self._end_doubtful()

    def _block(self, block: Block, body: Any) -> Steps:
        name, cursor = block.name, block.id
        if name == "connected":
            if body["resume"] == "reset" and body.get("reason") != "too_old" and self.position.cursor:
                yield from self._gap(body["reason"])
            if not self.position.cursor:
                self.position.cursor = without_states(body["cursor"])
            return
        if name == "history":
            yield from self._history(body["channel"], body.get("data"), body.get("error"))
        elif name == "gap":
            if body["reason"] == "too_old":
                yield from self._gap("too_old")
        elif name == "metrics":
            yield from self._value("metrics", body, body.get("timestamp"), cursor)
        elif name == "metric" and "gone" in body:
            yield from self._ended(body["channel"], body["gone"], body["timestamp"], cursor)
        elif name == "metric":
            yield from self._value(body["channel"], body["data"], body["timestamp"], cursor)
        elif name == "alert":
            action = body.pop("action")
            yield from self._event("alerts", f"alert_{action}", body, body.get(f"{action}At"), cursor)
        elif name not in ("ping", "auth_expiring"):
            yield from self._event(body["channel"], body["event"], body["data"], body["timestamp"], cursor)
        self.position.cursor = cursor or self.position.cursor

    # Polls

    def _poll(self, hold: int) -> Attempt:
        is_first, worked = True, False
        tag = ""
        while True:
            if self.clock() >= self._better_at:
                return Down("trying a better transport", worked, is_planned=True)
            if not self.position.cursor:  # an event channel of every server: its poll returns the current cursor
                start = yield Open("api/metrics", {"channels": "system"}, {}, REPLY)
                if isinstance(start, Lost) or start.status != 200:
                    return self._poll_down(start, worked, hold)
                self.position.cursor = without_states(json.loads(start.body)["cursor"])
            query = self._query()
            if is_first:
                query["since"] = without_states(self.position.cursor)
            held = 0 if is_first else hold
            if held:
                query["wait"] = str(held)
            reply = yield Open("api/metrics", query, {"If-None-Match": tag} if tag else {}, held + REPLY)
            if isinstance(reply, Lost) or reply.status not in (200, 304):
                return self._poll_down(reply, worked, hold)
            is_first, worked, self._refused = False, True, 0
            if reply.status == 200:
                body = json.loads(reply.body)
                has_changes = body["channels"] or body["events"] or body.get("gone")
                tag = "" if has_changes else reply.headers.get("etag", "")
                yield from self._body(body)
            yield Sleep(BREATH if hold else self.poll_interval)

    def _poll_down(self, reply: Reply | Lost, worked: bool, hold: int) -> Down:
        if isinstance(reply, Reply):
            return self._refusal(reply)
        return Down(reply.reason, worked, falls_back=reply.was_silent and hold > 0)

    def _body(self, body: Any) -> Steps:
        timestamp, cursor = body["timestamp"], body["cursor"]
        if body.get("gap"):
            yield from self._gap("too_old")
        for channel, past in body.get("history", {}).items():
            yield from self._history(channel, past, None)
        for event in body["events"]:
            yield from self._event(event["channel"], event["event"], event["data"], event["timestamp"], event["cursor"])
        for channel, reason in body.get("gone", {}).items():
            yield from self._ended(channel, reason, timestamp, cursor)
        for channel, data in body["channels"].items():
            yield from self._value(channel, data, timestamp, cursor)
        yield from self._end_doubtful()  # after a gap a poll has all channels that there are
        self.position.cursor = cursor
        self.backfill = None

    # Delivery

    def _query(self) -> dict[str, str]:
        query = {"channels": ",".join(self.channels)}
        if self.position.cursor:
            query["since"] = self.position.cursor
        if self.interval:
            query["interval"] = self.interval
        if self.backfill:
            query["backfill"] = self.backfill
        return query

    def _value(self, channel: str, data: Any, timestamp: str | None, cursor: str | None) -> Steps:
        self.backfill = None
        self._doubtful.discard(channel)
        if channel in self._values and self._values[channel] == data:
            return  # a new connection sends each value again; a change always differs
        self._values[channel] = data
        yield Deliver(Value(channel, data, timestamp, cursor))

    def _event(self, channel: str, event: str, data: Any, timestamp: str | None, cursor: str | None) -> Steps:
        if self.position.admits(channel, cursor, (event, data)):
            yield Deliver(Event(channel, event, data, timestamp, cursor))

    def _ended(self, channel: str, reason: str, timestamp: str | None, cursor: str | None) -> Steps:
        self._doubtful.discard(channel)
        if self._values.pop(channel, None) is not None:
            yield Deliver(Ended(channel, reason, timestamp, cursor))

    def _history(self, channel: str, past: Any, error: Any) -> Steps:
        if error:
            log.warning("no history of %s: %s", channel, error.get("detail"))
        else:
            yield Deliver(history(channel, past))

    def _gap(self, reason: str) -> Steps:
        self._doubtful = set(self._values)
        self._doubtful_until = self.clock() + FRESH
        yield Deliver(Gap(reason))

    def _end_doubtful(self) -> Steps:
        for channel in sorted(self._doubtful):
            yield from self._ended(channel, "unknown", None, None)

    # Refusals

    def _stream_refusal(self, reply: Reply) -> Down:
        error = refusal(reply.status, reply.headers, reply.body)
        if error.code == "NOT_TRICAST":  # a proxy that refuses event streams, or a wrong URL: a poll will show
            return Down(str(error), worked=False, falls_back=True)
        return self._down(error)

    def _refusal(self, reply: Reply) -> Down:
        return self._down(refusal(reply.status, reply.headers, reply.body))

    def _failure(self, text: bytes, problem: Any) -> Down:
        error = refusal(problem["status"], {}, text)
        error.retry_after = problem.get("retryAfter")
        return self._down(error)

    def _down(self, error: TricastError) -> Down:
        """Returns the end of an attempt that may succeed later, or raises the error."""
        if error.status == 401:
            self._refused += 1
            if not self.has_new_tokens or self._refused >= MAX_REFUSED:
                raise error
        elif error.status not in (408, 429) and (error.status or 0) < 500:
            raise error
        return Down(str(error), worked=False, retry_after=error.retry_after)


def backoff(failures: int, lost: float) -> float:
    """Returns a random delay (full jitter), so that clients of a restarted server do not reconnect at once.

    The bound doubles from 0.5 s to 5 s; to 20 s after the first minute.
    """
    return random.random() * min(5.0 if lost < 60 else 20.0, 0.5 * 2.0 ** (min(failures, 10) - 1))
