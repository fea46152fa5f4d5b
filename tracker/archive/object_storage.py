"""Finished files in an object store: Amazon S3 and what speaks its language, Google Cloud Storage, Azure.

Owns the upload of a finished file and the proof that it arrived. The guarantees are those of a directory: uploads are
atomic, so no part of one is ever visible; what was uploaded is read back and its hash compared before the working
copy goes; a name that holds something else is left alone. Must not be imported unless it is used: the library behind
it, obstore, comes with the extra ``object-store``.

Credentials come from the environment, as the store's own tools expect them (``AWS_ACCESS_KEY_ID``, ``AWS_REGION``,
``AWS_ENDPOINT``, ``GOOGLE_SERVICE_ACCOUNT``, ``AZURE_STORAGE_ACCOUNT_KEY``, …).

Source: https://developmentseed.org/obstore/latest/api/put/ (atomic writes, read 2026-11).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from tracker.archive.file_storage import BLOCK_BYTES
from tracker.errors import ArchiveStorageUnavailable, ConfigError

if TYPE_CHECKING:
    from tracker.archive.partial import Whole

_READ_BACK_BYTES = 8 * BLOCK_BYTES


class Bucket:
    """A shelf in an object store.

    Args:
        url: bucket and prefix, such as ``s3://bucket/prefix``.
        store: an obstore store in its place, for tests.

    Raises:
        ConfigError: the store cannot be set up.
    """

    def __init__(self, url: str, store: Any = None) -> None:  # noqa: ANN401 - one of several classes
        self._url = url.rstrip("/")
        try:
            self._store = from_url(url) if store is None else store
        except (BaseError, ValueError) as error:
            raise ConfigError([f"archive.url: {_words(error)}; set it to a bucket that can be reached"]) from error

    async def keep(self, whole: Whole, directory: str, name_of: Callable[[int], str], mime: str) -> str:
        """See `tracker.archive.file_storage.Shelf`."""
        again = 0
        path = f"{directory}/{name_of(again)}"
        try:
            while (size := await self._size_of(path)) is not None:
                if size == whole.size and await self._hash_of(path, size) == whole.sha256:
                    break
                again += 1
                path = f"{directory}/{name_of(again)}"
            else:
                await obstore.put_async(self._store, path, whole.path, attributes={"Content-Type": mime})
                if await self._hash_of(path, whole.size) != whole.sha256:
                    await obstore.delete_async(self._store, path)
                    raise ArchiveStorageUnavailable("what the object store took is not what was sent")
        except (BaseError, OSError) as error:
            raise ArchiveStorageUnavailable(f"the object store takes nothing now: {_words(error)}") from error
        await asyncio.to_thread(whole.path.unlink, missing_ok=True)
        return path

    async def size_of(self, path: str) -> int | None:
        """See `tracker.archive.file_storage.Shelf`."""
        try:
            return await self._size_of(path)
        except (BaseError, OSError) as error:
            raise ArchiveStorageUnavailable(f"the object store does not answer: {_words(error)}") from error

    async def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """See `tracker.archive.file_storage.Shelf`."""
        try:
            while start < stop:
                end = min(start + _READ_BACK_BYTES, stop)
                block = bytes(await obstore.get_range_async(self._store, path, start=start, end=end))
                if not block:
                    raise ArchiveStorageUnavailable("the archived file is shorter than it was")
                start += len(block)
                yield block
        except (BaseError, OSError) as error:
            raise ArchiveStorageUnavailable(f"the object store does not answer: {_words(error)}") from error

    def locate(self, path: str) -> str:
        """See `tracker.archive.file_storage.Shelf`."""
        return f"{self._url}/{path}"

    async def remove(self, path: str) -> None:
        """Remove a file; one that is not there is fine.

        Raises:
            OSError: it cannot be removed now.
        """
        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise OSError(0, _words(error)) from error

    async def _size_of(self, path: str) -> int | None:
        try:
            return int((await obstore.head_async(self._store, path))["size"])
        except FileNotFoundError:
            return None

    async def _hash_of(self, path: str, size: int) -> str:
        digest = hashlib.sha256()
        async for block in self.read(path, 0, size):
            digest.update(block)
        return digest.hexdigest()


def _words(error: BaseException) -> str:
    """The first line; the rest is the library's own account of its retries."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
