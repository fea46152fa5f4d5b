"""Partial files: written beside the archive, found again after a crash, hashed as they grow.

Owns ``.partial``. The name of a partial file holds its output and the version of the remote file (the digest of its
validator), so that a download resumes only if both match. What a download brings is buffered, and a file that fits into
the buffer is written and synced in one step, on one thread: each further step costs two switches between threads.
Methods that block say so. Must not know HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracker.archive.media import HEAD_BYTES
from tracker.domain.text import size
from tracker.errors import ArchiveStorageUnavailable
from tracker.filesystem import PRIVATE_FILE, make_directory

DIRECTORY: Final = ".partial"
ABANDONED_S: Final = 14 * 86400.0
"""Partial files that were not written to for this long are deleted."""
BUFFER_BYTES: Final = 1 << 20
"""Buffered before each write: the most that a download holds in memory."""
_BLOCK: Final = 1 << 20
_NO_VERSION: Final = "none"


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """A complete download under its working name: bytes and hexadecimal hash."""

    path: Path
    size: int
    sha256: str


class DigestMismatch(Exception):
    """A complete file does not have the digest that was sent with it; the argument is the algorithm."""


class PartialFiles:
    """The directory of partial files, and which there are: only this process writes to it, so it is listed once.

    Args:
        directory: the archive's ``.partial``, created if missing.
        reserve_bytes: disk space that must remain free.
    """

    def __init__(self, directory: Path, *, reserve_bytes: int = 0) -> None:
        self._directory = directory
        self._reserve_bytes = reserve_bytes
        self._names: dict[str, str] = {}

    def load(self) -> int:
        """List the directory and delete old files, see `ABANDONED_S`; the number of these. Blocks."""
        removed = 0
        for path in self._directory.glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()
                    removed += 1
                else:
                    self._names[path.name.partition(".")[0]] = path.name
        return removed

    def path_of(self, key: str) -> Path | None:
        """The partial file of an output, if there is one."""
        name = self._names.get(key)
        return None if name is None else self._directory / name

    def open(self, key: str, version: str | None, expected_bytes: int) -> tuple[Path, int]:
        """Make the file of an output, in place of an earlier one; its path and its handle. Blocks.

        Raises:
            OSError: it cannot be made.
            ArchiveStorageUnavailable: so many bytes do not fit on the disk.
        """
        self.remove(key)
        try:
            self.check_space(expected_bytes)
        except FileNotFoundError:
            make_directory(self._directory)
            self.check_space(expected_bytes)
        name = f"{key}.{version or _NO_VERSION}.part"
        path = self._directory / name
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
        self._names[key] = name
        return path, handle

    def check_space(self, missing_bytes: int) -> None:
        """Raise `ArchiveStorageUnavailable` unless so many bytes fit on the disk. Blocks."""
        free = shutil.disk_usage(self._directory).free
        if free < missing_bytes + self._reserve_bytes:
            reserve = f"; {size(self._reserve_bytes)} are reserved for the database" if self._reserve_bytes else ""
            raise ArchiveStorageUnavailable(f"the disk is full ({size(free)} free{reserve})")

    def remove(self, key: str) -> None:
        """Delete the file of an output, if there is one. Blocks."""
        path = self.path_of(key)
        if path is not None:
            path.unlink(missing_ok=True)
            self.forget(key)

    def forget(self, key: str) -> None:
        """Take a file from the list: it was moved."""
        self._names.pop(key, None)


class Partial:
    """The partial file of one output; methods raise `ArchiveStorageUnavailable` if it cannot be read or written.

    Args:
        files: the directory that it is in.
        key: names the output, see `tracker.archive.names.partial_key`.
    """

    def __init__(self, files: PartialFiles, key: str) -> None:
        self._files = files
        self._key = key
        self._version: str | None = None
        self._expected_bytes = 0
        self._path: Path | None = None
        self._handle: int | None = None
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._hash = hashlib.sha256()
        self._lock = threading.RLock()  # a canceled download closes the file while a thread may still write
        self._is_closed = False
        self.head = b""
        """The first bytes, up to `HEAD_BYTES`."""
        self.size = 0
        """Bytes so far."""

    @property
    def is_on_disk(self) -> bool:
        """Whether there is a file, of this attempt or an earlier one; if not, `find` and `discard` do nothing."""
        return self._files.path_of(self._key) is not None

    @property
    def is_open(self) -> bool:
        """Whether `close` has something to do."""
        return self._handle is not None

    @property
    def is_full(self) -> bool:
        """Whether the buffer is full: call `flush`."""
        return self._buffered >= BUFFER_BYTES

    def find(self) -> tuple[int, str] | None:
        """What an earlier attempt left: the number of bytes and their version; None: nothing to resume. Blocks."""
        path = self._files.path_of(self._key)
        if path is None:
            return None
        version = path.name.split(".")[1]
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            self._files.forget(self._key)
            return None
        return (size, version) if version != _NO_VERSION and size else None

    def begin(self, version: str | None, expected_bytes: int | None = None) -> None:
        """Start an empty file; it can be resumed if the remote file's version is known.

        Nothing is written yet, and an earlier file remains until this one is.
        """
        self._version, self._expected_bytes = version, expected_bytes or 0
        self._forget_bytes()

    def open(self) -> None:
        """Make the file now, if it is certain to be larger than the buffer: the disk may be full. Blocks."""
        with self._lock, _translated():
            if not self._is_closed:
                self._open()

    def resume(self, version: str, expected_bytes: int) -> None:
        """Append to the existing file, after hashing it. Blocks."""
        with self._lock, _translated():
            self._forget_bytes()
            path = self._files.path_of(self._key)
            if path is None or self._is_closed:
                raise ArchiveStorageUnavailable("the archive cannot be written: the partial file was removed")
            self._files.check_space(expected_bytes - path.stat().st_size)
            self._path, self._handle = path, os.open(path, os.O_RDWR | os.O_CLOEXEC)
            while block := os.read(self._handle, _BLOCK):
                self._add_to_head(block)
                self._hash.update(block)
                self.size += len(block)
            self._version, self._expected_bytes = version, expected_bytes

    def add(self, data: bytes) -> None:
        """Append to the buffer; see `is_full`."""
        self._pieces.append(data)
        self._buffered += len(data)
        self._add_to_head(data)
        self.size += len(data)

    def flush(self) -> None:
        """Write the buffer; if the disk is full or broken, delete the file. Blocks."""
        with self._lock:
            if self._is_closed:
                return  # canceled meanwhile
            try:
                with _translated():
                    self._open()
                    self._write()
            except ArchiveStorageUnavailable:
                self.discard()
                raise

    def read(self, start: int, size: int) -> bytes:
        """Bytes that were written, or the buffer if none were. Blocks."""
        if self._handle is None:
            self._pieces = [b"".join(self._pieces)]
            return self._pieces[0][start : start + size]
        with _translated():
            return os.pread(self._handle, size, start)

    def finish(self, digests: Iterable[tuple[str, bytes]] = ()) -> FinishedFile:
        """Write the rest of the complete file and sync it to disk. Blocks.

        Args:
            digests: of the file: the algorithm's name in `hashlib`, and the digest.

        Raises:
            DigestMismatch: the file does not have one of them.
        """
        with self._lock:
            self.flush()
            if self._handle is None or self._path is None:
                raise ArchiveStorageUnavailable("the archive was stopped")  # canceled meanwhile
            try:
                with _translated():
                    self._check(digests)
                    os.fsync(self._handle)
                    self.close()
            except (ArchiveStorageUnavailable, DigestMismatch):
                self.discard()
                raise
            return FinishedFile(self._path, self.size, self._hash.hexdigest())

    def _check(self, digests: Iterable[tuple[str, bytes]]) -> None:
        for algorithm, digest in digests:
            if not hmac.compare_digest(self._digest(algorithm), digest):
                raise DigestMismatch(algorithm)

    def _digest(self, algorithm: str) -> bytes:
        if algorithm == self._hash.name:
            return self._hash.digest()
        digest, at = hashlib.new(algorithm, usedforsecurity=False), 0
        while block := self.read(at, _BLOCK):
            digest.update(block)
            at += len(block)
        return digest.digest()

    def close(self) -> None:
        """Close the file; it remains for the next attempt. Blocks."""
        with self._lock:
            self._is_closed = True
            self._close()

    def discard(self) -> None:
        """Delete the file of this output. Blocks."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._close()
            self._forget_bytes()
            with contextlib.suppress(OSError):
                self._files.remove(self._key)

    def moved(self) -> None:
        """Note that the finished file has its final name."""
        self._files.forget(self._key)

    def _close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def _open(self) -> None:
        if self._handle is None:
            self._path, self._handle = self._files.open(self._key, self._version, self._expected_bytes or self.size)

    def _write(self) -> None:
        assert self._handle is not None  # noqa: S101 - the caller has opened it
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._buffered = [], 0
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]
        self._hash.update(data)

    def _add_to_head(self, data: bytes) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + data[:HEAD_BYTES])[:HEAD_BYTES]

    def _forget_bytes(self) -> None:
        self._pieces, self._buffered = [], 0
        self._hash, self.head, self.size = hashlib.sha256(), b"", 0


def version_of(validator: str) -> str:
    """A validator (entity tag or date, with the length), as a digest for a file name."""
    return hashlib.sha256(validator.encode(errors="replace")).hexdigest()[:24]


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveStorageUnavailable(f"the archive cannot be written: {error.strerror or error}") from error
