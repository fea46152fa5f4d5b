"""Where finished files go: a directory of this machine.

Owns the step from a working name to the final one: a file is there whole, or it is not there. Must not download.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tracker.errors import ArchiveStorageUnavailable
from tracker.filesystem import make_directory, sync_directory

if TYPE_CHECKING:
    from tracker.archive.partial import Whole

BLOCK_BYTES: Final = 256 * 1024
"""Read and handed out at a time."""


class Shelf(Protocol):
    """A place for finished files, each under a path relative to it."""

    async def keep(self, whole: Whole, directory: str, name_of: Callable[[int], str], mime: str) -> str:
        """Take a finished file; when this returns it is safe, and its working copy is gone.

        A file that is there already with the same content is taken for this one: a crash came between the two
        steps. One with other content is left alone, and the next name is tried.

        Args:
            whole: the file.
            directory: of its task.
            name_of: its name; for 1, 2, … further names.
            mime: its media type.

        Returns:
            Its path.

        Raises:
            ArchiveStorageUnavailable: the place takes nothing now.
        """
        ...

    async def size_of(self, path: str) -> int | None:
        """The size of a file in bytes; None when it is not there.

        Raises:
            ArchiveStorageUnavailable: nobody can tell now.
        """
        ...

    def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes of a file from ``start`` up to ``stop``, piece by piece.

        Raises:
            ArchiveStorageUnavailable: it cannot be read now.
        """
        ...

    def locate(self, path: str) -> str:
        """Where programs of this machine find a file: an absolute path, or a URL."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file, as retention asks; one that is not there is fine.

        Raises:
            OSError: it cannot be removed now, or lies elsewhere.
        """
        ...


class Directory:
    """A shelf on a local file system.

    Args:
        root: the directory; made when it is missing. Unfinished files must lie on the same file system.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._is_durable = False

    async def keep(self, whole: Whole, directory: str, name_of: Callable[[int], str], mime: str) -> str:
        """See `Shelf`."""
        del mime  # the name's extension says it
        return await asyncio.to_thread(self._keep, whole, directory, name_of)

    def _keep(self, whole: Whole, directory: str, name_of: Callable[[int], str]) -> str:
        home = self._root / directory
        try:
            if not self._is_durable:
                make_directory(self._root)
                self._is_durable = True
            make_directory(home)
            again = 0
            final = home / name_of(again)
            while final.exists() and not _is_same(final, whole):
                again += 1
                final = home / name_of(again)
            if final.exists():
                whole.path.unlink()
            else:
                whole.path.rename(final)  # one process owns this directory: nobody comes in between
            sync_directory(home)
        except OSError as error:
            raise ArchiveStorageUnavailable(f"the archive cannot be written: {error.strerror or error}") from error
        return f"{directory}/{final.name}"

    async def size_of(self, path: str) -> int | None:
        """See `Shelf`."""
        place = self._place(path)
        return None if place is None else await asyncio.to_thread(_size_of, place)

    async def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """See `Shelf`."""
        place = self._place(path)
        try:
            if place is None:
                raise FileNotFoundError(2, "no such file")
            file = await asyncio.to_thread(os.open, place, os.O_RDONLY | os.O_CLOEXEC)
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
        """See `Shelf`."""
        return str(self._root / path)

    async def remove(self, path: str) -> None:
        """See `Shelf`; a task's own directory goes with the last of its files."""
        place = self._place(path)
        if place is None or place == self._root.resolve():
            raise OSError(0, "leads out of the archive")

        def unlink() -> None:
            place.unlink(missing_ok=True)
            if place.parent != self._root.resolve():
                with contextlib.suppress(OSError):  # others of the task's files are still there
                    place.parent.rmdir()

        await asyncio.to_thread(unlink)

    def _place(self, path: str) -> Path | None:
        """Where a path leads; None when that is outside: the database may have been edited by hand."""
        place = (self._root / path).resolve()
        return place if place.is_relative_to(self._root.resolve()) else None


def _size_of(place: Path) -> int | None:
    with contextlib.suppress(OSError):
        if place.is_file():
            return place.stat().st_size
    return None


def _is_same(path: Path, whole: Whole) -> bool:
    if not path.is_file() or path.stat().st_size != whole.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == whole.sha256
