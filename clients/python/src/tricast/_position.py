"""Position in the server's log, and the filter that delivers each event once."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

#: Channels with stored events, each of which differs from all others: after a crash the server may send the last ones again.
_STORED = ("orders", "alerts")
#: Number of these events that are kept for the comparison.
_KEPT = 256


class Position:
    """The cursor (`EPOCH:OFFSET` or `EPOCH:OFFSET.STATE`) and the newest event of each channel.

    An event is a duplicate if its channel had one at the same or a later offset of the same epoch: replays begin at the
    cursor, which may be before events that were delivered. A stored event is also a duplicate if it equals one of another
    epoch.
    """

    def __init__(self, since: str | None = None) -> None:
        self.cursor = since
        self._newest: dict[str, tuple[str, int]] = {}
        self._stored: OrderedDict[str, str] = OrderedDict()

    def admits(self, channel: str, cursor: str | None, event: tuple[str, Any]) -> bool:
        """Returns whether an event is new, and records it. An event without a cursor is in no log and always new."""
        if not cursor:
            return True
        epoch, offset = _parts(cursor)
        newest = self._newest.get(channel)
        if newest and newest[0] == epoch and offset <= newest[1]:
            return False
        self._newest[channel] = (epoch, offset)
        if channel not in _STORED:
            return True
        text = json.dumps(event, sort_keys=True)
        if self._stored.get(text, epoch) != epoch:
            return False
        self._stored[text] = epoch
        if len(self._stored) > _KEPT:
            self._stored.popitem(last=False)
        return True


def _parts(cursor: str) -> tuple[str, int]:
    epoch, _, rest = cursor.partition(":")
    return epoch, int(rest.partition(".")[0])


def without_states(cursor: str) -> str:
    """Returns the same position with no states delivered."""
    return f"{cursor.partition('.')[0]}.0"
