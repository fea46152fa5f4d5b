"""One tracker for a file whatever its names, the file that was World, and private files."""

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kits.logs import captured_logs
from tests.kits.world import World
from tracker.errors import StoreUnavailable, StoreUnusable
from tracker.store.sqlite import files
from tracker.store.sqlite.checkpoints import PAGES, PAGES_OF_COMMIT


def remove(path: Path) -> None:
    """As rm does."""
    path.unlink()


def replace(path: Path) -> None:
    """Put a copy in its place."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory counts as unchanged for long."""
    monkeypatch.setattr(files, "SETTLED_NS", 0)
    monkeypatch.setattr(files, "FULL_CHECK_S", 3600.0)


@pytest.mark.parametrize("is_settled", [False, True])
@pytest.mark.parametrize("change", [remove, replace])
@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
async def test_nothing_is_written_after_a_file_is_gone(
    tmp_path: Path, ending: str, change: Callable[[Path], None], is_settled: bool, request: pytest.FixtureRequest
) -> None:
    """Refused with the file's name, logged once as an error, and no new file is created."""
    if is_settled:
        request.getfixturevalue("settled")
    async with World(tmp_path / "t.db") as world:
        await world.submit(1)
        change(tmp_path / f"t.db{ending}")
        before = sorted(path.name for path in tmp_path.iterdir())
        with captured_logs() as logged:
            for n in range(2, 2 + PAGES // PAGES_OF_COMMIT):  # enough for a checkpoint
                with pytest.raises(StoreUnavailable, match=rf"t\.db{ending}: (it was removed|it was replaced)"):
                    await world.submit(n)
        with pytest.raises(StoreUnavailable, match="while the tracker has it open"):
            world.store.check_storage()
        assert [line["level"] for line in logged if line["event"] == "store.writes_refused"] == ["error"]
        assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.usefixtures("settled")
async def test_files_that_did_not_change_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at the directory for a commit; a change of the directory has the files looked at again."""
    looked_at: list[str] = []
    stat_of = os.stat

    def noting(path: str | Path, **options: bool) -> os.stat_result:
        looked_at.append(os.fspath(path))
        return stat_of(path, **options)

    async with World(tmp_path / "t.db") as world:
        await world.submit(1)
        monkeypatch.setattr(os, "stat", noting)
        await world.submit(2)
        assert looked_at == [str(tmp_path)]
        (tmp_path / "beside").touch()
        await world.submit(3)
        assert looked_at[2:] == [str(tmp_path / f"t.db{ending}") for ending in ("", "-wal", "-shm")]


async def test_a_mount_over_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at again after a while although nothing in their directory changed."""
    monkeypatch.setattr(files, "SETTLED_NS", 0)
    monkeypatch.setattr(files, "FULL_CHECK_S", 0.0)
    async with World(tmp_path / "t.db") as world:
        await world.submit(1)
        monkeypatch.setattr(os, "stat", mounting(tmp_path / "t.db"))
        with pytest.raises(StoreUnavailable, match=r"t\.db: it was replaced"):
            await world.submit(2)


def mounting(over: Path) -> Callable[..., os.stat_result]:
    """`os.stat` as if another file was mounted over one."""
    stat_of = os.stat

    def stat_over(path: str | Path, **options: bool) -> os.stat_result:
        return stat_of(over.parent if os.fspath(path) == os.fspath(over) else path, **options)

    return stat_over


@pytest.mark.parametrize("is_settled", [False, True])
async def test_a_directory_that_is_moved_away_and_back(
    tmp_path: Path, is_settled: bool, request: pytest.FixtureRequest
) -> None:
    """Refused until it is back, then accepted without a restart."""
    if is_settled:
        request.getfixturevalue("settled")
    home, away = tmp_path / "home", tmp_path / "away"
    async with World(home / "t.db") as world:
        home.rename(away)
        with pytest.raises(StoreUnavailable, match="removed or moved"):
            await world.submit(1)
        home.mkdir()
        with pytest.raises(StoreUnavailable, match="removed or moved"):
            await world.submit(1)
        home.rmdir()
        away.rename(home)
        await world.submit(1)
        world.store.check_storage()


@pytest.mark.usefixtures("settled")
async def test_a_link_that_changes_its_target(tmp_path: Path) -> None:
    """The next start would open another file, so nothing more is written to this one."""
    link = tmp_path / "link.db"
    async with World(tmp_path / "other.db"):
        pass
    link.symlink_to(tmp_path / "t.db")
    async with World(link) as world:
        await world.submit(1)
        link.unlink()
        link.symlink_to(tmp_path / "other.db")
        with pytest.raises(StoreUnavailable, match=r"link\.db: it was replaced"):
            await world.submit(2)


async def test_a_removed_log_is_checkpointed(tmp_path: Path) -> None:
    """As soon as it is noticed: otherwise its content is lost with the process."""
    path = tmp_path / "t.db"
    async with World(path) as world:
        await world.submit(1)
        path.with_name("t.db-wal").unlink()
        with pytest.raises(StoreUnavailable):
            await world.submit(2)
        (tmp_path / "after.db").write_bytes(path.read_bytes())  # what a kill would leave
    connection = sqlite3.connect(tmp_path / "after.db")
    try:
        assert connection.execute("SELECT count(*) FROM tasks").fetchall() == [(1,)]
    finally:
        connection.close()


async def test_a_lost_connection_is_not_replaced_by_another_file(tmp_path: Path) -> None:
    """A new connection is not made to a file that replaced the World one."""
    async with World(tmp_path / "t.db") as world:
        connection = world.store._writer._connection
        replace(tmp_path / "t.db")
        with pytest.raises(StoreUnavailable):
            connection.open()


def test_a_database_without_a_log_is_refused(tmp_path: Path) -> None:
    """Some file systems do not support it; the line names the file."""
    place = files.DatabaseFiles(tmp_path / "t.db")
    place.take()
    with pytest.raises(StoreUnavailable, match=r"t\.db-wal: SQLite did not create this file"):
        place.remember()
    place.release()


# -- one tracker for each file -----------------------------------------------------------------------------


async def test_a_second_tracker_by_a_hard_link_is_refused(tmp_path: Path) -> None:
    """Also when no tracker serves the file: each name would have its own log."""
    path, other = tmp_path / "t.db", tmp_path / "other" / "t.db"
    other.parent.mkdir()
    async with World(path) as world:
        other.hardlink_to(path)
        with pytest.raises(StoreUnusable, match="another tracker already serves this file under another name"):
            await World(other).store.open()
        await world.submit(1)
    for name in (path, other):
        with pytest.raises(StoreUnusable, match="has 2 names"):
            await World(name).store.open()
    other.unlink()
    async with World(path) as world:
        await world.submit(2)


async def test_a_file_that_is_mounted_without_its_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log would be outside of the volume and lost with the container."""
    path = tmp_path / "with blank" / "t.db"
    mounts = tmp_path / "mountinfo"
    escaped = str(path).replace(" ", "\\040")
    mounts.write_text(
        f"28 1 0:26 / /sys rw - sysfs sysfs rw\n36 35 98:0 /t.db {escaped} rw,noatime - ext4 /dev/vda rw\n"
    )
    monkeypatch.setattr(files, "_MOUNTS", mounts)
    with pytest.raises(StoreUnusable, match="only this file is mounted here"):
        await World(path).store.open()
    async with World(tmp_path / "t.db") as world:
        await world.submit(1)


async def test_reading_and_copying_releases_no_lock(tmp_path: Path) -> None:
    """The tracker's lock stays while others open and close the file."""
    async with World(tmp_path / "t.db") as world:
        world.edit("SELECT count(*) FROM tasks")
        (tmp_path / "t.db").read_bytes()
        (tmp_path / "t.db.lock").unlink()
        with pytest.raises(StoreUnusable, match="another tracker already serves"):
            await World(tmp_path / "t.db").store.open()


# -- modes -------------------------------------------------------------------------------------------------


async def test_files_and_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """The database, its log, the log's index, and new directories; an existing file keeps its mode."""
    before = os.umask(0)
    try:
        async with World(tmp_path / "a" / "b" / "t.db") as world:
            await world.submit(1)
            modes = {
                str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*")
            }
        (tmp_path / "a" / "b" / "t.db").chmod(0o640)
        async with World(tmp_path / "a" / "b" / "t.db"):
            assert stat.S_IMODE((tmp_path / "a" / "b" / "t.db-wal").stat().st_mode) == 0o640
    finally:
        os.umask(before)
    made = {"a/b/t.db", "a/b/t.db-wal", "a/b/t.db-shm", "a/b/t.db.lock"}
    assert modes == dict.fromkeys(made, "0o600") | {"a": "0o700", "a/b": "0o700"}
