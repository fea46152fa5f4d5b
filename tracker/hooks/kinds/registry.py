"""The kinds of hooks. A new kind is one file and one line in `KINDS`.

Owns the list and the check of it at the start. Must not know what a kind does.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracker.errors import ConfigError
from tracker.hooks.kinds import http, notify, plugins, script, worker
from tracker.hooks.spec import Action, Configured, Runner, Tools


@dataclass(frozen=True, slots=True)
class HookKind:
    """One kind of hook.

    Attributes:
        name: what the actions of this kind call themselves.
        key: the key of ``[[hooks]]`` that picks this kind; the first kind whose key is set is meant.
        action: the class of its actions.
        make_action: the action of a table and its secret; raises `ConfigError` where they cannot work.
        make_runner: builds the one runner that runs them all.
    """

    name: str
    key: str
    action: type[Action]
    make_action: Callable[[Configured, str | None], Action]
    make_runner: Callable[[Tools], Runner]


KINDS: tuple[HookKind, ...] = (
    HookKind(worker.KIND, "worker", worker.WorkerAction, worker.make_action, worker.make_runner),
    HookKind(script.KIND, "run", script.ScriptAction, script.make_action, script.make_runner),
    HookKind(http.KIND, "url", http.HttpAction, http.make_action, http.make_runner),
    HookKind(plugins.KIND, "plugin", plugins.PluginAction, plugins.make_action, plugins.make_runner),
    HookKind(notify.KIND, "notify", notify.NotifyAction, notify.make_action, notify.make_runner),
)


def make_action(hook: Configured, secret: str | None, kinds: Sequence[HookKind] = KINDS) -> Action:
    """The action that a ``[[hooks]]`` table asks for.

    Args:
        hook: the table.
        secret: what its ``secret_env`` or ``secret_file`` holds, None for nothing.
        kinds: the kinds, all of them by default.

    Raises:
        ConfigError: it names no kind, or what it names cannot work.
    """
    for kind in kinds:
        if getattr(hook, kind.key):
            return kind.make_action(hook, secret)
    raise ConfigError([f"hooks[{hook.name}]: says not what to run; set one of {', '.join(k.key for k in kinds)}"])


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
