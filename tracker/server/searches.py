"""Searches for clients: one that disconnects ends its search."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T")

LOOK_AGAIN_S: Final = 0.05
"""How often a search that is not over looks for its client."""


async def search(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Run a search, and cancel it if the client disconnects.

    Raises:
        ConnectionError: the client has disconnected.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_AGAIN_S))[0]:
            if is_gone(request):
                raise ConnectionError("the client has disconnected")
        return task.result()
    finally:
        task.cancel()


def is_gone(request: web.BaseRequest) -> bool:
    """Whether the client has disconnected."""
    transport = request.transport
    return transport is None or transport.is_closing()
