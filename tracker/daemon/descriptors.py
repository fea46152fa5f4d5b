"""File descriptors: the limit of this process, and how many of them connections may take.

Owns raising the limit, and the share of connections. Must not open or close anything.

Source: getrlimit(2), and ``LimitNOFILE=`` in systemd.exec(5): the soft limit is 1024 for the sake of programs that use
select(); a program that does not raises it itself (read 2026-11).
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

from tracker.tracking.feed import MAX_READERS

MAX_LIMIT: Final = 65_536
"""The limit of the unit. Programs of hooks inherit it, and some of them close every number below it."""
RESERVE: Final = 512
"""For the store, upstreams, hooks and downloads, and for connections that the loop accepts beyond the limit."""


def raise_limit() -> int:
    """Raise the soft limit of this process to its hard limit, at most to `MAX_LIMIT`.

    Returns:
        The limit now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = reachable_limit(soft, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS refuses more than a limit of its kernel
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return current_limit()


def current_limit() -> int:
    """How many descriptors this process may have open now, `MAX_LIMIT` if there is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else reachable_limit(soft, hard)


def reachable_limit(soft: int, hard: int) -> int:
    """The limit after `raise_limit`."""
    highest = MAX_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_LIMIT)
    return highest if soft == resource.RLIM_INFINITY else max(soft, highest)


def share_of_connections(limit: int) -> int:
    """How many connections there may be at once, with so many descriptors in all."""
    return max(limit - min(RESERVE, limit // 2), 1)


def share_of_streams(limit: int) -> int:
    """How many streams there may be at once: they hold connections for long, and callbacks need some at any time."""
    return max(min(MAX_READERS, share_of_connections(limit) // 2), 1)
