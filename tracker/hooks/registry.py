"""The kinds of hooks. A new kind is one file and one line in `KINDS`.

Owns the list and the check of it at the start. Must not know what a kind does.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracker.hooks import script
from tracker.hooks.base import Action, Runner, Tools


@dataclass(frozen=True, slots=True)
class HookKind:
    """One kind of hook.

    Attributes:
        name: what the actions of this kind call themselves.
        key: the key of ``[[hooks]]`` whose presence picks this kind.
        action: the class of its actions.
        make_runner: builds the one runner that runs them all.
    """

    name: str
    key: str
    action: type[Action]
    make_runner: Callable[[Tools], Runner]


KINDS: tuple[HookKind, ...] = (HookKind(script.KIND, "run", script.ScriptAction, script.make_runner),)


def make_runners(tools: Tools, kinds: Sequence[HookKind] = KINDS) -> dict[str, Runner]:
    """Build one runner of each kind.

    Args:
        tools: what runners are built with.
        kinds: the kinds, all of them by default.

    Returns:
        Runners by the name of their kind.

    Raises:
        TypeError: two kinds share a name or a key, or a runner does not have the method that is called.
    """
    for what, values in (("name", [kind.name for kind in kinds]), ("key", [kind.key for kind in kinds])):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise TypeError(f"two kinds of hooks share the {what} {twice[0]!r}")
    runners = {kind.name: kind.make_runner(tools) for kind in kinds}
    for name, runner in runners.items():
        _check_runner(name, runner)
    return runners


def _check_runner(name: str, runner: Runner) -> None:
    run = getattr(runner, "run", None)
    if not inspect.iscoroutinefunction(run):
        raise TypeError(f"hook kind {name!r}: its runner has no async method 'run'")
    wanted = list(inspect.signature(Runner.run).parameters)[1:]
    found = list(inspect.signature(run).parameters)
    if found != wanted:
        raise TypeError(f"hook kind {name!r}: run takes ({', '.join(found)}), not ({', '.join(wanted)})")
