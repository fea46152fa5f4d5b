"""The network guard lets loopback through and nothing else."""

import socket

import pytest

from tests.conftest import is_loopback


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 80), True),
        (("127.8.8.8", 80), True),
        (("::1", 80, 0, 0), True),
        (("::ffff:127.0.0.1", 80, 0, 0), True),
        (("localhost", 80), True),
        ("/run/a.sock", True),
        (b"\0abstract", True),
        (("192.0.2.1", 80), False),
        (("2001:db8::1", 80, 0, 0), False),
        (("fe80::1%eth0", 80, 0, 2), False),
        (("::ffff:192.0.2.1", 80, 0, 0), False),
        (("example.org", 80), False),
    ],
)
def test_recognizes_loopback_addresses(address: object, expected: bool) -> None:
    """Loopback addresses and Unix sockets pass; every other address and name does not."""
    assert is_loopback(address) is expected


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_refuses_to_connect_elsewhere(method: str) -> None:
    """A connect to another machine fails the test, even through an `except Exception`."""
    with socket.socket() as sock, pytest.raises(pytest.fail.Exception, match="loopback only"):
        getattr(sock, method)(("192.0.2.1", 80))
