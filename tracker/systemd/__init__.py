"""What the daemon and the service manager say to each other: readiness, sockets, credentials, the journal.

Speaks systemd's protocols in the standard library alone. Where there is no systemd, every part of it is silent or
empty, so nobody has to ask. Must not know tasks, stores or routes.
"""

from tracker.systemd.credentials import protect_memory, read_credentials, shut_credentials, with_credentials
from tracker.systemd.journal import find_journal
from tracker.systemd.notifier import Notifier
from tracker.systemd.sockets import UnixSocketSite, take_sockets

__all__ = [
    "Notifier",
    "UnixSocketSite",
    "find_journal",
    "protect_memory",
    "read_credentials",
    "shut_credentials",
    "take_sockets",
    "with_credentials",
]
