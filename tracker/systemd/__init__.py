"""The interface to the service manager: readiness, sockets, credentials, the journal.

Implements systemd's protocols with the standard library. Without systemd, every part does nothing, so callers need not
check. Must not know tasks, stores or routes.
"""

from tracker.systemd.credentials import hide_credentials, protect_memory, read_credentials, with_credentials
from tracker.systemd.journal import find_journal
from tracker.systemd.notifier import Notifier
from tracker.systemd.sockets import UnixSocketSite, take_sockets

__all__ = [
    "Notifier",
    "UnixSocketSite",
    "find_journal",
    "hide_credentials",
    "protect_memory",
    "read_credentials",
    "take_sockets",
    "with_credentials",
]
