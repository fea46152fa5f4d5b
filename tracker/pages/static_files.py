"""Style sheet, scripts and icon: read once, with the digest of each in its name, so that browsers may keep them."""

from __future__ import annotations

import gzip
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent / "static"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class StaticFile:
    """One file.

    Attributes:
        body: its bytes.
        media_type: of the body.
        name: as it is served: with the digest before the suffix.
    """

    def __init__(self, path: Path) -> None:
        self.body = path.read_bytes()
        self.media_type = MEDIA_TYPES[path.suffix]
        digest = hashlib.sha256(self.body).hexdigest()[:12]
        self.name = f"{path.stem}.{digest}{path.suffix}"

    @cached_property
    def zipped(self) -> bytes:
        """The body for clients that accept gzip."""
        return gzip.compress(self.body, mtime=0)


class StaticFiles:
    """All of them."""

    def __init__(self) -> None:
        files = {path.name: StaticFile(path) for path in sorted(DIRECTORY.iterdir()) if path.suffix in MEDIA_TYPES}
        self._names = {name: f"static/{file.name}" for name, file in files.items()}
        self._files = {file.name: file for file in files.values()}

    def url(self, name: str) -> str:
        """Where a file is served, below the root; raises `KeyError` for an unknown one."""
        return self._names[name]

    def find(self, name: str) -> StaticFile | None:
        """The file that is served by a name."""
        return self._files.get(name)
