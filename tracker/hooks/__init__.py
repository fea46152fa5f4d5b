"""Completion hooks: what runs when a task changes, and the dispatcher that drains the outbox into them.

A hook is a `tracker.config.hooks.HookSpec` (its events, filters and limits) with an action of one kind. A kind is one
file in `kinds` with its keys, action and runner, and one line in `registry.py`. The dispatcher knows no kind, and a
runner knows neither the store nor other deliveries.

Authors of plug-ins need `hookimpl` and `PermanentFailure`; see `tracker.hooks.plugin_spec`.
"""

from tracker.hooks.plugin_spec import PermanentFailure, hookimpl

__all__ = ["PermanentFailure", "hookimpl"]
