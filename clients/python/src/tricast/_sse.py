"""Incremental parser of `text/event-stream` (WHATWG HTML, section 9.2.6), for the line ends that a tricast server sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """One event of a stream."""

    name: str
    data: str
    id: str | None


class Parser:
    """Takes the bytes of a stream as they arrive, and returns the events that are complete."""

    def __init__(self, limit: int = 64 << 20) -> None:
        self._rest = bytearray()
        self._limit = limit

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Yields the events that end in this chunk.

        Raises:
            ValueError: an event is larger than the limit, or is not UTF-8.
        """
        start = max(0, len(self._rest) - 1)
        self._rest += chunk
        while (end := self._rest.find(b"\n\n", start)) >= 0:
            block = bytes(self._rest[:end])
            del self._rest[: end + 2]
            start = 0
            parsed = _parse(block.decode())
            if parsed:
                yield parsed
        if len(self._rest) > self._limit:
            raise ValueError(f"an event of the stream is larger than {self._limit} bytes")


def _parse(block: str) -> Block | None:
    name, identifier = "message", None
    data: list[str] = []
    for line in block.split("\n"):
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "id":
            identifier = value
        elif field == "data":
            data.append(value)
    return Block(name, "\n".join(data), identifier) if data else None
