"""`Client` and `AsyncClient` behind one interface, so that each test holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.kits.waiting import WITHIN_S
from tracker.client import AsyncClient, Client

Json = Any
"""What methods take and return."""

KINDS = {"sync": Client, "async": AsyncClient}


class Driver:
    """One client. Its calls run on a thread if it is the blocking one."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def call(self, name: str, *arguments: Json, **options: Json) -> Json:
        """Call a method."""
        method = getattr(self.client, name)
        async with asyncio.timeout(WITHIN_S):
            if isinstance(self.client, Client):
                return await asyncio.to_thread(method, *arguments, **options)
            return await method(*arguments, **options)

    async def items(self, name: str, *arguments: Json, **options: Json) -> AsyncIterator[Json]:
        """What a method yields."""
        made = getattr(self.client, name)(*arguments, **options)
        if isinstance(self.client, AsyncClient):
            async for item in made:
                yield item
            return
        end = object()
        while (item := await asyncio.to_thread(next, made, end)) is not end:
            yield item

    async def first(self, count: int, name: str, *arguments: Json, **options: Json) -> list[Json]:
        """The first of what a method yields; the rest is not asked for."""
        found: list[Json] = []
        async with asyncio.timeout(WITHIN_S):
            items = self.items(name, *arguments, **options)
            async for item in items:
                found.append(item)
                if len(found) == count:
                    break
        return found


@asynccontextmanager
async def driving(kind: str, url: str, token: str | None = None, *, patience_s: float = 20.0) -> AsyncIterator[Driver]:
    """A client of a daemon."""
    if kind == "sync":
        yield Driver(Client(url, token, patience_s=patience_s))
        return
    async with AsyncClient(url, token, patience_s=patience_s) as client:
        yield Driver(client)
