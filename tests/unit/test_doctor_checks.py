"""What doctor reports about the database's file system and about secrets of hooks."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tracker.cli.local_checks import check_file_system, check_hook_secrets, find_file_system
from tracker.config import Config, load_config
from tracker.hooks.kinds.registry import hook_table

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw - proc proc rw
30 22 0:40 / /srv/my\\040share rw,relatime - {kind} server:/export rw,vers=4.2
31 22 0:41 / /srv/over rw - nfs4 server:/old rw
32 22 0:42 / /srv/over rw - xfs /dev/sdb1 rw
33 22 0:43 / /srv/overlooked rw - tmpfs tmpfs rw
rubbish
"""


def config_at(directory: Path, text: str, **env: str) -> Config:
    """A configuration from a file."""
    path = directory / "tracker.toml"
    path.write_text(text)
    return load_config(path, env, hook_table=hook_table)


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "gfs2", "ocfs2", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"],
)
def test_a_database_on_a_network_file_system_fails(tmp_path: Path, kind: str) -> None:
    """The line names the file, the file system and the fix."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))
    (line,) = check_file_system(config_at(tmp_path, '[store]\npath = "/srv/my share/tracker.db"'), mounts)
    assert (line.state, line.detail) == (
        "failed",
        f"/srv/my share/tracker.db is on a network file system ({kind}): SQLite may damage it",
    )
    assert line.fix == "set store.path to a directory on a local disk; archive.dir may stay on the network"


def test_local_disks_pass(tmp_path: Path) -> None:
    """Local ones, FUSE over local ones, and a system without the list of mounts."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind="fuse.unionfs"))
    for path in ("/srv/my share/tracker.db", "/srv/over/tracker.db", "/var/lib/tracker.db"):
        config = config_at(tmp_path, f'[store]\npath = "{path}"')
        assert list(check_file_system(config, mounts)) == []
        assert list(check_file_system(config, tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/x", "ext4"),
        ("/srv/my share/deep/x", "nfs"),
        ("/srv/my", "ext4"),
        ("/srv/over/x", "xfs"),
        ("/srv/overlooked/x", "tmpfs"),
        ("/srv/overl", "ext4"),
    ],
)
def test_the_nearest_and_latest_mount_counts(path: str, kind: str) -> None:
    """Complete directory names count, not prefixes; of two mounts on one directory, the later one."""
    assert find_file_system(Path(path), MOUNTS.format(kind="nfs")) == kind
    assert find_file_system(Path(path), "") is None


@pytest.mark.parametrize(("size", "is_named"), [(3, True), (23, True), (24, False), (64, False), (65, True)])
def test_a_short_hook_secret_fails(tmp_path: Path, size: int, is_named: bool) -> None:
    """Standard Webhooks requires 24 to 64 bytes; the secret itself is not shown."""
    secret = "whsec_" + base64.b64encode(b"q" * size).decode()
    hook = '[[hooks]]\nname = "h"\non = ["task.*"]\nurl = "https://x.example/h"\nsecret_env = "HS"'
    lines = list(check_hook_secrets(config_at(tmp_path, hook, HS=f"{secret} whsec_{'YWJj' * 10}")))
    assert [(line.check, line.state) for line in lines] == [("secret of hook h", "failed")] * is_named
    for line in lines:
        assert line.detail == f"HS has {size} bytes; Standard Webhooks requires 24 to 64"
        assert secret not in f"{line.detail}{line.fix}"
