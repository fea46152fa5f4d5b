"""What the head of a download's answer says about the file: its version, its length, which part it is, its digests.

A status is not enough: servers and caches send parts of files as 200, and whole files as 206. Must not read bodies.

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
"""Headers with a digest of the whole file, whatever part of it is sent; ``Content-MD5`` only where all of it is."""
_ALGORITHMS: Final = {16: "md5", 32: "sha256"}


_VERSION: Final = re.compile(r"([0-9a-f]+)-(\d{1,18})(-strong)?")


class Version(NamedTuple):
    """A version of a remote file.

    Attributes:
        mark: of its entity tag or date, see `version_of`.
        total: its length in bytes.
        is_strong: the mark stands for exactly these bytes.
    """

    mark: str
    total: int
    is_strong: bool

    def __str__(self) -> str:
        """Its name for unfinished files, see `read_version`."""
        return f"{self.mark}-{self.total}{'-strong' if self.is_strong else ''}"


def read_version(name: str) -> Version | None:
    """The version that an unfinished file belongs to; None for a name that is not one."""
    found = _VERSION.fullmatch(name)
    return None if found is None else Version(found[1], int(found[2]), found[3] is not None)


class Slice(NamedTuple):
    """A part of a file that goes on to its end.

    Attributes:
        start: its first byte.
        total: the length of the whole file.
    """

    start: int
    total: int


def read_slice(response: aiohttp.ClientResponse) -> Slice | None:
    """The part that ``Content-Range`` announces; None without the header.

    A part that does not reach the file's end, or whose file has no known end, has an impossible start.
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
    """Which version of the remote file an answer is about; None when nothing tells versions apart.

    Args:
        response: its head.
        total: the length of the whole file, None when it is not known.
    """
    tag = response.headers.get("ETag", "")
    is_strong = bool(tag) and not tag.startswith("W/")
    mark = tag if is_strong else response.headers.get("Last-Modified", "")
    if not mark or total is None or encoding_of(response):
        return None
    return Version(version_of(mark), total, is_strong)


def digests_of(response: aiohttp.ClientResponse) -> list[tuple[str, bytes]]:
    """Digests of the file: name of the algorithm for `hashlib`, and the digest.

    Entity tags are not among them: that of an object store is often, but not always, an MD5.
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
