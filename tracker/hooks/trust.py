"""Checks that only root and the daemon's user can change what a hook runs, by the rules of ssh and sudo.

Owns the checks of owners and modes. Must not run or change anything.

Every path component is checked, with links resolved one by one:

- the file itself, or the directory of hooks: owned by root or the daemon's user, not writable by group or others;
- the directory that holds the file: the same, but others may write to it if it is sticky, like ``/tmp``;
- links: owned by root or the daemon's user;
- the directories above: not writable by others, unless they are sticky.

Source: ``safe_path`` in OpenSSH's misc.c and ``sudo_secure_path`` in sudo's lib/util/secure_path.c (read 2026-11).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_LINKS: Final = 40
"""The kernel's limit (path_resolution(7))."""
_OTHERS: Final = stat.S_IWOTH
_GROUP_OR_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Objection:
    """Why something is not run, and the command that fixes it, if it needs fixing."""

    reason: str
    fix: str | None = None


def trusted_owners() -> frozenset[int]:
    """Root and the user of this process."""
    return frozenset({0, os.geteuid()})


def find_distrust(path: Path, owners: Collection[int]) -> Objection | None:
    """Why users other than ``owners`` could change a program, or the programs in a directory; None if none could.

    Raises:
        OSError: its metadata cannot be read.
    """
    passed = list(_walk(path))
    last, end = passed[-1]
    holder = "" if stat.S_ISDIR(end.st_mode) else _parent(last)
    for where, found in passed:
        if stat.S_ISLNK(found.st_mode):
            objection = _check(where, found, 0, owners)
        elif where == last:
            objection = _check(where, found, _GROUP_OR_OTHERS, owners)
        elif found.st_mode & stat.S_ISVTX:
            continue
        elif where == holder:
            objection = _check(where, found, _GROUP_OR_OTHERS, owners)
        else:
            objection = _check(where, found, _OTHERS, None)
        if objection is not None:
            return objection
    return None


def distrusted_programs(argv: Sequence[str], owners: Collection[int] | None = None) -> Iterator[Objection]:
    """The files of a command, among its absolute paths, that other users could change.

    Only the files themselves are checked, and the command still runs: the configuration names it, and on some
    systems a group may write to ``/usr/local/bin``.

    Args:
        argv: the program and its arguments, of which one may be a script.
        owners: the user ids that may own them; by default root and the user of this process.
    """
    for argument in argv:
        if argument.startswith("/"):
            with contextlib.suppress(OSError, ValueError):
                found = Path(argument).stat()
                objection = _check(argument, found, _GROUP_OR_OTHERS, owners or trusted_owners())
                if objection is not None and stat.S_ISREG(found.st_mode):
                    yield objection


def _check(where: str, found: os.stat_result, forbidden: int, owners: Collection[int] | None) -> Objection | None:
    mode = stat.S_IMODE(found.st_mode)
    name = shlex.quote(where)
    if owners is not None and found.st_uid not in owners:
        is_link = "-h " if stat.S_ISLNK(found.st_mode) else ""
        reason = f"{where} belongs to user {found.st_uid}, who could change it"
        return Objection(reason, f"chown {is_link}root {name}")
    if mode & forbidden:
        who = "others" if mode & _OTHERS else "its group"
        fix = "o-w" if forbidden == _OTHERS else "go-w"
        return Objection(f"{where} can be written by {who} (mode {mode:04o})", f"chmod {fix} {name}")
    return None


def _walk(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each directory, link and file that opening a path resolves, the root first; raises `OSError`."""
    at, links = "/", 0
    yield at, os.lstat(at)
    waiting = deque(str(Path.cwd() / path).split("/"))
    while waiting:
        name = waiting.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            at = _parent(at)
            continue
        there = f"{at.rstrip('/')}/{name}"
        found = os.lstat(there)
        yield there, found
        if not stat.S_ISLNK(found.st_mode):
            at = there
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), there)
        target = str(Path(there).readlink())
        if target.startswith("/"):
            at = "/"
        waiting.extendleft(reversed(target.split("/")))


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
