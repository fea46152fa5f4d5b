"""Temporary output URLs: who may fetch which file until when, and the serving of them.

Owns the tokens and their expiry. A URL stays the same for as long as it is valid; a poll after its expiry
is given a fresh one (this is the sandbox's choice: no provider documents what a late poll gets).
Must not know about families.

Source: outputs are temporary URLs (AnyInt, api-reference/media); DashScope signs them with an ``Expires``
query of epoch seconds, see its sample answers.
"""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from tracker.sandbox.dice import Dice
from tracker.sandbox.journal import Journal
from tracker.sandbox.media import Media, make_media
from tracker.sandbox.transport import send
from tracker.sandbox.wire import Answer

PATH = "/files/{token}/{name}"


@dataclass(frozen=True, slots=True)
class _Grant:
    """Who may fetch what until when.

    Attributes:
        path: Token and file name.
        subject: What the content is derived from.
        media: What kind of file.
        n: Which file of the subject.
        expires_at_s: Seconds since the epoch.
        cut: Whether the first download ends half-way.
    """

    path: str
    subject: str
    media: Media
    n: int
    expires_at_s: float
    cut: bool

    @property
    def expires(self) -> str:
        """The query value, rounded up to whole seconds; the exact time decides."""
        return str(math.ceil(self.expires_at_s))


@dataclass(slots=True)
class OutputFiles:
    """Makes URLs and serves their files.

    Attributes:
        dice: Makes the tokens.
        url_ttl_s: How long a URL is valid, seconds.
        journal: Where downloads are counted.
        base_url: Where the sandbox is reached; set when it listens.
    """

    dice: Dice
    url_ttl_s: float
    journal: Journal
    base_url: str = ""
    _grants: dict[str, _Grant] = field(default_factory=dict)
    _current: dict[tuple[str, str], _Grant] = field(default_factory=dict)
    _renewals: dict[tuple[str, str], int] = field(default_factory=dict)
    _cut_once: set[str] = field(default_factory=set)

    def link(self, subject: str, media: Media, n: int, *, label: str = "output", cut: bool = False) -> str:
        """Return a URL for one file, valid for a while.

        Args:
            subject: What the content is derived from, a job id.
            media: What kind of file.
            n: Which file of the subject.
            label: First part of the file name.
            cut: Whether the first download is to end half-way.
        """
        name = f"{label}-{n}.{media.value}"
        key = (subject, name)
        grant = self._current.get(key)
        if grant is None or time.time() >= grant.expires_at_s:
            renewal = self._renewals.get(key, 0)
            self._renewals[key] = renewal + 1
            token = self.dice.draw_bytes(16, "file", subject, name, renewal).hex()
            grant = _Grant(f"{token}/{name}", subject, media, n, time.time() + self.url_ttl_s, cut)
            self._grants[grant.path] = self._current[key] = grant
        return f"{self.base_url}/files/{grant.path}?Expires={grant.expires}"

    def clear(self) -> None:
        """Withdraw every URL."""
        self._grants.clear()
        self._current.clear()
        self._renewals.clear()
        self._cut_once.clear()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a download: 200, 206 for a range, 403 when expired or forged, 416 for an absurd range."""
        path = f"{request.match_info['token']}/{request.match_info['name']}"
        grant = self._grants.get(path)
        self.journal.downloads["unknown" if grant is None else f"{grant.subject}/{request.match_info['name']}"] += 1
        if grant is None or request.query.get("Expires") != grant.expires:
            return _denied("SignatureDoesNotMatch")
        if time.time() >= grant.expires_at_s:
            return _denied("Request has expired.")
        body = make_media(grant.media, grant.subject, grant.n)
        headers: dict[str, str] = {hdrs.ACCEPT_RANGES: "bytes", hdrs.ETAG: f'"{zlib.crc32(body):08x}"'}
        try:
            wanted = request.http_range
            start, stop, _ = slice(wanted.start, wanted.stop).indices(len(body))
        except ValueError:
            start, stop = len(body), 0
        status = 200
        if hdrs.RANGE in request.headers:
            if start >= stop:
                return web.Response(status=416, headers={hdrs.CONTENT_RANGE: f"bytes */{len(body)}"})
            status = 206
            headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{stop - 1}/{len(body)}"
        part = body[start:stop]
        if grant.cut and request.method == hdrs.METH_GET and self._is_first(path):
            return await send(request, Answer(status, part, grant.media.content_type, headers, broken=True))
        return web.Response(status=status, body=part, content_type=grant.media.content_type, headers=headers)

    def hand_over(self, subject: str, media: Media, n: int, *, label: str = "output", cut: bool = False) -> Answer:
        """Answer a download that needs no URL of its own, because it needs the key.

        Args:
            subject: What the content is derived from, a job id.
            media: What kind of file.
            n: Which file of the subject.
            label: First part of the name under which it is counted.
            cut: Whether the first download is to end half-way.
        """
        name = f"{subject}/{label}-{n}.{media.value}"
        self.journal.downloads[name] += 1
        body = make_media(media, subject, n)
        return Answer(200, body, media.content_type, broken=cut and self._is_first(name))

    def _is_first(self, name: str) -> bool:
        """Return whether this download was not cut before; the next time it was."""
        first = name not in self._cut_once
        self._cut_once.add(name)
        return first


def _denied(reason: str) -> web.Response:
    """The XML of an object store that refuses; Alibaba OSS and S3 answer alike."""
    error = f"<Error><Code>AccessDenied</Code><Message>{reason}</Message></Error>"
    text = f'<?xml version="1.0" encoding="UTF-8"?>{error}'
    return web.Response(status=403, text=text, content_type="application/xml")
