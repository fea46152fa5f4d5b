"""What `doctor` looks at on this machine, one function per line of its checklist; `reach` looks at the network.

Owns what counts as well and how each fault is fixed. Must not change anything: no file is made, no lock is taken for
longer than a look.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from tracker.cli.advice import is_private_address
from tracker.daemon.descriptors import MOST, reachable_limit, share_of_connections
from tracker.domain.hook_events import PATTERNS
from tracker.errors import ConfigError
from tracker.filesystem import is_file
from tracker.hooks.dropins import find_objection
from tracker.hooks.kinds.http import HttpHook
from tracker.hooks.kinds.script import ScriptHook
from tracker.hooks.trust import distrusted_programs, find_distrust, trusted_owners

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.domain.ai_models import Model

LEAST_DESCRIPTORS = 1024
"""The usual limit of a process, enough for about 500 connections."""
LEAST_FREE_BYTES = 512 * 2**20
"""With less free space, the write-ahead log may not grow, and callbacks are answered 503."""
_MIB = 2**20
_LONGEST_FIRST_LINE = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist.

    Attributes:
        check: what was checked.
        state: the result; ``skipped`` if there is nothing to check or it cannot be checked.
        detail: what was found.
        fix: what to do; None unless ``failed``.
    """

    check: str
    state: Literal["ok", "failed", "skipped"]
    detail: str
    fix: str | None = None


def check_models(config: Config, known: list[Model] | None) -> Line:
    """The models of ``[models]`` are in a list; ``known`` has all models as last fetched, None if never."""
    named = {
        f"models.{alias}": model
        for alias, target in config.model_aliases().items()
        for model in (target.id, *target.fallback)
    }
    if not named:
        return Line("models", "skipped", "none configured")
    if not known:
        return Line("models", "skipped", "not fetched yet; run: tracker models sync")
    ids = {model.id for model in known}
    missing = [f"{key} ({model})" for key, model in named.items() if model not in ids]
    if missing:
        fix = "correct the names; tracker models list shows all"
        return Line("models", "failed", f"unknown to every account: {', '.join(missing)}", fix)
    return Line("models", "ok", f"{len(set(named.values()))} configured, all in the list")


def check_hooks(config: Config) -> Iterator[Line]:
    """Every program can run and is writable by trusted users only; every endpoint has an allowed address."""
    yield from _check_endpoints(config)
    count = 0
    owners = _trusted_owners(config)
    for hook in config.hooks:
        if not isinstance(hook, ScriptHook) or not hook.run:
            continue
        count += 1
        program = hook.run[0]
        if "/" not in program and shutil.which(program) is None:
            fix = f"install it, or set its full path in run of hook {hook.name}"
            yield Line(f"hook {hook.name}", "failed", f"program {program} is not on the path", fix)
        elif "/" in program and (line := _check_script(f"hook {hook.name}", Path(program))) is not None:
            yield line
        for why in distrusted_programs(hook.run, owners):
            yield Line(f"hook {hook.name}", "failed", why.reason, why.fix)
    scripts, unread = _list_dropins(config.hooks_path)
    for error in unread:
        detail = f"{error.filename} cannot be read ({error.strerror}): its hooks do not run"
        yield Line("hooks_dir", "failed", detail, "make it readable, run as its owner, or set hooks_dir")
    for script in scripts:
        count += 1
        if script.parent.name not in PATTERNS:
            fix = f"rename {script.parent} to one of {', '.join(PATTERNS)}"
            yield Line(f"hook {script.name}", "failed", f"{script} is not in the directory of an event", fix)
        elif (objection := find_objection(script, owners)) is not None:
            state: Literal["failed", "skipped"] = "failed" if objection.fix else "skipped"
            yield Line(f"hook {script.name}", state, f"{script} does not run: {objection.reason}", objection.fix)
    for directory in sorted({*([config.hooks_path] if config.hooks_path else []), *(s.parent for s in scripts)}):
        with contextlib.suppress(OSError):  # missing, or reported above
            if (objection := find_distrust(directory, owners)) is not None:
                yield Line("hooks_dir", "failed", f"hooks in {directory} do not run: {objection.reason}", objection.fix)
                break
    if count or not unread:
        yield Line("hook scripts", "ok" if count else "skipped", f"{count} checked" if count else "none")


def _check_endpoints(config: Config) -> Iterator[Line]:
    for hook in config.hooks:
        if not isinstance(hook, HttpHook) or not hook.url:
            continue
        host = urlsplit(hook.url).hostname or ""
        if host and not hook.allow_private_addresses and is_private_address(host):
            fix = f"set allow_private_addresses = true in hook {hook.name}, or use a public address"
            yield Line(f"hook {hook.name}", "failed", f"{host} is not a public address", fix)


def _trusted_owners(config: Config) -> frozenset[int]:
    """Users that may own hook scripts: root, this user, and the owner of the store."""
    with contextlib.suppress(OSError):
        return trusted_owners() | {config.store_path.stat().st_uid}
    return trusted_owners()


def _check_script(check: str, path: Path) -> Line | None:
    try:
        if not is_file(path, "correct its path"):
            return Line(check, "failed", f"{path} does not exist", "create the script, or correct its path")
    except ConfigError as error:
        what, _, fix = str(error).partition("; ")
        return Line(check, "failed", what, fix)
    if not os.access(path, os.X_OK):
        return Line(check, "failed", f"{path} is not executable", f"chmod +x {path}")
    with contextlib.suppress(OSError), path.open("rb") as file:
        first = file.readline(_LONGEST_FIRST_LINE)
        if first.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            what = f"{path} begins with a byte order mark, so the system cannot start it"
            return Line(check, "failed", what, "save it as UTF-8 without a byte order mark")
        if first.startswith(b"#!") and first.endswith(b"\r\n"):
            return Line(check, "failed", f"{path} has Windows line endings", f"sed -i 's/\\r$//' {path}")
    return None


def _list_dropins(directory: Path | None) -> tuple[list[Path], list[OSError]]:
    """The scripts in the directories of events, and errors of unreadable directories."""
    if directory is None:
        return [], []
    found: list[Path] = []
    unread: list[OSError] = []
    waiting = [directory]
    while waiting:
        looked_at = waiting.pop()
        try:
            for path in sorted(looked_at.iterdir()):
                if path.is_dir():
                    waiting += [path] if looked_at == directory else []
                elif looked_at != directory and path.is_file():
                    found.append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unread.append(error)
    return [path for path in sorted(found) if not path.name.startswith(".") and path.suffix != ".disabled"], unread


def check_disk(config: Config, *, least_free_bytes: int = LEAST_FREE_BYTES) -> Line:
    """The store has free disk space."""
    directory = _nearest(config.store_path.parent)
    free = shutil.disk_usage(directory).free
    detail = f"{free // _MIB} MiB free in {directory}"
    if free < least_free_bytes:
        return Line("disk", "failed", detail, f"free disk space: the store needs {least_free_bytes // _MIB} MiB")
    return Line("disk", "ok", detail)


def check_descriptors(config: Config, *, least: int = LEAST_DESCRIPTORS) -> Line:
    """The daemon may open enough files; each connection is one."""
    limit = _limit_of(holder_of(config.store_path)) or reachable_limit(*resource.getrlimit(resource.RLIMIT_NOFILE))
    detail = f"{limit} files: {share_of_connections(limit)} connections, the rest for other work"
    if limit < least:
        fix = f"raise the hard limit: LimitNOFILE={MOST} in the unit, ulimit -Hn {MOST} in a shell of root"
        return Line("open files", "failed", detail, fix)
    return Line("open files", "ok", detail)


def _limit_of(process: str | None) -> int | None:
    """The limit of open files of a running process; None if unknown."""
    try:
        lines = Path(f"/proc/{process}/limits").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[3]) for line in lines if line.startswith("Max open files"))
    except (OSError, ValueError, StopIteration):
        return None


def check_new_store(config: Config) -> Line:
    """A missing store can be created.

    Raises:
        StoreUnusable: only its log exists.
    """
    from tracker.store.sqlite.backup_files import refuse_lone_log

    refuse_lone_log(config.store_path)
    directory = _nearest(config.store_path.parent)
    if os.access(directory, os.W_OK | os.X_OK):
        return Line("store", "ok", f"{config.store_path} does not exist yet; the first start creates it")
    fix = "make the directory writable for the daemon's user, or set store.path"
    return Line("store", "failed", f"{config.store_path} does not exist, and {directory} is not writable", fix)


def holder_of(store: Path) -> str | None:
    """The process that holds the lock of a store; None if it is free or unknown."""
    with contextlib.suppress(OSError):
        return read_lock_holder(store)
    return None


def read_lock_holder(store: Path) -> str | None:
    """The process that holds the lock of a store; None if it is free.

    Raises:
        OSError: that cannot be determined.
    """
    path = store.resolve()
    try:
        with path.with_name(f"{path.name}.lock").open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return handle.read(32).strip() or "unknown"
    except FileNotFoundError:
        pass
    return None


def _nearest(directory: Path) -> Path:
    """The directory, or the nearest existing one above it."""
    while directory != directory.parent:
        with contextlib.suppress(OSError):  # skip unreadable ones
            if directory.is_dir():
                break
        directory = directory.parent
    return directory
