"""Calls that block, each on a thread of its own.

Owns the way from such a thread back to the event loop. The threads are daemons: one that hangs holds up neither the
others, as in a pool of a few, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Call ``work`` on a new thread.

    Args:
        work: what to call; whatever it raises is the future's exception.
        name: of the thread, for debuggers.

    Returns:
        Its answer. Cancelling the future ends the wait and not the call.

    Raises:
        RuntimeError: no thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def give(answer: T) -> None:
        if not future.done():
            future.set_result(answer)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def call() -> None:
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            # no future takes a StopIteration, and what would end a process shall not end the caller
            is_odd = isinstance(error, StopIteration) or not isinstance(error, Exception)
            told = RuntimeError(f"{type(error).__name__}: {error}") if is_odd else error
            _tell(loop, lambda: fail(told))
        else:
            _tell(loop, lambda: give(answer))

    threading.Thread(target=call, name=name, daemon=True).start()
    return future


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(what)
