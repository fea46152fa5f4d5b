"""Names of archived files: ``<task id>/<n>-<slug>.<ext>``.

A title is untrusted input. Only its letters, marks and digits reach the path, so it cannot leave its directory or
start with a dot.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracker.domain.task import Output, TaskId

SLUG_MAX_BYTES: Final = 100
"""In UTF-8. File systems allow 255 for a name."""
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def slug_of(text: str) -> str:
    """A text as lower-case letters (of every script, NFKC) and digits joined by hyphens; may be empty."""
    plain = "".join(
        character if unicodedata.category(character)[0] in "LMN" else "-"
        for character in unicodedata.normalize("NFKC", text).lower()
    )
    slug = re.sub("-+", "-", plain).strip("-").encode()[:SLUG_MAX_BYTES]
    return slug.decode(errors="ignore").strip("-")


def directory_of(task_id: TaskId) -> str:
    """The directory of a task: its id, or a digest if the id is not a plain name."""
    return task_id if _PLAIN_ID.fullmatch(task_id) else hashlib.sha256(task_id.encode()).hexdigest()[:32]


def file_name(n: int, output: Output, extension: str, *, again: int = 0) -> str:
    """The name of an output's file in its task's directory; ``again`` is above 0 for further files of that name."""
    slug = slug_of(output.title or "") or slug_of(output.kind) or "file"
    suffix = f"-{again + 1}" if again else ""
    return f"{n}-{slug}{suffix}.{extension}"


def partial_key(task_id: TaskId, identity: str) -> str:
    """The start of the name of an output's partial file; the same after a restart."""
    return hashlib.sha256(f"{task_id}\0{identity}".encode(errors="replace")).hexdigest()[:32]
