"""Tells the service manager how the daemon is (sd_notify(3)), and learns how often it wants to hear that it lives.

Owns the datagrams. Must not decide whether the daemon is well.
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
    """The way to the service manager; does nothing where there is none.

    Args:
        environ: the process environment.

    Attributes:
        watchdog_s: it wants ``WATCHDOG=1`` at least this often, seconds; None when it does not watch this process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ) if self._address else None
        self._complained = False

    @property
    def is_heard(self) -> bool:
        """Whether there is a service manager that listens."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The daemon does its work: after the start, and after a reload."""
        self._tell(READY="1", STATUS=status)

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._tell(RELOADING="1", MONOTONIC_USEC=str(int(time.monotonic() * _US)), STATUS="Reloading the configuration")

    def stopping(self, status: str) -> None:
        """The daemon has begun to stop."""
        self._tell(STOPPING="1", STATUS=status)

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._tell(STATUS=text)

    def alive(self) -> None:
        """Feed the watchdog."""
        self._tell(WATCHDOG="1")

    def starting(self, status: str, more_s: float) -> None:
        """The start takes longer: ask for so many seconds more from now."""
        self._tell(STATUS=status, EXTEND_TIMEOUT_USEC=str(int(more_s * _US)))

    def _tell(self, **fields: str) -> None:
        if not self._address:
            return
        message = "\n".join(f"{name}={_one_line(value)}" for name, value in fields.items())
        # "@" stands for the NUL byte that begins the name of an abstract socket
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(0)  # a service manager that is busy must not hold the event loop
                sender.connect(address)
                sender.send(message.encode())
        except OSError as error:
            if not self._complained:
                log.warning("service.manager_not_reached", error=error.strerror or str(error))
            self._complained = True
        else:
            self._complained = False


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """How often the watchdog wants to be fed, if it is this process that it watches."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environ.get("WATCHDOG_USEC", "")) / _US or None
    except ValueError:
        return None
