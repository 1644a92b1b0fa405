"""Items that `follow` yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Value:
    """The newest value of a state channel. Of several changes between two items the last one is delivered."""

    channel: str
    data: dict[str, Any]
    timestamp: str | None
    """Time of the change, RFC 3339."""
    cursor: str | None
    """Position to resume from with `since`."""


@dataclass(frozen=True)
class Event:
    """One event. Each is delivered once and in order."""

    channel: str
    event: str
    data: dict[str, Any]
    timestamp: str | None
    cursor: str | None


@dataclass(frozen=True)
class Ended:
    """A state channel has ended and has no value any more."""

    channel: str
    reason: str
    """`deleted`, `expired`, or `unknown` if it was no longer there after a gap."""
    timestamp: str | None
    cursor: str | None


@dataclass(frozen=True)
class Gap:
    """Events were lost, because the server's log no longer reaches back to the cursor. Fresh values follow."""

    reason: str
    """`too_old`, `epoch_changed` (the log was lost) or `unknown_cursor`."""


@dataclass(frozen=True)
class History:
    """History of one channel, delivered once before its first value."""

    channel: str
    interval: str
    start: str
    end: str
    """RFC 3339, exclusive: the time of the first live value."""
    fields: dict[str, list[dict[str, Any]]]
    """Buckets `{period, count, total, average, min, max, last}` by field."""


Update = Value | Event | Ended | Gap | History


def history(channel: str, past: dict[str, Any]) -> History:
    """Returns the history of a channel from a message of the server."""
    return History(channel, past["interval"], past["from"], past["to"], past["fields"])
