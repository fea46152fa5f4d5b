"""For every test: a network that ends at loopback, and repeatable Hypothesis runs."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.contract import channel_table
from tests.kits.short_paths import short_directory

MEMORY = Path("/dev/shm")
MEMORY_MIN_BYTES = 4 << 30
TEMPROOT = "PYTEST_DEBUG_TEMPROOT"
"""Where pytest makes its directories (https://docs.pytest.org/en/stable/how-to/tmp_path.html)."""

os.umask(0o022)  # hook scripts that others can write are refused: under 002 those of the tests would be
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def is_loopback(address: object) -> bool:
    """Whether a socket address stays on this machine.

    Args:
        address: What `socket.connect` was given: a path, or a tuple that starts with the host.
    """
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0]).partition("%")[0]
    if host == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


@pytest.fixture
def short_path() -> Iterator[Path]:
    """As `tmp_path`, for Unix sockets; see `tests.kits.short_paths`."""
    with short_directory() as path:
        yield path


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Fail the test that connects anywhere but to this machine.

    `pytest.fail` raises a `BaseException`, so code under test cannot take the refusal for a provider's outage.
    uvloop opens its sockets in C and is not watched; in-process tests run on asyncio's own loop.
    """

    def guard(real: Any) -> Any:  # noqa: ANN401 - wraps two methods of different result
        def connect(self: socket.socket, address: object) -> object:
            if not is_loopback(address):
                pytest.fail(f"this test tried to reach {address!r}: tests talk to loopback only")
            return real(self, address)

        return connect

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guard(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex))
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Put `tmp_path` into memory where that is possible: on a disk, most of the time goes to waiting for its syncs.

    The soak tests use the disk.
    """
    if config.option.markexpr != "soak" and not {"TMPDIR", TEMPROOT} & os.environ.keys() and can_hold_files(MEMORY):
        os.environ[TEMPROOT] = str(MEMORY)


def can_hold_files(directory: Path) -> bool:
    """Whether tests can write files into a directory and run them, with enough free space for all workers."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return False
    is_large = status.f_bavail * status.f_frsize >= MEMORY_MIN_BYTES
    return is_large and os.access(directory, os.W_OK) and not status.f_flag & os.ST_NOEXEC


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the tests with the longest time limits first, so that none of them runs last beside idle workers."""

    def limit_of(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return float(mark.args[0]) if mark is not None and mark.args else 0.0

    items.sort(key=limit_of, reverse=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table of routes and ways; here, for the process that sums up the workers reads no other conftest."""
    channel_table.show(terminalreporter)
