"""Storage of finished files in an object store: Amazon S3 and compatible ones, Google Cloud Storage, Azure.

Owns the upload of a finished file and its verification, with the guarantees of `DirectoryStorage`: uploads are atomic,
the upload is read back and its hash compared before the working copy is deleted, and files with other content are not
overwritten. Import it only if it is used: the library, obstore, comes with the extra ``object-store``.

Credentials come from the environment, under the names that the store's own tools use (``AWS_ACCESS_KEY_ID``,
``AWS_REGION``, ``AWS_ENDPOINT``, ``GOOGLE_SERVICE_ACCOUNT``, ``AZURE_STORAGE_ACCOUNT_KEY``, …).

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

from tracker.errors import ArchiveStorageUnavailable, ConfigError

if TYPE_CHECKING:
    from tracker.archive.partial import FinishedFile

_BLOCK_BYTES = 2 << 20


class BucketStorage:
    """Stores files in an object store.

    Args:
        url: bucket and prefix, such as ``s3://bucket/prefix``.
        store: an obstore store to use instead, for tests.

    Raises:
        ConfigError: the URL cannot be used.
    """

    def __init__(self, url: str, store: Any = None) -> None:  # noqa: ANN401 - one of several classes
        self._url = url.rstrip("/")
        try:
            self._store = from_url(url) if store is None else store
        except (BaseError, ValueError) as error:
            raise ConfigError([f"archive.url: {_first_line(error)}; set it to the URL of a bucket"]) from error

    async def store(
        self, finish: Callable[[], FinishedFile], directory: str, name_of: Callable[[int], str], mime: str
    ) -> tuple[str, FinishedFile]:
        """See `tracker.archive.file_storage.FileStorage`."""
        finished = await asyncio.to_thread(finish)
        again = 0
        path = f"{directory}/{name_of(again)}"
        try:
            while (size := await self._size_of(path)) is not None:
                if size == finished.size and await self._hash_of(path, size) == finished.sha256:
                    break
                again += 1
                path = f"{directory}/{name_of(again)}"
            else:
                await obstore.put_async(self._store, path, finished.path, attributes={"Content-Type": mime})
                if await self._hash_of(path, finished.size) != finished.sha256:
                    await obstore.delete_async(self._store, path)
                    raise ArchiveStorageUnavailable("the uploaded file differs from the one that was sent")
        except (BaseError, OSError) as error:
            raise ArchiveStorageUnavailable(f"the object store cannot be written: {_first_line(error)}") from error
        await asyncio.to_thread(finished.path.unlink, missing_ok=True)
        return path, finished

    async def size_of(self, path: str) -> int | None:
        """See `tracker.archive.file_storage.FileStorage`."""
        try:
            return await self._size_of(path)
        except (BaseError, OSError) as error:
            raise ArchiveStorageUnavailable(f"the object store cannot be read: {_first_line(error)}") from error

    async def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """See `tracker.archive.file_storage.FileStorage`."""
        try:
            while start < stop:
                end = min(start + _BLOCK_BYTES, stop)
                block = bytes(await obstore.get_range_async(self._store, path, start=start, end=end))
                if not block:
                    raise ArchiveStorageUnavailable("the archived file is shorter than it was")
                start += len(block)
                yield block
        except (BaseError, OSError) as error:
            raise ArchiveStorageUnavailable(f"the object store cannot be read: {_first_line(error)}") from error

    def locate(self, path: str) -> str:
        """See `tracker.archive.file_storage.FileStorage`."""
        return f"{self._url}/{path}"

    async def remove(self, path: str) -> None:
        """See `tracker.archive.file_storage.FileStorage`."""
        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise OSError(0, _first_line(error)) from error

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


def _first_line(error: BaseException) -> str:
    """The first line of a message; the other lines describe the library's retries."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
