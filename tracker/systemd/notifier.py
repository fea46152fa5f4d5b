"""Notify the service manager of the daemon's state and ping its watchdog (sd_notify(3)).

Owns the datagrams. Must not decide whether the daemon is healthy.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from tracker.logs import get_logger

log = get_logger(__name__)

_US = 1_000_000


class Notifier:
    """Sends notifications; does nothing without a service manager.

    Attributes:
        watchdog_s: the watchdog's timeout, seconds; None if it does not watch this process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ) if self._address else None
        self._has_warned = False

    @property
    def is_available(self) -> bool:
        """Whether a service manager receives notifications."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The daemon works: after the start, and after a reload."""
        self._send(READY="1", STATUS=status)

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(RELOADING="1", MONOTONIC_USEC=str(int(time.monotonic() * _US)), STATUS="Reloading the configuration")

    def stopping(self, status: str) -> None:
        """The daemon stops."""
        self._send(STOPPING="1", STATUS=status)

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(STATUS=text)

    def alive(self) -> None:
        """Ping the watchdog."""
        self._send(WATCHDOG="1")

    def starting(self, status: str, more_s: float) -> None:
        """The start takes longer: extend its timeout by ``more_s`` from now."""
        self._send(STATUS=status, EXTEND_TIMEOUT_USEC=str(int(more_s * _US)))

    def _send(self, **fields: str) -> None:
        if not self._address:
            return
        message = "\n".join(f"{name}={_one_line(value)}" for name, value in fields.items())
        # "@" means the leading NUL byte of an abstract socket's name
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(0)  # a busy service manager must not block the event loop
                sender.connect(address)
                sender.send(message.encode())
        except OSError as error:
            if not self._has_warned:
                log.warning("service_manager.not_reachable", error=error.strerror or str(error))
            self._has_warned = True
        else:
            self._has_warned = False


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The watchdog's timeout if it watches this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environ.get("WATCHDOG_USEC", "")) / _US or None
    except ValueError:
        return None
