"""What a hook is: a spec (`tracker.config.hooks.HookSpec`) of one kind, and the events that it subscribes to.

Must not run anything, and must not know any kind of hook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracker.config.hooks import Action, HookSpec
from tracker.domain.alarms import OF_HOOKS
from tracker.domain.hook_events import covers

if TYPE_CHECKING:
    from tracker.hooks.runner import Runner, Tools
    from tracker.store.values import Announcement


@dataclass(frozen=True, slots=True)
class HookKind:
    """One kind of hook.

    Attributes:
        name: as in its actions' ``kind``.
        key: the key of ``[[hooks]]`` that selects this kind.
        table: the keys of this kind, beside those of every hook.
        make_action: the action of a hook with these keys and the value of its secret; raises `ConfigError` if they
            cannot work.
        make_runner: makes the one runner for all hooks of this kind.
        needs: the key that names what to run, if that is not ``key``.
    """

    name: str
    key: str
    table: type[HookSpec]
    make_action: Callable[[Any, str | None], Action]
    make_runner: Callable[[Tools], Runner]
    needs: str | None = None


def is_for(spec: HookSpec, announcement: Announcement) -> bool:
    """Whether a hook subscribes to an announced event: one of its patterns and all of its filters match.

    The filters concern tasks. An alarm about a hook is not for this hook: it cannot be notified of its own outage,
    and each attempt would be a reason for the next alarm.
    """
    if not any(covers(pattern, announcement.event) for pattern in spec.on):
        return False
    if (alarm := announcement.alarm) is not None:
        return not (alarm.kind in OF_HOOKS and alarm.subject == spec.name)
    return (
        (not spec.provider or announcement.provider in spec.provider)
        and (not spec.route or announcement.route in spec.route)
        and (not spec.account or announcement.account in spec.account)
        and all(announcement.labels.get(key) == value for key, value in spec.labels.items())
    )


class WriterThreadMatch:
    """Names the hooks that subscribe to an announced event; for `Store.fan_out`.

    The store calls it on its writer thread, and again if it repeats a transaction. The specs never change, and
    ``matched`` is only read after the store has returned.

    Args:
        specs: the hooks.

    Attributes:
        matched: the names of all hooks that it named.
    """

    def __init__(self, specs: Sequence[HookSpec]) -> None:
        self.matched: set[str] = set()
        self._specs = tuple(specs)

    def __call__(self, announcement: Announcement) -> list[str]:
        """The names of the hooks that subscribe to it."""
        names = [spec.name for spec in self._specs if is_for(spec, announcement)]
        self.matched.update(names)
        return names
