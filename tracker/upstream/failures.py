"""Translate errors of aiohttp: the request was not sent, or it may have arrived.

Owns the messages. aiohttp's own messages and attributes contain URLs and request headers, so only the operating
system's message is copied.
"""

from __future__ import annotations

import os
from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError

from tracker.errors import NotSent, Unanswered, UpstreamFailure

_Kind = tuple[type[Exception] | tuple[type[Exception], ...], type[UpstreamFailure], str]

# The first match counts. Connection errors come first: aiohttp raises them before it writes a byte.
# Any other error may come after the request was sent.
_KINDS: Final[tuple[_Kind, ...]] = (
    (aiohttp.ConnectionTimeoutError, NotSent, "no connection in time"),
    (aiohttp.ClientConnectorDNSError, NotSent, "the host name cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, NotSent, "the TLS certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, NotSent, "no TLS connection"),
    (aiohttp.ClientConnectorError, NotSent, "the service cannot be reached"),
    (aiohttp.ServerFingerprintMismatch, NotSent, "the TLS certificate is a different one"),
    (aiohttp.InvalidURL, NotSent, "the URL is invalid"),
    (TimeoutError, Unanswered, "no complete answer in time"),
    (aiohttp.ServerDisconnectedError, Unanswered, "the connection was closed before an answer"),
    (aiohttp.ClientPayloadError, Unanswered, "the answer is truncated, or cannot be decompressed"),
    ((aiohttp.ClientResponseError, HttpProcessingError), Unanswered, "the answer is not HTTP"),
    (OSError, Unanswered, "the connection broke"),
)

LIBRARY_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError, ValueError)
"""What aiohttp raises when an exchange fails."""


def _cause_of(error: OSError) -> str | None:
    """The message of the operating system; of a connection to one address also the address."""
    text, where = error.strerror, ""
    if isinstance(error, aiohttp.ClientConnectorError):
        where = f"{error.host}:{error.port}"
        os_error = error.os_error
        text = os.strerror(os_error.errno) if os_error.errno else text
    return ", ".join(filter(None, (where, text and text[0].lower() + text[1:]))) or None


def failure_of(error: Exception) -> UpstreamFailure:
    """Translate one of `LIBRARY_ERRORS`."""
    for kind, failure, message in _KINDS:
        if isinstance(error, kind):
            cause = _cause_of(error) if isinstance(error, OSError) else None
            return failure(f"{message} ({cause})" if cause else message)
    return Unanswered(f"the exchange failed ({type(error).__name__})")
