"""Unfinished files: written beside the archive, found again after a crash, hashed as they grow.

Owns ``.partial``. The name of an unfinished file tells whose it is and of which version of the remote file (the
digest of its validator), so that a download goes on only where both still fit. Every method blocks and runs on a
thread. Must not know HTTP.
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
"""An unfinished file that nobody wrote to for so long belongs to nobody any more."""
_BLOCK: Final = 1 << 20
_NO_VERSION: Final = "none"


@dataclass(frozen=True, slots=True)
class Whole:
    """A finished download, synced to disk under its working name.

    Attributes:
        path: where it lies.
        size: in bytes.
        sha256: of its content, hexadecimal.
        head: its first bytes.
    """

    path: Path
    size: int
    sha256: str
    head: bytes


class Partial:
    """The unfinished file of one output.

    Args:
        directory: the archive's ``.partial``; made when it is missing.
        key: whose it is, see `tracker.archive.names.partial_key`.
        reserve_bytes: so much of the disk is left to others.
    """

    def __init__(self, directory: Path, key: str, *, reserve_bytes: int = 0) -> None:
        self._directory = directory
        self._key = key
        self._reserve_bytes = reserve_bytes
        self._path = directory / f"{key}.{_NO_VERSION}.part"
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._head = b""
        self._lock = threading.RLock()  # a download that is cancelled closes the file while a thread may still write
        self.size = 0
        """Bytes so far."""

    def find(self) -> tuple[int, str] | None:
        """What an earlier attempt left: bytes, and the version they belong to; None when nothing can be used."""
        for path in self._directory.glob(f"{self._key}.*.part"):
            version = path.name.split(".")[1]
            size = path.stat().st_size
            if version != _NO_VERSION and size:
                return size, version
        return None

    def begin(self, version: str | None) -> None:
        """Start anew, throwing away what was there.

        Args:
            version: of the remote file, letters and digits; None when it names none, so that nobody can go on later.

        Raises:
            ArchiveStorageUnavailable: it cannot be written here now.
        """
        with _translated():
            self.discard()
            self._make_directory()
            self._path = self._directory / f"{self._key}.{version or _NO_VERSION}.part"
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
            self._file = os.fdopen(handle, "wb", buffering=0)

    def resume(self, version: str) -> None:
        """Go on after what is there already, hashing it first.

        Raises:
            ArchiveStorageUnavailable: it cannot be read or written now.
        """
        with _translated():
            self._path = self._directory / f"{self._key}.{version}.part"
            file = self._path.open("r+b", buffering=0)
            self._file = file
            while block := file.read(_BLOCK):
                self._take(block)

    def check_space(self, missing_bytes: int) -> None:
        """Refuse to begin what will not fit.

        Raises:
            ArchiveStorageUnavailable: too little is free.
        """
        with _translated():
            self._make_directory()
            free = shutil.disk_usage(self._directory).free
        if free < missing_bytes + self._reserve_bytes:
            raise ArchiveStorageUnavailable(f"the disk is full: {missing_bytes} bytes are to come, {free} are free")

    def _make_directory(self) -> None:
        if not self._directory.is_dir():
            make_directory(self._directory)

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            ArchiveStorageUnavailable: the disk is full or broken; the partial file is deleted.
        """
        try:
            with self._lock, _translated():
                if self._file is None:
                    return  # cancelled meanwhile
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
                self._take(data)
        except ArchiveStorageUnavailable:
            self.discard()
            raise

    def matches(self, algorithm: str, digest: bytes) -> bool:
        """Whether what was written so far has this digest.

        Args:
            algorithm: its name, for `hashlib`.
            digest: the bytes of the digest.

        Raises:
            ArchiveStorageUnavailable: it cannot be read now.
        """
        if algorithm == self._hash.name:
            return hmac.compare_digest(self._hash.digest(), digest)
        with _translated(), self._path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).digest()
        return hmac.compare_digest(found, digest)

    def finish(self) -> Whole:
        """Bring a file to disk that is open and whole.

        Raises:
            ArchiveStorageUnavailable: the disk refused.
        """
        assert self._file is not None  # noqa: S101 - begun or resumed
        try:
            with _translated():
                os.fsync(self._file.fileno())
                self.close()
        except ArchiveStorageUnavailable:
            self.discard()
            raise
        return Whole(self._path, self.size, self._hash.hexdigest(), self._head)

    def close(self) -> None:
        """Let go of the file; what was written stays for the next attempt."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def discard(self) -> None:
        """Remove every unfinished file of this output."""
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
    """A validator (entity tag or date, with the length) as part of a file name."""
    return hashlib.sha256(validator.encode(errors="replace")).hexdigest()[:24]


def forget_abandoned(directory: Path) -> int:
    """Remove unfinished files that nobody has written to for long; the number of them."""
    forgotten = 0
    for path in directory.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
                forgotten += 1
    return forgotten


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveStorageUnavailable(f"the archive cannot be written: {error.strerror or error}") from error
