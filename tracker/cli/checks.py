"""Checks of `doctor` for things that work but are dangerous. They change nothing."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracker.cli.checkup import Line
from tracker.errors import ConfigError
from tracker.hooks.kinds.http import HttpHook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracker.config import Config

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


def check_hook_secrets(config: Config) -> Iterator[Line]:
    """Each HTTP hook signs with a secret that cannot be guessed."""
    for hook in config.hooks:
        if not isinstance(hook, HttpHook) or not hook.url:
            continue
        try:
            secrets = (config.hook_secret(hook) or "").split()
            sizes = [len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets]
        except (ConfigError, ValueError):
            continue  # the daemon refuses to start and says why
        for size in sizes:
            if not SHORTEST_SECRET_BYTES <= size <= LONGEST_SECRET_BYTES:
                yield Line(
                    f"secret of hook {hook.name}",
                    "failed",
                    f"{hook.secret_env or hook.secret_file} has {size} bytes; Standard Webhooks requires"
                    f" {SHORTEST_SECRET_BYTES} to {LONGEST_SECRET_BYTES}",
                    'create one for both sides: echo "whsec_$(head -c 32 /dev/urandom | base64)"',
                )
