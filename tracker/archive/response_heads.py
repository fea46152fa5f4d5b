"""Read the headers of a download: the file's version, length and digests, and which range is sent.

The status is not enough: servers and caches send ranges as 200 and complete files as 206. Must not read bodies.

Source: https://www.rfc-editor.org/rfc/rfc9110 (8.8, 14.4), https://www.rfc-editor.org/rfc/rfc9530 and
https://cloud.google.com/storage/docs/xml-api/reference-headers#xgooghash (read 2026-11).
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tracker.archive.content_encoding import ENCODINGS
from tracker.archive.partial import version_of

if TYPE_CHECKING:
    import aiohttp

_RANGE: Final = re.compile(r"bytes[ =](\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)
_DIGESTS: Final = (
    ("Content-MD5", re.compile(r"()([A-Za-z0-9+/]{22}==)")),
    ("X-Goog-Hash", re.compile(r"\b(md5)=([A-Za-z0-9+/]{22}==)")),
    ("X-Amz-Checksum-Sha256", re.compile(r"()([A-Za-z0-9+/]{43}=)(?!-)")),
    ("Digest", re.compile(r"\b(sha-256|md5)=([A-Za-z0-9+/]{22,43}={1,2})", re.IGNORECASE)),
    ("Repr-Digest", re.compile(r"\b(sha-256)=:([A-Za-z0-9+/]{43}=):", re.IGNORECASE)),
)
"""Headers with a digest of the complete file; ``Content-MD5`` only if no range is sent."""
_ALGORITHMS: Final = {16: "md5", 32: "sha256"}
"""By the length of the digest."""
_VERSION: Final = re.compile(r"([0-9a-f]+)-(\d{1,18})(-strong)?")


class Version(NamedTuple):
    """A version of a remote file.

    Attributes:
        mark: digest of its entity tag or date, see `version_of`.
        total: its length in bytes.
        is_strong: the entity tag is strong: equal tags mean equal bytes.
    """

    mark: str
    total: int
    is_strong: bool

    def __str__(self) -> str:
        """Its form in names of partial files, see `read_version`."""
        return f"{self.mark}-{self.total}{'-strong' if self.is_strong else ''}"


def read_version(name: str) -> Version | None:
    """The version in the name of a partial file; None if the name has none."""
    found = _VERSION.fullmatch(name)
    return None if found is None else Version(found[1], int(found[2]), found[3] is not None)


class Slice(NamedTuple):
    """A range of a file from the byte ``start`` to its end at ``total``."""

    start: int
    total: int


def read_slice(response: aiohttp.ClientResponse) -> Slice | None:
    """The range that ``Content-Range`` declares; None without the header.

    If it does not reach the end of the file, or the end is unknown, ``start`` is -1.
    """
    found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    total = last + 1 if found[3] == "*" else int(found[3])
    return Slice(first if found[3] != "*" and last == total - 1 else -1, total)


def encoding_of(response: aiohttp.ClientResponse) -> str:
    """The compression that the server declares, in lower case; "" for none."""
    name = response.headers.get("Content-Encoding", "").strip().lower()
    return name if name in ENCODINGS else ""


def remote_version(response: aiohttp.ClientResponse, total: int | None) -> Version | None:
    """The version of the remote file; None if its headers or its ``total`` length do not show it."""
    tag = response.headers.get("ETag", "")
    is_strong = bool(tag) and not tag.startswith("W/")
    mark = tag if is_strong else response.headers.get("Last-Modified", "")
    if not mark or total is None or encoding_of(response):
        return None
    return Version(version_of(mark), total, is_strong)


def digests_of(response: aiohttp.ClientResponse) -> list[tuple[str, bytes]]:
    """Digests of the file: the algorithm's name in `hashlib`, and the digest.

    Entity tags do not count: that of an object store is often, but not always, an MD5.
    """
    if encoding_of(response):
        return []
    found = []
    for header, pattern in _DIGESTS:
        if header == "Content-MD5" and "Content-Range" in response.headers:
            continue
        for match in pattern.finditer(",".join(response.headers.getall(header, []))):
            digest = base64.b64decode(match[2])
            if len(digest) in _ALGORITHMS:
                found.append((_ALGORITHMS[len(digest)], digest))
    return found
