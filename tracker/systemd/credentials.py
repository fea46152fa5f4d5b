"""Protect the daemon's secrets from hook scripts, which run as the same user and in the same sandbox.

- `protect_memory` makes the memory and environment of this process unreadable to other processes of its user, so that
  a script cannot read a key from ``/proc/$PPID/environ``. It also disables core dumps, which would contain the keys.
- `with_credentials` reads the files of ``LoadCredential=`` once. `hide_credentials` then drops the right to read that
  directory, for this process and all its children (Landlock, see landlock(7)). A changed credential needs a restart.

Must not know what a credential is for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tracker.domain.text import NotText, read_text
from tracker.errors import ConfigError
from tracker.logs import get_logger

log = get_logger(__name__)

# Numbers from linux/landlock.h and asm-generic/unistd.h; the same on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_PATH_BENEATH: Final = 1
_READ_FILE: Final = 1 << 2
_REFER: Final = 1 << 13
"""Moving files between directories: denied in every ruleset that does not allow it."""
_REFER_SINCE: Final = 2
_VERSION_FLAG: Final = 1
_PR_SET_DUMPABLE: Final = 4


def with_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment plus the files in ``$CREDENTIALS_DIRECTORY`` under their names.

    Variables take precedence. Names with ``__``, which override configuration keys, are ignored.

    Raises:
        ConfigError: a credential cannot be read.
    """
    return {**environ, **read_credentials(environ)}


def read_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that `with_credentials` adds."""
    found: dict[str, str] = {}
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory or not Path(directory).is_dir():
        return found
    for file in sorted(Path(directory).iterdir()):
        if file.name in environ or "__" in file.name or not file.name.isidentifier():
            continue
        try:
            found[file.name] = read_text(file)
        except OSError as error:
            raise ConfigError([f"{file}: LoadCredential: cannot be read ({error}); correct its source"]) from error
        except NotText as error:
            raise ConfigError([f"{file}: LoadCredential: {error}"]) from None
    return found


def protect_memory() -> bool:
    """Make this process's memory and environment unreadable to other processes of its user, and disable core dumps.

    Call it before the first child starts, wherever the secrets come from. Children are not affected: `execve` resets
    the attribute. Returns whether the process is protected; only on Linux.

    **Source**: prctl(2), ``PR_SET_DUMPABLE``; proc(5): the files below ``/proc/PID`` then belong to root.
    """
    if sys.platform != "linux":
        return False
    try:
        _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    except OSError as error:
        log.warning("credentials.memory_not_protected", error=error.strerror or str(error))
        return False
    return True


def hide_credentials(environ: Mapping[str, str]) -> bool:
    """Drop the right to read ``$CREDENTIALS_DIRECTORY``, for this process and its future children; whether it worked.

    Call it once, after `with_credentials` and before any thread starts: it affects one thread and its descendants.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory or sys.platform != "linux" or not Path(directory).is_dir():
        return False
    try:
        _restrict(ctypes.CDLL(None, use_errno=True), Path(directory).resolve())
    except OSError as error:
        log.warning("credentials.not_protected", error=error.strerror or str(error))
        return False
    return True


def _restrict(libc: ctypes.CDLL, hidden: Path) -> None:
    """Allow reading everywhere except in ``hidden``: rules only allow, so its siblings are listed one by one."""
    version = _checked(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)))
    access = _READ_FILE | (_REFER if version >= _REFER_SINCE else 0)
    attributes = ctypes.c_uint64(access)  # struct landlock_ruleset_attr, first version
    ruleset = _checked(
        libc.syscall(
            _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), ctypes.c_uint32(0)
        )
    )
    try:
        for path in _everything_except(hidden):
            _allow(libc, ruleset, path, access)
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # deleted, or not accessible to this user
    try:
        granted = access if path.is_dir() else _READ_FILE
        # struct landlock_path_beneath_attr, packed
        rule = ctypes.create_string_buffer(struct.pack("=Qi", granted, handle))
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, ctypes.c_uint32(0)))
    finally:
        os.close(handle)


def _everything_except(hidden: Path) -> Iterator[Path]:
    """Everything except ``hidden``, in as few subtrees as possible."""
    outer = Path("/")
    for part in hidden.parts[1:]:
        with contextlib.suppress(OSError):  # this user cannot list it
            yield from (path for path in outer.iterdir() if path.name != part and not path.is_symlink())
        outer /= part


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
