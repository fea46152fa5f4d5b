"""The outcome of a reload, in a file that ``tracker config reload`` reads.

A signal has no response, and before version 253 systemd considers a reload done as soon as ``ExecReload=`` has ended.
So the daemon writes the outcome of each reload to a file, and the command waits for it. The file also has a mark of
each credential that the daemon was started with. A mark shows that a credential has changed on disk, and nothing else.

Must not know what is reloaded. The reader may be root and the directory may belong to another user, so the reader
follows no links and does not block on a pipe. Without aiohttp, since a command imports it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_LONGEST_BYTES = 1 << 20
_MARK_DIGITS = 4
"""16 bits: one change in 65,536 is missed, and a reader of the file cannot confirm a guessed secret."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Short digests of credentials, which show whether these have changed.

    Attributes:
        salt: of this start.
        by_name: credential -> its mark.
    """

    salt: str = ""
    by_name: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Marks:
        """The marks of these credentials, under a new salt."""
        salt = secrets.token_hex(16)
        return cls(salt, {name: _mark(salt, value) for name, value in values.items()})

    def changed(self, values: Mapping[str, str]) -> list[str]:
        """The names whose values are not the marked ones: changed, added or removed."""
        now = {name: _mark(self.salt, value) for name, value in values.items()}
        return sorted(name for name in {*now, *self.by_name} if now.get(name) != self.by_name.get(name))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a reload.

    Attributes:
        began_s: when it began, on the monotonic clock of the machine.
        problems: why it was rejected, one line each; empty if the new configuration applies.
        restart: changed keys that need a restart.
        marks: of the credentials that the daemon was started with.
    """

    began_s: float
    problems: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    marks: Marks = field(default_factory=Marks)


def outcome_path(environ: Mapping[str, str], store: Path) -> Path:
    """The path of the file: in ``$RUNTIME_DIRECTORY`` (set by systemd), else beside the store."""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0]) / "reload.json"
    return store.with_name(f".{store.name}.reload")


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome; readers never see a part of it.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(outcome), file)
    draft.replace(path)


def read_outcome(path: Path) -> Outcome | None:
    """The last outcome; None if there is no file, or no valid one."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            return _outcome(json.loads(file.read(_LONGEST_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _outcome(value: Any) -> Outcome:  # noqa: ANN401 - JSON of any shape
    marks = Marks(str(value["marks"]["salt"]), {str(k): str(v) for k, v in value["marks"]["by_name"].items()})
    problems, restart = (tuple(map(str, value[key])) for key in ("problems", "restart"))
    return Outcome(float(value["began_s"]), problems, restart, marks)


def _mark(salt: str, value: str) -> str:
    return hashlib.sha256(f"{salt}:{value}".encode()).hexdigest()[:_MARK_DIGITS]
