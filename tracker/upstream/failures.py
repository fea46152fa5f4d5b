"""What is certain after a request failed: it surely never left, or it may have arrived.

Owns the translation of the HTTP library's errors into ours, and their words. The library's own texts and
attributes hold URLs and request headers, so nothing of them is carried over, save what the system said.
"""

from __future__ import annotations

from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError

from tracker.errors import NotSent, Unanswered, UpstreamFailure

_Kind = tuple[type[Exception] | tuple[type[Exception], ...], type[UpstreamFailure], str]

# The first match counts. Errors of connecting come first: the library raises them before it writes a byte.
# Whatever is not surely one of those may have happened after the request left.
_KINDS: Final[tuple[_Kind, ...]] = (
    (aiohttp.ConnectionTimeoutError, NotSent, "no connection in time"),
    (aiohttp.ClientConnectorDNSError, NotSent, "the host name cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, NotSent, "the TLS certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, NotSent, "no TLS connection"),
    (aiohttp.ClientConnectorError, NotSent, "no connection"),
    (aiohttp.ServerFingerprintMismatch, NotSent, "the TLS certificate is another one"),
    (aiohttp.InvalidURL, NotSent, "the address cannot be used"),
    (TimeoutError, Unanswered, "no whole answer in time"),
    (aiohttp.ServerDisconnectedError, Unanswered, "the connection was closed before an answer came"),
    (aiohttp.ClientPayloadError, Unanswered, "the answer was cut short, or cannot be decompressed"),
    ((aiohttp.ClientResponseError, HttpProcessingError), Unanswered, "the answer is not HTTP"),
    (OSError, Unanswered, "the connection broke"),
)

LIBRARY_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError, ValueError)
"""What the library lets out when an exchange fails."""


def failure_of(error: Exception) -> UpstreamFailure:
    """Our error for one of `LIBRARY_ERRORS`."""
    for kind, ours, words in _KINDS:
        if isinstance(error, kind):
            cause = error.strerror if isinstance(error, OSError) else None
            return ours(f"{words} ({cause})" if cause else words)
    return Unanswered(f"the exchange failed ({type(error).__name__})")
