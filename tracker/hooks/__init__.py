"""Completion hooks: what runs when a task changes, and the dispatcher that drains the outbox into them.

A hook is a `HookSpec` (who hears what, and how patiently it is tried) with an action of one kind. A kind is one
file with an action and a runner, and one line in `registry.py`. The dispatcher knows no kind, and a runner knows
neither the store nor other deliveries.

Authors of plug-ins need `hookimpl` and `PermanentFailure`; see `tracker.hooks.plugin_spec`.
"""

from tracker.hooks.plugin_spec import PermanentFailure, hookimpl

__all__ = ["PermanentFailure", "hookimpl"]
