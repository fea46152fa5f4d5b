"""Drop-in scripts in ``hooks_dir/<event>/``: a file there is a hook, without a line of configuration.

Owns reading that directory. Must not run anything.

The file's name is the hook's name. A name in several event directories is one hook that subscribes to all of these
events; each event runs the file of its own directory, and if several directories cover an event, the narrowest
decides (``task.succeeded`` before ``task.finished`` before ``task.*``). So the files may differ or be links, and there
is still one delivery per task, hook and event.

A configured hook of the same name wins. Other files are ignored with one logged line: not executable, disabled by
name (a dotfile, ``*~``, ``*.disabled``), or writable by other users (see `tracker.hooks.trust`). Packages, editors and
version control leave executable copies of files behind under unpredictable names, so only the names of programs are
accepted: without a dot, or with the suffix of a program. The pending deliveries of a removed file remain, and run
once a file of its name is back.
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
"""Errors that do not concern the files: the machine lacks a resource, or a file server is unreachable."""

_PROGRAM_SUFFIX: Final = re.compile(
    r"sh|bash|dash|ash|m?ksh|zsh|fish|csh|tcsh|nu|xsh|py[23w]?|pyz|pex|rb|pl|raku|php\d?|phar|lua|tcl|expect|"
    r"[gm]?awk|sed|r|jl|js|mjs|cjs|ts|coffee|nim|hy|cgi|command|"
    r"mts|ex|exs|erl|escript|groovy|kts|jar|scala|clj|hs|lisp|scm|rkt|swift|dart|go|rs|bin|elf|exe|run|"
    r"appimage|ps1",
    re.IGNORECASE,
)
"""Suffixes of programs; files with any other are copies, leftovers or texts."""
_VERSION: Final = re.compile(r"[^.]+(\.v\d+|[-_]v?\d+\.\d+)(\.\d+)*", re.IGNORECASE)
"""A program with its version, like `publish.v2` or `publish-2.0`; `publish.1` is left behind by a rotation."""
_COPY: Final = re.compile(
    r"\.(bak|backup|old|orig|rej|save|tmp|temp|copy|disabled|off|example|sample|dist|sync-conflict-[^.]*)(\.|$)"
    r"|_(BACKUP|BASE|LOCAL|REMOTE)_\d+(\.|$)",
    re.IGNORECASE,
)
"""Copies with the program's suffix at the end: by hand, by Syncthing, by a merge tool of git."""
_NOT_A_PROGRAM: Final = re.compile(r"\d+|readme|licen[cs]e|copying|changelog|contributing|makefile", re.IGNORECASE)
"""Texts on file systems where every file is executable; and the number with which Vim probes a directory."""


class DropIns:
    """The hooks of one directory.

    Args:
        hooks_dir: holds one directory per event pattern; need not exist.
        owners: the user ids that may own what is in it; by default root and the user of this process.
    """

    def __init__(self, hooks_dir: Path, owners: Collection[int] | None = None) -> None:
        self._hooks_dir = hooks_dir
        self._owners = trusted_owners() if owners is None else owners
        self._ignored: dict[str, Objection] = {}

    @property
    def ignored(self) -> dict[str, Objection]:
        """The files that the last scan ignored: path -> why."""
        return self._ignored

    def scan(self, taken: Collection[str]) -> dict[str, HookSpec]:
        """Read the directory, with one stat per file. Blocks, so call it on a thread.

        Args:
            taken: names of configured hooks.

        Returns:
            Hooks by name, with the default limits.

        Raises:
            OSError: the directory cannot be read now (`PASSING`).
        """
        commands: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        ignored: dict[str, Objection] = {}
        for pattern in self._list_patterns(ignored):
            for path in self._list_scripts(self._hooks_dir / pattern, ignored):
                if path.name in taken:
                    self._ignore(str(path), Objection("a configured hook has the same name"), ignored)
                else:
                    commands.setdefault(path.name, []).append((pattern, (str(path),)))
        self._ignored = ignored
        return {
            name: HookSpec.model_construct(name=name, on=tuple(pattern for pattern, _ in found)).with_action(
                ScriptAction(tuple(found))
            )
            for name, found in sorted(commands.items())
        }

    def _list_patterns(self, ignored: dict[str, Objection]) -> Iterator[str]:
        for name in self._list_dir(self._hooks_dir, ignored):
            if name in PATTERNS:
                yield name
            elif not name.startswith("."):
                objection = Objection(f"not an event; known: {', '.join(PATTERNS)}")
                self._ignore(str(self._hooks_dir / name), objection, ignored)

    def _list_scripts(self, directory: Path, ignored: dict[str, Objection]) -> Iterator[Path]:
        for name in self._list_dir(directory, ignored):
            path = directory / name
            objection = find_objection(path, self._owners)
            if objection is None:
                yield path
            else:
                self._ignore(str(path), objection, ignored)

    def _list_dir(self, directory: Path, ignored: dict[str, Objection]) -> list[str]:
        """Names in a directory, sorted; empty if it does not exist or needs fixing first."""
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
        self._ignore(str(directory), objection, ignored)
        return []

    def _ignore(self, what: str, objection: Objection, ignored: dict[str, Objection]) -> None:
        """Log once, and again only if the reason changes."""
        if self._ignored.get(what) != objection:
            log.warning("hook.dropin_ignored", file=what, reason=objection.reason, fix=objection.fix)
        ignored[what] = objection


def find_objection(path: Path, owners: Collection[int]) -> Objection | None:
    """Why a file in the directory of an event is not a hook; None if it is one.

    Raises:
        OSError: it cannot be read now (`PASSING`).
    """
    name = path.name
    if name.startswith(".") or name.endswith(("~", ".disabled")):
        return Objection("disabled by its name")
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
    """The objection to an unreadable path; raises the error if it is temporary."""
    if error.errno in PASSING:
        raise error
    return Objection(f"cannot be read: {error.strerror}", "make it readable for the daemon's user, or remove it")
