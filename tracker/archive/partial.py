"""Partial files: written beside the archive, found again after a crash, hashed as they grow.

Owns ``.partial``. The name of a partial file holds its output and the version of the remote file (the digest of its
validator), so that a download resumes only if both match. Every method blocks and runs on a thread. Must not know HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tracker.archive.media import HEAD_BYTES
from tracker.errors import ArchiveStorageUnavailable
from tracker.filesystem import PRIVATE_FILE, make_directory

DIRECTORY: Final = ".partial"
ABANDONED_S: Final = 14 * 86400.0
"""Partial files that were not written to for this long are deleted."""
_BLOCK: Final = 1 << 20
_NO_VERSION: Final = "none"


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """A complete download under its working name: bytes, hexadecimal hash and first bytes."""

    path: Path
    size: int
    sha256: str
    head: bytes


class Partial:
    """The partial file of one output; methods raise `ArchiveStorageUnavailable` if it cannot be read or written.

    Args:
        directory: the archive's ``.partial``, created if missing.
        key: names the output, see `tracker.archive.names.partial_key`.
        reserve_bytes: disk space that must remain free.
    """

    def __init__(self, directory: Path, key: str, *, reserve_bytes: int = 0) -> None:
        self._directory = directory
        self._key = key
        self._reserve_bytes = reserve_bytes
        self._path = directory / f"{key}.{_NO_VERSION}.part"
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._head = b""
        self._lock = threading.RLock()  # a canceled download closes the file while a thread may still write
        self.size = 0
        """Bytes so far."""

    def find(self) -> tuple[int, str] | None:
        """What an earlier attempt left: the number of bytes and their version; None if nothing can be resumed."""
        for path in self._directory.glob(f"{self._key}.*.part"):
            version = path.name.split(".")[1]
            size = path.stat().st_size
            if version != _NO_VERSION and size:
                return size, version
        return None

    def begin(self, version: str | None) -> None:
        """Start an empty file, discarding an earlier one; it can be resumed if the remote file's version is known."""
        with _translated():
            self.discard()
            self._make_directory()
            self._path = self._directory / f"{self._key}.{version or _NO_VERSION}.part"
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
            self._file = os.fdopen(handle, "wb", buffering=0)

    def resume(self, version: str) -> None:
        """Append to the existing file, after hashing it."""
        with _translated():
            self._path = self._directory / f"{self._key}.{version}.part"
            file = self._path.open("r+b", buffering=0)
            self._file = file
            while block := file.read(_BLOCK):
                self._take(block)

    def check_space(self, missing_bytes: int) -> None:
        """Raise `ArchiveStorageUnavailable` unless a download fits on the disk."""
        with _translated():
            self._make_directory()
            free = shutil.disk_usage(self._directory).free
        if free < missing_bytes + self._reserve_bytes:
            raise ArchiveStorageUnavailable(f"the disk is full: {missing_bytes} bytes needed, {free} free")

    def _make_directory(self) -> None:
        if not self._directory.is_dir():
            make_directory(self._directory)

    def write(self, data: bytes) -> None:
        """Append; if the disk is full or broken, delete the partial file."""
        try:
            with self._lock, _translated():
                if self._file is None:
                    return  # canceled meanwhile
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
                self._take(data)
        except ArchiveStorageUnavailable:
            self.discard()
            raise

    def matches(self, algorithm: str, digest: bytes) -> bool:
        """Whether the file has this digest; ``algorithm`` is its name in `hashlib`."""
        if algorithm == self._hash.name:
            return hmac.compare_digest(self._hash.digest(), digest)
        with _translated(), self._path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).digest()
        return hmac.compare_digest(found, digest)

    def finish(self) -> FinishedFile:
        """Sync the complete file to disk."""
        assert self._file is not None  # noqa: S101 - begun or resumed
        try:
            with _translated():
                os.fsync(self._file.fileno())
                self.close()
        except ArchiveStorageUnavailable:
            self.discard()
            raise
        return FinishedFile(self._path, self.size, self._hash.hexdigest(), self._head)

    def close(self) -> None:
        """Close the file; it remains for the next attempt."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def discard(self) -> None:
        """Delete every partial file of this output."""
        with contextlib.suppress(OSError):
            self.close()
        for path in self._directory.glob(f"{self._key}.*.part"):
            path.unlink(missing_ok=True)
        self._hash, self._head, self.size = hashlib.sha256(), b"", 0

    def _take(self, data: bytes) -> None:
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + data[:HEAD_BYTES])[:HEAD_BYTES]
        self._hash.update(data)
        self.size += len(data)


def version_of(validator: str) -> str:
    """A validator (entity tag or date, with the length), as a digest for a file name."""
    return hashlib.sha256(validator.encode(errors="replace")).hexdigest()[:24]


def remove_abandoned(directory: Path) -> int:
    """Delete old partial files, see `ABANDONED_S`; the number of them."""
    removed = 0
    for path in directory.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
                removed += 1
    return removed


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveStorageUnavailable(f"the archive cannot be written: {error.strerror or error}") from error
