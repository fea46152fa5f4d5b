"""Write a file that a person edits afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.cli.exits import FAILED, Failure

if TYPE_CHECKING:
    from pathlib import Path


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write a text to a file; an existing one is replaced with ``force`` only.

    Raises:
        Failure: it exists, or it cannot be written.
    """
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Failure([f"{path}: exists; choose another path, or overwrite it with --force"], FAILED) from error
    except OSError as error:
        raise Failure([f"{path}: cannot be written ({error.strerror}); choose another path"], FAILED) from error
