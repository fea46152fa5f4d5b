"""File names that survive a power cut, and directories that only their owner can read."""

import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore

import pytest

from tests.kits.waiting import WITHIN_S
from tracker.archive.file_storage import DirectoryStorage
from tracker.archive.partial import Partial, PartialFiles
from tracker.config.credentials import CALLBACK_SECRET_FILE, find_or_make_callback_secret
from tracker.filesystem import SharedSync, make_directory, sync_directory


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, frozenset[str]]]:
    """Each directory that is synced, with the names in it at that time."""
    seen: list[tuple[Path, frozenset[str]]] = []
    real = os.fsync

    def note(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            path = Path(f"/proc/self/fd/{handle}").readlink()
            seen.append((path, frozenset(item.name for item in path.iterdir())))
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    return seen


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask of 0."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("open_umask")
def test_each_directory_that_is_made_is_private_and_synced(
    tmp_path: Path, synced: list[tuple[Path, frozenset[str]]]
) -> None:
    """Also those in between; and the name of one that was there, since its creator may have crashed before the sync."""
    make_directory(tmp_path / "a" / "b" / "c")
    assert [(path, "".join(names)) for path, names in synced] == [
        (tmp_path, "a"),
        (tmp_path / "a", "b"),
        (tmp_path / "a" / "b", "c"),
    ]
    assert {mode_of(path) for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c")} == {0o700}
    synced.clear()
    make_directory(tmp_path / "a")
    assert [path for path, _ in synced] == [tmp_path]


def test_an_owner_hostile_umask_leaves_a_usable_directory(tmp_path: Path) -> None:
    """The owner can write in what was made, whatever the umask."""
    before = os.umask(0o377)
    try:
        make_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a" / "b") == 0o700


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    """It does not count as the directory."""
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "a")


def test_a_file_system_without_directory_sync_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems cannot sync directories; a disk failure is still reported."""

    def fail(_: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    failure = OSError(22, "Invalid argument")
    sync_directory(tmp_path)
    failure = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


class NotingLock:
    """A lock that counts who waits for it or has it."""

    def __init__(self) -> None:
        self.arrived = Semaphore(0)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.arrived.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_threads_that_wait_share_the_next_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that was running already does not count: it may have read the names before."""
    running, go_on = threading.Event(), threading.Event()
    syncs: list[int] = []
    real = os.fsync

    def note(handle: int) -> None:
        syncs.append(handle)
        running.set()
        assert go_on.wait(WITHIN_S)
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    sync, turn = SharedSync(), NotingLock()
    monkeypatch.setattr(sync, "_turn", turn)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(sync, tmp_path)]
        assert running.wait(WITHIN_S)
        calls += [pool.submit(sync, tmp_path) for _ in range(4)]
        for _ in range(5):
            assert turn.arrived.acquire(timeout=WITHIN_S)
        go_on.set()
        for call in calls:
            call.result()
    assert len(syncs) == 2


def test_a_failed_sync_is_not_shared(tmp_path: Path) -> None:
    """The next thread syncs again."""
    sync = SharedSync()
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "missing")
    sync(tmp_path)


def test_the_name_of_the_callback_secret_is_synced(tmp_path: Path, synced: list[tuple[Path, frozenset[str]]]) -> None:
    """Once it has it; without it, callbacks of tasks under way would be refused after a power cut."""
    home = tmp_path / "state"
    secret = find_or_make_callback_secret(home)
    assert synced[0] == (tmp_path, frozenset({"state"}))
    assert (home, frozenset({CALLBACK_SECRET_FILE})) in synced
    synced.clear()
    assert find_or_make_callback_secret(home) == secret
    assert [path for path, _ in synced] == [home], "the process that made it may have crashed before the sync"


@pytest.mark.usefixtures("open_umask")
async def test_archived_files_are_private_and_their_names_synced(
    tmp_path: Path, synced: list[tuple[Path, frozenset[str]]]
) -> None:
    """The archive, the directory of the task, and the file in it."""
    root = tmp_path / "outputs"
    partial = Partial(PartialFiles(root / ".partial"), "key")
    partial.begin(None)
    partial.add(b"content")
    path, _ = await DirectoryStorage(root).store(partial.finish, "task", lambda _: "0-song.mp3", "audio/mpeg")
    last = dict(synced)
    assert "outputs" in last[tmp_path]
    assert "task" in last[root]
    assert "0-song.mp3" in last[root / "task"]
    assert mode_of(root / path) == 0o600
    assert {mode_of(item) for item in (root, root / ".partial", root / "task")} == {0o700}
