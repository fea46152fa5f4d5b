"""The decoded HTTP reply to a create or a poll.

Owns which error a reply states. Must not know what a success looks like, nor what an error means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote

from msgspec import Struct

from tracker.domain.retry import parse_retry_after
from tracker.domain.task import ExternalId, UpstreamError
from tracker.providers.reading.envelopes import layers
from tracker.providers.reading.error_shapes import as_upstream_error, find_message, find_stated, message_of_page
from tracker.providers.reading.fields import kind_of, parse_id

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.route import Json

_CREATED = frozenset({201, 202, 204})
_LAST_SEGMENT = re.compile(r"/((?=[^/]*\d)[^/]+)(?:/(?:status|result|content))?/?$")
_NO_REDIRECTS = frozenset({303, 304})
"""Replies of a server that accepted the request: its result is elsewhere, or has not changed.

**Source**: RFC 9110, sections 15.4.4 and 15.4.5."""


class DecodedReply(Struct, frozen=True, dict=True):
    """A decoded HTTP reply.

    Attributes:
        reply: the reply itself.
        body: the JSON object in it; None when it is anything else, or cut off.
        salvaged: the readable part of an object that is cut off.
        fault: why ``body`` is None.
    """

    reply: WireReply
    body: Mapping[str, Json] | None
    salvaged: Mapping[str, Json] | None
    fault: str | None

    @property
    def http_status(self) -> int:
        """Its HTTP status."""
        return self.reply.status

    @property
    def is_success(self) -> bool:
        """Whether the HTTP status is 2xx."""
        return 200 <= self.http_status < 300  # noqa: PLR2004 - HTTP's own numbers

    @property
    def is_redirect(self) -> bool:
        """Whether it is a redirect; the client follows none, because they would get the key."""
        return 300 <= self.http_status < 400 and self.http_status not in _NO_REDIRECTS  # noqa: PLR2004 - HTTP's own

    @cached_property
    def stated(self) -> UpstreamError | None:
        """The error that it states in a known shape, for looking up its meaning; None when it states none."""
        known = self.body or {}
        return next((error for layer in layers(known) if (error := find_stated(layer, self.http_status))), None)

    @cached_property
    def error(self) -> UpstreamError:
        """The upstream's error, as far as it states one."""
        message = None
        if self.http_status >= 400:  # noqa: PLR2004 - HTTP's own number
            decoded = self.reply.decoded
            message = find_message(decoded.value) if decoded.value is not None else message_of_page(decoded.plain)
        return as_upstream_error(self.stated) or UpstreamError(message=message, http_status=self.http_status)

    @cached_property
    def located_id(self) -> ExternalId | None:
        """The id in the URL where an acceptance locates the job; a name without a digit is not an id.

        **Source**: RFC 9110, section 15.3.3 (202 points to a status monitor); ``Operation-Location`` in
        https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md (long-running operations).
        """
        if self.http_status not in _CREATED:
            return None
        for name in ("operation-location", "location", "content-location"):
            path = self.reply.headers.get(name, "").partition("?")[0].partition("#")[0]
            found = _LAST_SEGMENT.search(path)
            if found is not None:
                return parse_id(unquote(found[1]), name)
        return None

    @cached_property
    def retry_after_s(self) -> float | None:
        """How long it asks to wait, seconds."""
        return parse_retry_after(self.reply.headers, self.reply.received_at)


def decode_reply(reply: WireReply) -> DecodedReply:
    """Decode an HTTP reply; never raises."""
    decoded = reply.decoded
    fault = decoded.fault
    value = decoded.value
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        value = {"data": value}
    found = value if isinstance(value, Mapping) else None
    if fault is None and found is None:
        fault = f"{kind_of(decoded.value)} instead of an object"
    return DecodedReply(reply, found if fault is None else None, found, fault)
