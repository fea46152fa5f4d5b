"""Scripts dropped into ``hooks_dir/<event>/``: a file there is a hook, without a line of configuration.

Owns the reading of that directory. Must not run anything.

The name of the file is the name of the hook. A name that lies in several event directories is one hook that hears
all of these events; each event runs the file of its own directory, and where several directories cover an event the
narrowest decides (``task.succeeded`` before ``task.finished`` before ``task.*``). So the files need not be
identical, one link per event does no harm, and there is still one delivery per task, hook and event.

A configured hook of the same name wins. What is not a hook is passed over with one logged line: what is not
executable, what its name switches off (a dotfile, ``*~``, ``*.disabled``), and what somebody else could change (see
`tracker.hooks.trust`). Packages, editors and version control leave copies of files behind, executable like the
original; no list of their names is ever complete, so it is the names of programs that are known: without a dot, or
with the suffix of a program. A hook whose file is taken away keeps its waiting deliveries: they go on when a file of
its name comes back.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from tracker.config.hooks import HookSpec
from tracker.domain.hook_events import PATTERNS
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.trust import Objection, find_distrust, trusted_owners
from tracker.logs import get_logger

log = get_logger(__name__)

NAME_RULE: Final = "a hook's name is 1 to 100 ASCII letters, digits and ._@+- and begins with a letter or digit"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
PASSING = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
"""Errors that say nothing about the files: the machine is short of something, or a file server is away."""

_PROGRAM_SUFFIX: Final = re.compile(
    r"sh|bash|dash|ash|m?ksh|zsh|fish|csh|tcsh|nu|xsh|py[23w]?|pyz|pex|rb|pl|raku|php\d?|phar|lua|tcl|expect|"
    r"[gm]?awk|sed|r|jl|js|mjs|cjs|ts|coffee|nim|hy|cgi|command|"
    r"mts|ex|exs|erl|escript|groovy|kts|jar|scala|clj|hs|lisp|scm|rkt|swift|dart|go|rs|bin|elf|exe|run|"
    r"appimage|ps1",
    re.IGNORECASE,
)
"""What the name of a program may end in; any other suffix is that of a copy, a leftover or a text."""
_VERSION: Final = re.compile(r"[^.]+(\.v\d+|[-_]v?\d+\.\d+)(\.\d+)*", re.IGNORECASE)
"""A program with its version, as `publish.v2` or `publish-2.0`; `publish.1` is what a rotation leaves behind."""
_COPY: Final = re.compile(
    r"\.(bak|backup|old|orig|rej|save|tmp|temp|copy|disabled|off|example|sample|dist|sync-conflict-[^.]*)(\.|$)"
    r"|_(BACKUP|BASE|LOCAL|REMOTE)_\d+(\.|$)",
    re.IGNORECASE,
)
"""Copies that keep the suffix at their end: by hand, by Syncthing, by a merge tool of git."""
_NOT_A_PROGRAM: Final = re.compile(r"\d+|readme|licen[cs]e|copying|changelog|contributing|makefile", re.IGNORECASE)
"""Texts on file systems where everything is executable; and the number that Vim tries a directory with."""


class DropIns:
    """The hooks of one directory.

    Args:
        hooks_dir: holds one directory per event pattern; need not exist.
        owners: the user ids that may own what is in it; by default root and the user of this process.
    """

    def __init__(self, hooks_dir: Path, owners: Collection[int] | None = None) -> None:
        self._hooks_dir = hooks_dir
        self._owners = trusted_owners() if owners is None else owners
        self._told: dict[str, Objection] = {}

    @property
    def ignored(self) -> dict[str, Objection]:
        """What was passed over when the directory was last read: path -> why."""
        return self._told

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
        told: dict[str, Objection] = {}
        for pattern in self._list_patterns(told):
            for path in self._list_scripts(self._hooks_dir / pattern, told):
                if path.name in taken:
                    self._tell(str(path), Objection("a configured hook has its name"), told)
                else:
                    commands.setdefault(path.name, []).append((pattern, (str(path),)))
        self._told = told
        return {
            name: HookSpec.model_construct(name=name, on=tuple(pattern for pattern, _ in found)).with_action(
                ScriptAction(tuple(found))
            )
            for name, found in sorted(commands.items())
        }

    def _list_patterns(self, told: dict[str, Objection]) -> Iterator[str]:
        for name in self._list_dir(self._hooks_dir, told):
            if name in PATTERNS:
                yield name
            elif not name.startswith("."):
                objection = Objection(f"not an event; known: {', '.join(PATTERNS)}")
                self._tell(str(self._hooks_dir / name), objection, told)

    def _list_scripts(self, directory: Path, told: dict[str, Objection]) -> Iterator[Path]:
        for name in self._list_dir(directory, told):
            path = directory / name
            objection = find_objection(path, self._owners)
            if objection is None:
                yield path
            else:
                self._tell(str(path), objection, told)

    def _list_dir(self, directory: Path, told: dict[str, Objection]) -> list[str]:
        """Names in a directory, sorted; none when it is not there, or when an operator must correct it first."""
        names: list[str] = []
        try:
            names = sorted(path.name for path in directory.iterdir())
            objection = find_distrust(directory, self._owners)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            objection = _lasting(error)
        if objection is None:
            return names
        self._tell(str(directory), objection, told)
        return []

    def _tell(self, what: str, objection: Objection, told: dict[str, Objection]) -> None:
        """Log once; again only after the reason had gone away."""
        if self._told.get(what) != objection:
            log.warning("hook.dropin_ignored", file=what, reason=objection.reason, fix=objection.fix)
        told[what] = objection


def find_objection(path: Path, owners: Collection[int]) -> Objection | None:
    """Why a file in the directory of an event is not a hook; None when it is one.

    Args:
        path: the file.
        owners: the user ids that may own it.

    Raises:
        OSError: it cannot be looked at just now (`PASSING`).
    """
    name = path.name
    if name.startswith(".") or name.endswith(("~", ".disabled")):
        return Objection("switched off by its name")
    if not _NAME.fullmatch(name):
        return Objection(NAME_RULE)
    if _is_leftover(name):
        known = "a program's name has no dot, or ends in .sh, .py or the suffix of another language"
        return Objection(f"a copy, a leftover or a text by its name ({known})")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Objection("not a file")
        if not os.access(path, os.X_OK):
            return Objection("not executable", f"chmod +x {shlex.quote(str(path))}")
        return Objection("a text by its name") if _NOT_A_PROGRAM.fullmatch(name) else find_distrust(path, owners)
    except OSError as error:
        return _lasting(error)


def _is_leftover(name: str) -> bool:
    _, dot, suffix = name.rpartition(".")
    is_program = not dot or _PROGRAM_SUFFIX.fullmatch(suffix) or _VERSION.fullmatch(name)
    return not is_program or _COPY.search(name) is not None


def _lasting(error: OSError) -> Objection:
    """What is wrong, unless it passes by itself: then the error is raised again."""
    if error.errno in PASSING:
        raise error
    return Objection(f"cannot be read: {error.strerror}", "let the daemon's user read it, or take it away")
