"""The specification of Python plug-ins.

A plug-in is a module or an object in the entry-point group ``tracker.hooks``::

    [project.entry-points."tracker.hooks"]
    publish = "my_package.publish"

with one function, which may take any of the arguments by name::

    from tracker.hooks import PermanentFailure, hookimpl

    @hookimpl
    def tracker_task_event(event, attempt):
        ...

and is picked by ``plugin = "publish"`` in a ``[[hooks]]`` table.

Owns the specification alone. Must not import the rest of the tracker: plug-ins import this.
"""

from __future__ import annotations

from typing import Any, Final

import pluggy

PROJECT: Final = "tracker"
GROUP: Final = "tracker.hooks"

hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Marks the function of a plug-in."""


class PermanentFailure(Exception):
    """Raised by a plug-in: a retry of this event does not help. The delivery is failed for good."""


@hookspec
def tracker_task_event(event: dict[str, Any], delivery_id: str, attempt: int) -> str | None:
    """Handle one change of a task, or of an alarm if the hook subscribes to these.

    A plain function runs on a thread, a coroutine function on an event loop of the plug-in's own. After any exception
    but `PermanentFailure` the delivery is retried.

    Args:
        event: the same JSON as for every hook.
        delivery_id: the same in every attempt: use it to do things once.
        attempt: 1 or more.

    Returns:
        A text to record with the delivery, or None.
    """
