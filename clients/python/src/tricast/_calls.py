"""Requests of both clients and their replies, without any input or output."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from ._errors import TricastError, refusal

Json = dict[str, Any]
Token = None | str | Callable[[], str | None]


@dataclass(frozen=True)
class Call:
    """One request: method, path relative to the server's URL, query, and JSON body."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True)
class Address:
    """URL of a server, and the token for it."""

    url: str
    token: Token

    def headers(self) -> dict[str, str]:
        """Returns the headers of each request. The token is never part of a URL, because URLs are logged."""
        token = self.token() if callable(self.token) else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def address(url: str | None, token: Token) -> Address:
    """Returns the address of a server: the arguments, or TRICAST_URL and TRICAST_TOKEN of the environment.

    Raises:
        ValueError: the URL is missing, not http(s), or contains a user, a query or a fragment.
    """
    url = url or os.environ.get("TRICAST_URL") or "http://localhost:8080"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https URL: {url}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the URL has to be without user, query and fragment; pass the token as token=")
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    return Address(urlunsplit((parts.scheme, parts.netloc, path, "", "")), token or os.environ.get("TRICAST_TOKEN"))


def push(channel: str, data: Json | None, merge: bool, ttl: str | None, fields: Json) -> Call:
    """Returns the push of one value."""
    line: Json = {"channel": channel, "data": {**(data or {}), **fields}}
    if merge:
        line["merge"] = True
    if ttl is not None:
        line["ttl"] = ttl
    return Call("POST", "api/metrics", body=line)


def push_event(channel: str, event: str, data: Json | None, fields: Json) -> Call:
    """Returns the push of one event."""
    return Call("POST", "api/metrics", body={"channel": channel, "event": event, "data": {**(data or {}), **fields}})


def sample(metric: str, value: float | str, kind: str, labels: Mapping[str, str] | None) -> Call:
    """Returns the push of one sample."""
    line: Json = {"metric": metric, "type": kind, "value": value}
    if labels:
        line["labels"] = dict(labels)
    return Call("POST", "api/metrics", body=line)


def push_many(lines: Iterable[Json]) -> Call:
    """Returns a push of several lines."""
    return Call("POST", "api/metrics", body=list(lines))


def delete(channel: str) -> Call:
    """Returns the deletion of a channel."""
    return Call("DELETE", f"api/metrics/{quote(channel, safe='')}")


def get(channel: str | None) -> Call:
    """Returns the request for the current value of a channel, or for the snapshot of all."""
    return Call("GET", f"api/metrics/{quote(channel, safe='')}" if channel else "api/metrics")


def channels() -> Call:
    """Returns the request for the list of channels."""
    return Call("GET", "api/channels")


def history(channel: str, fields: Sequence[str], start: str | None, end: str | None, interval: str) -> Call:
    """Returns the request for the history of a channel."""
    query = {"channel": channel, "interval": interval}
    if fields:
        query["field"] = ",".join(fields)
    if start:
        query["from"] = start
    if end:
        query["to"] = end
    return Call("GET", "api/history", query)


def names(wanted: Sequence[str]) -> list[str]:
    """Returns the channels to follow.

    Raises:
        ValueError: there are none, or a name contains a comma.
    """
    if not wanted:
        raise ValueError("no channel to follow: pass at least one name, such as 'metrics.*'")
    for name in wanted:
        if not isinstance(name, str) or "," in name:
            raise ValueError(f"not the name of a channel: {name!r}")
    return list(wanted)


def parse(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Returns the JSON value of a reply, None if it has no body.

    Raises:
        TricastError: the reply is not a success.
    """
    if not 200 <= status < 300:
        raise refusal(status, headers, body)
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        text = "the reply is not JSON: is this the URL of a tricast server?"
        raise TricastError(text, "NOT_TRICAST", status) from None


def history_reply(reply: Json, fields: Sequence[str]) -> Json:
    """Returns the buckets of a history by field; with one field the server sends them without its name."""
    return reply["fields"] if "fields" in reply else {fields[0]: reply["buckets"]}
