"""Storage of finished files: a local directory, or an object store.

Owns the rename from a working name to the final one: a file is either complete or absent. Must not download.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tracker.errors import ArchiveStorageUnavailable, ConfigError
from tracker.filesystem import SharedSync, make_directory, sync_directory

if TYPE_CHECKING:
    from tracker.archive.partial import FinishedFile

BLOCK_BYTES: Final = 256 * 1024
"""The size of one read."""


class FileStorage(Protocol):
    """Stores finished files, each under a relative path; failures of the storage are `ArchiveStorageUnavailable`."""

    async def store(
        self, finish: Callable[[], FinishedFile], directory: str, name_of: Callable[[int], str], mime: str
    ) -> tuple[str, FinishedFile]:
        """Store a file durably and delete its working copy.

        An existing file with the same content counts as this one: a crash came between the two steps. If its content
        differs, the next name is tried: ``name_of(1)``, ``name_of(2)``, …

        Args:
            finish: completes the working copy. It blocks, and is called once, on a thread.
            directory: of the file, a name.
            name_of: the file's name.
            mime: its media type.

        Returns:
            The path, and what ``finish`` returned.
        """
        ...

    async def size_of(self, path: str) -> int | None:
        """The size of a file in bytes; None if it does not exist."""
        ...

    def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes of a file from ``start`` up to ``stop``, piece by piece."""
        ...

    def locate(self, path: str) -> str:
        """The absolute path or the URL of a file, for other programs."""
        ...

    async def remove(self, path: str) -> None:
        """Delete a file, for retention; a missing file is not an error, one outside the archive is an `OSError`."""
        ...


def make_storage(root: Path, url: str | None) -> FileStorage:
    """The configured storage: the directory ``root``, or the object store ``url``.

    Raises:
        ConfigError: the object store cannot be used, or its library is not installed.
    """
    if url is None:
        return DirectoryStorage(root)
    try:
        from tracker.archive.object_storage import BucketStorage  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            [f"archive.url: {error.name} is not installed; install task-tracker[object-store], or remove the key"]
        ) from error
    return BucketStorage(url)


class DirectoryStorage:
    """Stores files in a local directory.

    Args:
        root: the directory, created if missing. Partial files must be on the same file system.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._sync_root = SharedSync()
        self._is_durable = False

    async def store(
        self, finish: Callable[[], FinishedFile], directory: str, name_of: Callable[[int], str], mime: str
    ) -> tuple[str, FinishedFile]:
        """See `FileStorage`."""
        del mime  # the file's extension shows it
        return await asyncio.to_thread(self._store, finish, directory, name_of)

    def _store(
        self, finish: Callable[[], FinishedFile], directory: str, name_of: Callable[[int], str]
    ) -> tuple[str, FinishedFile]:
        finished = finish()
        home = self._root / directory
        try:
            if not self._is_durable:
                make_directory(self._root)
                self._is_durable = True
            is_new = make_directory(home, self._sync_root)
            again = 0
            final = home / name_of(again)
            while exists := not is_new and final.exists():
                if _is_same(final, finished):
                    break
                again += 1
                final = home / name_of(again)
            if exists:
                finished.path.unlink()
            else:
                finished.path.rename(final)  # only this process writes to the directory
            sync_directory(home)
        except OSError as error:
            raise ArchiveStorageUnavailable(f"the archive cannot be written: {error.strerror or error}") from error
        return f"{directory}/{final.name}", finished

    async def size_of(self, path: str) -> int | None:
        """See `FileStorage`."""
        file_path = self._resolve(path)
        return None if file_path is None else await asyncio.to_thread(_size_of, file_path)

    async def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """See `FileStorage`."""
        file_path = self._resolve(path)
        try:
            if file_path is None:
                raise FileNotFoundError(2, "no such file")
            file = await asyncio.to_thread(os.open, file_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while start < stop:
                    block = await asyncio.to_thread(os.pread, file, min(BLOCK_BYTES, stop - start), start)
                    if not block:
                        raise ArchiveStorageUnavailable("the archived file is shorter than it was")
                    start += len(block)
                    yield block
            finally:
                os.close(file)
        except OSError as error:
            raise ArchiveStorageUnavailable(f"the archived file cannot be read: {error.strerror or error}") from error

    def locate(self, path: str) -> str:
        """See `FileStorage`."""
        return str(self._root / path)

    async def remove(self, path: str) -> None:
        """See `FileStorage`; the last file of a task takes its directory with it."""
        file_path = self._resolve(path)
        if file_path is None or file_path == self._root.resolve():
            raise OSError(0, "the path is outside the archive")

        def unlink() -> None:
            file_path.unlink(missing_ok=True)
            if file_path.parent != self._root.resolve():
                with contextlib.suppress(OSError):  # other files of the task exist
                    file_path.parent.rmdir()

        await asyncio.to_thread(unlink)

    def _resolve(self, path: str) -> Path | None:
        """The absolute path; None if it is outside the archive: the database may have been edited by hand."""
        file_path = (self._root / path).resolve()
        return file_path if file_path.is_relative_to(self._root.resolve()) else None


def _size_of(file_path: Path) -> int | None:
    with contextlib.suppress(OSError):
        if file_path.is_file():
            return file_path.stat().st_size
    return None


def _is_same(path: Path, finished: FinishedFile) -> bool:
    if not path.is_file() or path.stat().st_size != finished.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == finished.sha256
