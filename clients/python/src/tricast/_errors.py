"""The error of all calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class TricastError(Exception):
    """The server refused a request, or could not be reached.

    Attributes:
        code: the server's code (`UNAUTHORIZED`, `FORBIDDEN`, `RESOURCE_NOT_FOUND`, `RATE_LIMITED`, `INVALID_MESSAGE`,
            `BEHIND`, `SERVER_ERROR`), `UNREACHABLE` if no reply came, or `NOT_TRICAST` if the reply is not from a tricast
            server.
        status: HTTP status; None without a reply.
        retry_after: seconds after which the server asks to try again; None if it does not.
        details: all members of the problem document (RFC 9457), or of the result of a refused line.
    """

    def __init__(
        self,
        message: str,
        code: str,
        status: int | None = None,
        retry_after: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after = retry_after
        self.details: Mapping[str, Any] = details or {}


def unreachable(reason: Exception, url: str) -> TricastError:
    """Returns the error of a request without a reply."""
    text = str(reason) or type(reason).__name__
    return TricastError(f"can't reach {url}: {text}", "UNREACHABLE")


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> TricastError:
    """Returns the error of a reply that is not a success."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    seconds = headers.get("retry-after", "")
    retry_after = float(seconds) if seconds.isdigit() else None
    if not isinstance(problem, dict) or "code" not in problem:
        text = f"HTTP status {status} without a problem document: is this the URL of a tricast server?"
        return TricastError(text, "NOT_TRICAST", status, retry_after)
    text = problem.get("detail") or problem.get("title") or f"HTTP status {status}"
    return TricastError(str(text), str(problem["code"]), status, retry_after, problem)
