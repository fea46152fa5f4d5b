"""Where finished files go: a directory of this machine, or an object store."""

from __future__ import annotations

from pathlib import Path

from tracker.archive.file_storage import Directory, Shelf
from tracker.errors import ConfigError


def make_shelf(root: Path, url: str | None) -> Shelf:
    """The place that the configuration names.

    Args:
        root: the directory of the archive.
        url: an object store in its place, None for none.

    Raises:
        ConfigError: the object store cannot be used, or its library is not installed.
    """
    if url is None:
        return Directory(root)
    try:
        from tracker.archive.object_storage import Bucket  # noqa: PLC0415 - an extra, not installed with everything
    except ModuleNotFoundError as error:
        raise ConfigError(
            [f"archive.url: {error.name} is not installed; install task-tracker[object-store], or remove the key"]
        ) from error
    return Bucket(url)
