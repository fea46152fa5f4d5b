"""Waiting: for a signal where there is one, by asking again where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, TypeVar

T = TypeVar("T")

WITHIN_S = 40.0
"""How long a test waits for what must happen; only a failing test waits that long."""


class Signal:
    """Wakes those who wait for a condition."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()

    def notify(self) -> None:
        """Have every waiter check its condition."""
        self._happened.set()

    async def until(self, check: Callable[[], T | None], within_s: float = WITHIN_S) -> T:
        """The first true result of ``check``, which is called after each `notify`."""
        async with asyncio.timeout(within_s):
            while not (found := check()):
                self._happened.clear()
                await self._happened.wait()
            return found


async def until(check: Callable[[], Any], within_s: float = WITHIN_S) -> Any:  # noqa: ANN401 - of any type
    """The first true result of a function or coroutine function, for changes that send no signal."""
    async with asyncio.timeout(within_s):
        while True:
            result = check()
            found = await result if isawaitable(result) else result
            if found:
                return found
            await asyncio.sleep(0.005)
