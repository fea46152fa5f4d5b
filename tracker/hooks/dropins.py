"""Scripts dropped into ``hooks_dir/<event>/``: a file there is a hook, without a line of configuration.

Owns the reading of that directory. Must not run anything.

The name of the file is the name of the hook. A name that lies in several event directories is one hook that hears
all of these events; each event runs the file of its own directory, and where several directories cover an event the
narrowest decides (``task.succeeded`` before ``task.finished`` before ``task.*``). So the files need not be
identical, one link per event does no harm, and there is still one delivery per task, hook and event.

A configured hook of the same name wins. What is no hook (not executable, a dotfile, ``*~``, ``*.disabled``, a
directory) is passed over with one logged line. A hook whose file is taken away keeps its waiting deliveries: they
go on when a file of its name comes back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from tracker.domain.hook_events import PATTERNS
from tracker.hooks.base import NAME_RULE, HookSpec, is_hook_name
from tracker.hooks.script import ScriptAction
from tracker.logs import get_logger

log = get_logger(__name__)

PASSING = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
"""Errors that say nothing about the files: the machine is short of something, or a file server is away."""


class DropIns:
    """The hooks of one directory.

    Args:
        hooks_dir: holds one directory per event pattern; need not exist.
    """

    def __init__(self, hooks_dir: Path) -> None:
        self._hooks_dir = hooks_dir
        self._told: set[tuple[str, str]] = set()

    def scan(self, taken: Collection[str]) -> dict[str, HookSpec]:
        """Read the directory anew: one stat per file. Blocks, so it is called on a thread.

        Args:
            taken: names of configured hooks.

        Returns:
            Hooks by name, with the default limits.

        Raises:
            OSError: the directory cannot be read just now (`PASSING`); what is in it is unknown.
        """
        commands: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        told: set[tuple[str, str]] = set()
        for pattern in self._list_patterns(told):
            for path in self._list_scripts(self._hooks_dir / pattern, told):
                if path.name in taken:
                    self._tell(str(path), "a configured hook has its name", told)
                else:
                    commands.setdefault(path.name, []).append((pattern, (str(path),)))
        self._told = told
        return {
            name: HookSpec(name, tuple(pattern for pattern, _ in found), ScriptAction(tuple(found)))
            for name, found in sorted(commands.items())
        }

    def _list_patterns(self, told: set[tuple[str, str]]) -> Iterator[str]:
        for name in self._list_dir(self._hooks_dir, told):
            if name in PATTERNS:
                yield name
            elif not name.startswith("."):
                self._tell(str(self._hooks_dir / name), f"not an event; known: {', '.join(PATTERNS)}", told)

    def _list_scripts(self, directory: Path, told: set[tuple[str, str]]) -> Iterator[Path]:
        for name in self._list_dir(directory, told):
            path = directory / name
            why = _find_objection(path)
            if why is None:
                yield path
            else:
                self._tell(str(path), why, told)

    def _list_dir(self, directory: Path, told: set[tuple[str, str]]) -> list[str]:
        """Names in a directory, sorted; none when it is not there, or when an operator must mend it first."""
        try:
            return sorted(path.name for path in directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._tell(str(directory), _lasting(error), told)
            return []

    def _tell(self, what: str, why: str, told: set[tuple[str, str]]) -> None:
        """Log once; again only after the reason had gone away."""
        if (what, why) not in self._told:
            log.warning("hook.dropin_ignored", file=what, reason=why)
        told.add((what, why))


def _find_objection(path: Path) -> str | None:
    """Why a file is no hook, None when it is one."""
    name = path.name
    if name.startswith(".") or name.endswith(("~", ".disabled")):
        return "switched off by its name"
    if not is_hook_name(name):
        return NAME_RULE
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return _lasting(error)
    if not stat.S_ISREG(mode):
        return "not a file"
    if not os.access(path, os.X_OK):
        return "not executable"
    return None


def _lasting(error: OSError) -> str:
    """What is wrong, unless it passes by itself: then the error is raised again."""
    if error.errno in PASSING:
        raise error
    return f"cannot be read: {error.strerror}"
