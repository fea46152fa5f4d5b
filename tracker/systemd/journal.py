"""Write log events to the journal with searchable fields, by its native protocol.

Used if standard error is connected to the journal. Each event is one entry with the journal's own time and priority;
its fields, such as ``TRACKER_EVENT``, ``TRACKER_TASK_ID`` and ``TRACKER_PROVIDER``, can be searched with
``journalctl``.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ (read 2026-11).
"""

from __future__ import annotations

import array
import errno
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any, Final

import orjson

SOCKET: Final = "/run/systemd/journal/socket"
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Severity -> syslog priority."""
NAMES: Final = {"task": "TASK_ID", "event": "EVENT"}
"""Keys of log events with other field names, those of the hooks' environment."""
_MAX_NAME: Final = 64
_NOT_IN_NAMES: Final = re.compile(r"[^A-Z0-9]+")
_NOT_IN_MESSAGE: Final = frozenset({"event", "level", "logger", "exception", "stack"})


class Journal:
    """A sink for log events; raises OSError if the socket cannot be connected to."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Write an event; reconnect after a restart of the journal, and write to standard error while it is down."""
        entry = make_entry(event)
        try:
            self._send(entry)
        except OSError:
            try:
                self._socket.connect(self._path)
                self._send(entry)
            except OSError:
                print(message_of(event), file=sys.stderr)  # noqa: T201 - the last resort

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.send(entry)
        except OSError as error:
            if not _is_too_large(error):
                raise
            self._send_as_file(entry)

    def _send_as_file(self, entry: bytes) -> None:
        """Send an entry that is too large for a datagram, as a sealed memory file."""
        import fcntl  # noqa: PLC0415 - not on every platform, and rarely needed

        handle = os.memfd_create("tracker-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            left = memoryview(entry)
            while left:
                left = left[os.write(handle, left) :]
            fcntl.fcntl(
                handle,
                fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL,
            )
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle]))
            self._socket.sendmsg([b""], [rights])
        finally:
            os.close(handle)


def find_journal(environ: Mapping[str, str], stderr_fd: int = 2, path: str = SOCKET) -> Journal | None:
    """The journal if standard error is connected to it, by ``JOURNAL_STREAM`` (its device and inode); else None."""
    if not is_journal(environ, stderr_fd):
        return None
    try:
        return Journal(path)
    except OSError:
        return None


def is_journal(environ: Mapping[str, str], stderr_fd: int = 2) -> bool:
    """Whether standard error is the journal's stream, not a terminal or a redirection."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stderr_fd)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def make_entry(event: Mapping[str, Any]) -> bytes:
    """An event in the journal's native format."""
    fields = {
        "MESSAGE": message_of(event),
        "PRIORITY": str(PRIORITIES.get(str(event.get("level")), PRIORITIES["info"])),
        "SYSLOG_IDENTIFIER": "tracker",
    }
    for key, value in event.items():
        if key != "level" and value is not None:
            fields.setdefault(field_name(key), _text(value))
    return b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())


def message_of(event: Mapping[str, Any]) -> str:
    """The text that ``journalctl`` shows: the event, its fields, and a traceback below."""
    fields = [
        f"{key}={_shown(value)}" for key, value in event.items() if key not in _NOT_IN_MESSAGE and value is not None
    ]
    below = [str(event[key]) for key in ("exception", "stack") if event.get(key)]
    return "\n".join([" ".join([str(event.get("event", "")), *fields]), *below])


def field_name(key: str) -> str:
    """The journal's name of a field: upper case letters, digits and underscores, 64 at most."""
    name = NAMES.get(key) or _NOT_IN_NAMES.sub("_", key.upper()).strip("_") or "UNNAMED"
    return f"TRACKER_{name}"[:_MAX_NAME]


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):
        return str(value)


def _shown(value: object) -> str:
    """A value in the text of an entry: quoted if ambiguous, control characters escaped."""
    text = _text(value)
    if not text.isprintable():
        return json.dumps(text).replace("\x7f", "\\u007f")
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text


def _is_too_large(error: OSError) -> bool:
    return error.errno in {errno.EMSGSIZE, errno.ENOBUFS}
