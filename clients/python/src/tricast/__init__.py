"""Client of a tricast server: push numbers, follow channels live, read history.

`Client` blocks, `AsyncClient` is for asyncio; both have the same methods.
"""

from ._errors import TricastError
from ._updates import Ended, Event, Gap, History, Update, Value
from .aio import AsyncClient
from .client import Client

__all__ = ["AsyncClient", "Client", "Ended", "Event", "Gap", "History", "TricastError", "Update", "Value"]
