"""The kinds of hooks. A new kind is one file and one line in `KINDS`.

Owns the list, and the table of the configuration with the keys of all kinds. Must not know what a kind does.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pydantic import create_model, model_validator

from tracker.config.hooks import HookSpec
from tracker.config.sections import Mistake
from tracker.errors import ConfigError
from tracker.hooks.kinds import http, notify, plugins, script, worker
from tracker.hooks.runner import Runner, Tools
from tracker.hooks.spec import HookKind

if TYPE_CHECKING:
    from tracker.config import Config

KINDS: tuple[HookKind, ...] = (
    script.KIND,
    worker.KIND,
    http.KIND,
    plugins.KIND,
    notify.KIND,
)
"""Of several kinds whose key is set, the last one is meant: a ``worker`` has ``run``, too."""


class _OneKind(HookSpec):
    """A hook names exactly one thing to run."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        keys = dict.fromkeys(kind.needs or kind.key for kind in KINDS)
        named = [key for key in keys if getattr(self, key) is not None]
        if not named:
            raise Mistake(f"nothing to run: set one of {', '.join(keys)}", "run")
        if len(named) > 1:
            raise Mistake(
                f"a hook runs one thing, and this names {' and '.join(named)}; make it several hooks", named[1]
            )
        return self


@functools.cache
def hook_table() -> type[HookSpec]:
    """The model of ``[[hooks]]``: the keys of every hook and of all kinds."""
    return create_model("HookTable", __base__=(*(kind.table for kind in reversed(KINDS)), _OneKind))


def read_hooks(config: Config) -> list[HookSpec]:
    """The configured hooks, ready to run.

    Raises:
        ConfigError: some cannot work, with the mistakes of all of them.
    """
    specs: list[HookSpec] = []
    problems: list[str] = []
    for hook in config.hooks:
        kind = next(kind for kind in reversed(KINDS) if getattr(hook, kind.key))
        try:
            specs.append(hook.with_action(kind.make_action(hook, config.hook_secret(hook))))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return specs


def make_runners(tools: Tools, kinds: Sequence[HookKind] = KINDS) -> dict[str, Runner]:
    """Make the runner of each kind, by the kind's name.

    Raises:
        TypeError: two kinds share a name or a key, or a runner does not have the method that is called.
    """
    for what, values in (("name", [kind.name for kind in kinds]), ("key", [kind.key for kind in kinds])):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise TypeError(f"two kinds of hooks share the {what} {twice[0]!r}")
    runners = {kind.name: kind.make_runner(tools) for kind in kinds}
    wanted = list(inspect.signature(Runner.run).parameters)[1:]
    for name, runner in runners.items():
        run = getattr(runner, "run", None)
        if not inspect.iscoroutinefunction(run):
            raise TypeError(f"hook kind {name!r}: its runner has no async method 'run'")
        found = list(inspect.signature(run).parameters)
        if found != wanted:
            raise TypeError(f"hook kind {name!r}: run takes ({', '.join(found)}), not ({', '.join(wanted)})")
    return runners
