"""Hooks as people and the API see them: what each is, and how it is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tracker.config.hooks import HookSpec
from tracker.domain.records import iso
from tracker.hooks.health import HookHealth, HookState
from tracker.hooks.trust import Objection


def describe_hook(spec: HookSpec, health: HookHealth | None, running: int) -> dict[str, Any]:
    """One hook as JSON.

    Args:
        spec: the hook.
        health: how it is doing; None when no daemon runs that could tell.
        running: its runs under way.
    """
    known = health or HookHealth(HookState.HEALTHY)
    return {
        "name": spec.name,
        "kind": spec.action.kind,
        "on": list(spec.on),
        "state": "unknown" if health is None else known.state.value,
        "running": running,
        "failures": known.failures,
        "retry_in_s": None if known.retry_in_s is None else round(known.retry_in_s, 3),
        "failing_since": iso(known.failing_since),
        "last_error": known.last_error,
        "last_success_at": iso(known.last_success_at),
        "last_failure_at": iso(known.last_failure_at),
    }


def describe_ignored(ignored: Mapping[str, Objection]) -> list[dict[str, str | None]]:
    """The dropped files that are not run, as JSON; see `tracker.hooks.dropins.DropIns.ignored`."""
    return [{"file": file, "reason": why.reason, "fix": why.fix} for file, why in ignored.items()]


def describe_hooks(
    specs: Iterable[HookSpec], health_of: Callable[[str], tuple[HookHealth, int]]
) -> list[dict[str, Any]]:
    """All hooks as JSON; ``health_of`` gives the health of one, and its runs under way."""
    return [describe_hook(spec, *health_of(spec.name)) for spec in specs]
