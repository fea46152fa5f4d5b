"""Blocking calls, each on its own thread, with the result back on the event loop.

The threads are daemons: one that hangs delays neither the others, as in a small pool, nor the end of the process.
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
        work: the call; what it raises becomes the future's exception.
        name: the thread's name, for debuggers.

    Returns:
        Its result. Cancelling the future ends the wait, not the call.

    Raises:
        RuntimeError: no thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(resolve: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the result is dropped
            loop.call_soon_threadsafe(lambda: None if future.done() else resolve())

    def call() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised for the caller
            # futures refuse StopIteration, and an error that would end a process must not end the caller
            is_odd = isinstance(error, StopIteration) or not isinstance(error, Exception)
            raised = RuntimeError(f"{type(error).__name__}: {error}") if is_odd else error
            finish(lambda: future.set_exception(raised))
        else:
            finish(lambda: future.set_result(result))

    threading.Thread(target=call, name=name, daemon=True).start()
    return future
