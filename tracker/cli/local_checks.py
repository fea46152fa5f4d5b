"""Checks of `doctor` on this machine, one function per line of its checklist; `network_checks` has the others.

Must not change anything: they create no file and hold no lock.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import resource
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from tracker.cli.credential_changes import unloaded_credentials
from tracker.cli.store_identity import find_lock_holder
from tracker.cli.systemd_unit import loading_advice, secret_advice, unit_of
from tracker.config.likely_mistakes import is_private_address
from tracker.daemon.descriptors import MAX_LIMIT, reachable_limit, share_of_connections
from tracker.domain.hook_events import PATTERNS
from tracker.domain.text import size
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
_LONGEST_FIRST_LINE = 256
_NETWORK: Final = re.compile(
    "9p|acfs|afs|beegfs|ceph|cifs|coda|davfs|gfs2?|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|prl_fs|pvfs2|smb3"
    "|smbfs|vboxsf|vmhgfs"
)
_NETWORK_FUSE: Final = re.compile(
    r"fuse\.(?:nfs.*|.*(?:ssh|s3|gcs|blob|dav|smb|gluster|ceph|juice|goofys|rclone|vmhgfs|moose|seaweed).*)"
)
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
SHORTEST_SECRET_BYTES: Final = 24
LONGEST_SECRET_BYTES: Final = 64
"""Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (read 2026-11)."""


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
        return Line("models", "skipped", "nothing to check: the configuration names no models")
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
    owners = _trusted_owners(config)
    configured = [(hook.name, hook.run) for hook in config.hooks if isinstance(hook, ScriptHook) and hook.run]
    failures = [list(_check_program(name, command, owners)) for name, command in configured]
    yield from chain.from_iterable(failures)
    scripts, unread = _list_dropins(config.hooks_path)
    for error in unread:
        detail = f"{error.filename} cannot be read ({error.strerror}): its hooks do not run"
        yield Line("hooks_dir", "failed", detail, "make it readable, run as its owner, or set hooks_dir")
    usable: list[Path] = []
    for script in scripts:
        if script.parent.name not in PATTERNS:
            fix = f"rename {script.parent} to one of {', '.join(PATTERNS)}"
            yield Line(f"hook {script.name}", "failed", f"{script} is not in the directory of an event", fix)
        elif (objection := find_objection(script, owners)) is not None:
            state: Literal["failed", "skipped"] = "failed" if objection.fix else "skipped"
            yield Line(f"hook {script.name}", state, f"{script} does not run: {objection.reason}", objection.fix)
        else:
            usable.append(script)
    for directory in sorted({*([config.hooks_path] if config.hooks_path else []), *(s.parent for s in scripts)}):
        with contextlib.suppress(OSError):  # missing, or reported above
            if (objection := find_distrust(directory, owners)) is not None:
                yield Line("hooks_dir", "failed", f"hooks in {directory} do not run: {objection.reason}", objection.fix)
                usable = [script for script in usable if directory not in script.parents]
                break
    passed = failures.count([]) + len(usable)
    if passed:
        yield Line("hook scripts", "ok", f"{passed} checked")
    elif not configured and not scripts and not unread:
        yield Line("hook scripts", "skipped", "nothing to check: no hook runs a script")


def _check_program(name: str, command: Sequence[str], owners: frozenset[int]) -> Iterator[Line]:
    program = command[0]
    if "/" not in program and shutil.which(program) is None:
        fix = f"install it, or set its full path in run of hook {name}"
        yield Line(f"hook {name}", "failed", f"program {program} is not on the path", fix)
    elif "/" in program and (line := _check_script(f"hook {name}", Path(program))) is not None:
        yield line
    for why in distrusted_programs(command, owners):
        yield Line(f"hook {name}", "failed", why.reason, why.fix)


def _check_endpoints(config: Config) -> Iterator[Line]:
    for hook in config.hooks:
        if not isinstance(hook, HttpHook) or not hook.url:
            continue
        host = urlsplit(hook.url).hostname
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
    detail = f"{size(free)} free in {directory}"
    if free < least_free_bytes:
        return Line("disk", "failed", detail, f"free some space: the store needs {size(least_free_bytes)}")
    return Line("disk", "ok", detail)


def check_descriptors(config: Config, *, least: int = LEAST_DESCRIPTORS) -> Line:
    """The daemon may open enough files; each connection is one."""
    limit = _limit_of(find_lock_holder(config.store_path)) or reachable_limit(
        *resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    detail = f"the daemon may open {limit} files, enough for {share_of_connections(limit)} connections"
    if limit < least:
        fix = f"raise the hard limit: LimitNOFILE={MAX_LIMIT} in the unit, ulimit -Hn {MAX_LIMIT} in a shell of root"
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


def _nearest(directory: Path) -> Path:
    """The directory, or the nearest existing one above it."""
    while directory != directory.parent:
        with contextlib.suppress(OSError):  # skip unreadable ones
            if directory.is_dir():
                break
        directory = directory.parent
    return directory


def check_file_system(config: Config, mounts: Path = _MOUNTS) -> Iterator[Line]:
    """The database is on a local disk: SQLite's WAL needs shared memory and working locks. No line if so.

    Args:
        config: the configuration.
        mounts: the kernel's list of mounts.

    Source: https://www.sqlite.org/wal.html and https://www.sqlite.org/useovernet.html (read 2026-11);
    https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html.
    """
    path = config.store_path.resolve()
    try:
        kind = find_file_system(path, mounts.read_text(errors="surrogateescape"))
    except OSError:
        return
    if kind is not None and (_NETWORK.fullmatch(kind) or _NETWORK_FUSE.fullmatch(kind)):
        fix = "set store.path to a directory on a local disk; archive.dir may stay on the network"
        yield Line("file system", "failed", f"{path} is on a network file system ({kind}): SQLite may damage it", fix)


def find_file_system(path: Path, mountinfo: str) -> str | None:
    """The type of the file system of a path; None if the list does not have it.

    Args:
        path: absolute, without links.
        mountinfo: the content of ``/proc/self/mountinfo``.
    """
    found: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5 or not source:  # noqa: PLR2004 - the mount point is the fifth
            continue
        point = Path(_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), source.split(" ")[0]  # the last of several mounts on one point is on top
    return None if found is None else found[1]


def secret_fix(config: Config, what: str, variable: str | None, file: Path | None) -> str:
    """Where a secret belongs."""
    unit = unit_of(config.file)
    if file is not None:
        return f"put {what} into {file}; then restart the daemon"
    if unit is not None and variable is not None:
        return secret_advice(unit, what, variable)
    return f"set {variable} to {what} where the daemon starts; then restart the daemon"


def check_credentials(config: Config) -> Iterator[Line]:
    """The service gets each secret that is stored for it."""
    for use, unit, name in unloaded_credentials(config):
        detail = f"/etc/credstore/{unit.prefix}{name} is there, but {unit.name} does not load it"
        yield Line(f"credential {name}", "failed", f"{detail} ({use})", f"put {loading_advice(unit, name)}")


def check_hook_secrets(config: Config, *, is_running: bool = False) -> Iterator[Line]:
    """Each HTTP hook signs with a secret that cannot be guessed.

    Args:
        config: with hooks.
        is_running: the daemon runs, so it has the secrets that are not set here.
    """
    for hook in config.hooks:
        if not isinstance(hook, HttpHook) or not hook.url:
            continue
        try:
            secrets = (config.hook_secret(hook) or "").split()
            sizes = [len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets]
        except (ConfigError, ValueError):
            continue  # an error of the configuration
        if not secrets and not is_running:
            fix = secret_fix(config, "the secret", hook.secret_env, hook.secret_file)
            missing = f"{hook.secret_env or hook.secret_file or 'secret_env'} is not set, so the daemon does not start"
            yield Line(f"secret of hook {hook.name}", "failed", missing, fix)
        for secret_bytes in sizes:
            if not SHORTEST_SECRET_BYTES <= secret_bytes <= LONGEST_SECRET_BYTES:
                yield Line(
                    f"secret of hook {hook.name}",
                    "failed",
                    f"{hook.secret_env or hook.secret_file} has {secret_bytes} bytes; Standard Webhooks requires"
                    f" {SHORTEST_SECRET_BYTES} to {LONGEST_SECRET_BYTES}",
                    'create one for both sides: echo "whsec_$(head -c 32 /dev/urandom | base64)"',
                )
