"""Download one output into its partial file: limited in bytes and time, and resumed.

Owns which requests go where. Redirects are followed here, one by one, because each needs two decisions: is the address
allowed, and is it the account's own host, which alone gets the account's key? Must not retry, and must not decide what
a failure means for the item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on

from tracker import __version__
from tracker.archive.content_encoding import Decoder
from tracker.archive.partial import BUFFER_BYTES
from tracker.archive.response_heads import Slice, digests_of, encoding_of, read_slice, read_version, remote_version
from tracker.domain.api_keys import key_problem
from tracker.domain.retry import parse_retry_after
from tracker.domain.upstream_http import AuthHeader
from tracker.errors import OutputPermanentFailure, OutputRefused, OutputUnavailable
from tracker.upstream.addresses import AddressForbidden, PublicResolver, is_literal, is_public
from tracker.upstream.sessions import make_session
from tracker.upstream.urls import exact_url, follow

if TYPE_CHECKING:
    from tracker.archive.partial import Partial
    from tracker.archive.response_heads import Version
    from tracker.clock import Clock
    from tracker.domain.task import Output, Task
    from tracker.upstream.client import Account

MAX_REDIRECTS: Final = 5
_CONNECT_S: Final = 15.0
_HEADERS: Final = {"User-Agent": f"tracker/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_BEARER: Final = "Authorization: Bearer {key}"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RETRY_STATUSES: Final = frozenset({408, 425, 429})
_FILE_STATUSES: Final = frozenset({HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION, HTTPStatus.PARTIAL_CONTENT})
"""Statuses of responses with a file or a range of it: ``Content-Range`` and the length show which."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one download.

    Attributes:
        max_bytes: the largest file.
        idle_s: the longest time without a byte.
        total_s: the longest total time; the next attempt resumes.
    """

    max_bytes: int
    idle_s: float = 60.0
    total_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server said about a file that it sent completely.

    Attributes:
        host: the server.
        mime: the media type that it declares, if any.
        digests: of the file, see `digests_of`.
    """

    host: str
    mime: str | None = None
    digests: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class _Opener:
    """What opens an authenticated output."""

    account: Account
    header: AuthHeader


class Downloader:
    """Fetches outputs.

    Args:
        accounts: by name, for outputs that need a key; read at each download.
        clock: for ``Retry-After`` dates.
        bounds: limits of one download.
        allow_private: also connect to private addresses.
    """

    def __init__(
        self, accounts: Mapping[str, Account], clock: Clock, bounds: Bounds, *, allow_private: bool = False
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._bounds = bounds
        self._allow_private = allow_private
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def fetch(self, task: Task, output: Output, partial: Partial) -> Fetched:
        """Download an output into its partial file; the last bytes of it remain in the buffer.

        Args:
            task: its account's key opens an authenticated output.
            output: with a URL.
            partial: the file; bytes of an earlier attempt are used if they are of the same version.

        Raises:
            OutputRefused, OutputUnavailable, OutputPermanentFailure: the bytes received so far remain.
            ArchiveStorageUnavailable: the file could not be written.
        """
        url, opener = self._locate(task, output)
        found = await asyncio.to_thread(partial.find) if partial.is_on_disk else None
        known = None if found is None else read_version(found[1])
        start = found[0] if found is not None and known is not None else 0
        try:
            async with asyncio.timeout(self._bounds.total_s):
                fetched = await self._attempt(url, opener, partial, start, known)
                if fetched is None:
                    fetched = await self._attempt(url, opener, partial, 0, known)
                assert fetched is not None  # noqa: S101 - only a range can be of another version
                return fetched
        except TimeoutError as error:
            raise OutputUnavailable(
                f"not finished within {self._bounds.total_s:g} s; the next attempt resumes"
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()

    def _locate(self, task: Task, output: Output) -> tuple[URL, _Opener | None]:
        """The URL of the output, and the account whose key opens it, with the header for that key."""
        if not output.authenticated:
            return _parsed(output.url or ""), None
        account = self._accounts.get(task.account)
        if account is None:
            raise OutputUnavailable(f"no account named {task.account!r}")
        url = output.url or ""
        if url.startswith("/"):
            url = account.base_url.rstrip("/") + url
        return _parsed(url), _Opener(account, AuthHeader.parse(output.key_header or _BEARER))

    async def _attempt(
        self, url: URL, opener: _Opener | None, partial: Partial, start: int, known: Version | None
    ) -> Fetched | None:
        """One exchange, see `_read_response`."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            response = await self._follow_redirects(url, opener, headers)
            try:
                return await self._read_response(response, partial, start, known)
            finally:
                response.close()
        except TimeoutError as error:
            raise OutputUnavailable(f"{url.host}: timed out") from error
        except aiohttp.ClientPayloadError as error:
            raise OutputUnavailable(f"{url.host}: truncated after {partial.size} bytes") from error
        except aiohttp.InvalidURL as error:
            raise OutputPermanentFailure(_NO_URL) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            forbidden = _forbidden(error)
            if forbidden is not None:
                raise OutputPermanentFailure(_PRIVATE.format(host=forbidden)) from error
            raise OutputUnavailable(f"{url.host}: {_message_of(error)}") from error

    async def _follow_redirects(
        self, url: URL, opener: _Opener | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The first response that is not a redirect."""
        for _ in range(MAX_REDIRECTS + 1):
            is_own_host = opener is not None and _origin(url) == _origin(_parsed(opener.account.base_url))
            self._check(url, is_own_host=is_own_host)
            sent = {**_HEADERS, **headers}
            if opener is not None and is_own_host:
                sent |= [opener.header.with_key(self._key_of(opener.account))]
            timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=self._bounds.idle_s)
            session = self._session(is_own_host=is_own_host)
            response = await session.get(url, headers=sent, allow_redirects=False, timeout=timeout)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.close()
            try:
                url = follow(url, location)
            except ValueError as error:
                raise OutputPermanentFailure(f"redirected to {error}") from error
        raise OutputUnavailable(f"more than {MAX_REDIRECTS} redirects")

    def _check(self, url: URL, *, is_own_host: bool) -> None:
        """Reject a forbidden IP address. Names are checked as they are resolved, see `PublicResolver`."""
        # the operator chose the account's own host; polls connect to it anyway
        host = url.host or ""
        if self._allow_private or is_own_host or not is_literal(host):
            return
        if not is_public(host):
            raise OutputPermanentFailure(_PRIVATE.format(host=host))

    @staticmethod
    def _key_of(account: Account) -> str:
        key = (account.api_key() or "").strip()
        if (problem := key_problem(key)) is not None:
            raise OutputUnavailable(f"the API key of account {account.name!r} {problem}")
        return key

    async def _read_response(
        self, response: aiohttp.ClientResponse, partial: Partial, start: int, known: Version | None
    ) -> Fetched | None:
        """Read a response into the partial file, from the byte ``start`` on.

        Returns:
            None if a range is not exactly the rest of the version ``known``.
        """
        if start and response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        if response.status not in _FILE_STATUSES:
            raise self._status_error(response, response.status)
        part = read_slice(response)
        announced: int | None
        total: int | None
        if start:
            if known is None or part != Slice(start, known.total) or remote_version(response, part.total) != known:
                return None
            announced = total = part.total
        else:
            announced, total = self._length_of(response, part, known)
        if total is not None and total > self._bounds.max_bytes:
            raise OutputPermanentFailure(
                f"the file has {total} bytes; archive.max_bytes allows {self._bounds.max_bytes}"
            )
        if start and known is not None:
            await asyncio.to_thread(partial.resume, str(known), known.total)
        else:
            version = remote_version(response, announced)
            partial.begin(None if version is None else str(version), total)
            if total is not None and total > BUFFER_BYTES:
                await asyncio.to_thread(partial.open)
        await self._copy_body(response, partial)
        if total is not None and partial.size != total:
            await asyncio.to_thread(partial.flush)
            raise OutputUnavailable(f"truncated after {partial.size} of {total} bytes")
        return Fetched(response.url.host or "", response.headers.get("Content-Type"), digests_of(response))

    @staticmethod
    def _length_of(
        response: aiohttp.ClientResponse, part: Slice | None, known: Version | None
    ) -> tuple[int | None, int | None]:
        """The length of the file in a response to a request without a range: as declared, and as expected.

        None if unknown. A download is not resumed from a length that is expected but was not declared.
        """
        if part is None and response.status == HTTPStatus.PARTIAL_CONTENT:
            raise OutputUnavailable(f"{response.url.host} sent a range without a request for one (HTTP 206)")
        if encoding_of(response):
            return None, None  # Content-Length is of the encoded body; aiohttp checks it
        total = response.content_length if part is None else part.total
        if part is not None and (part.start or response.content_length not in {None, total}):
            raise OutputUnavailable(f"{response.url.host} sent a range of the file of {total} bytes")
        # equal strong entity tags mean equal bytes, so equal lengths
        now = remote_version(response, 0)
        if known is not None and known.is_strong and now is not None and now.mark == known.mark:
            if total not in {None, known.total}:
                raise OutputUnavailable(f"{response.url.host} sent {total} bytes of a file of {known.total} bytes")
            return total, known.total
        return total, total

    async def _copy_body(self, response: aiohttp.ClientResponse, partial: Partial) -> None:
        decoder = Decoder(encoding_of(response))
        try:
            async for raw in response.content.iter_any():
                for piece in decoder.feed(raw):
                    partial.add(piece)
                    if partial.size > self._bounds.max_bytes:
                        raise OutputPermanentFailure(
                            f"the file has more than {self._bounds.max_bytes} bytes, see archive.max_bytes"
                        )
                    if partial.is_full:
                        await asyncio.to_thread(partial.flush)
        except (aiohttp.ClientError, TimeoutError):
            if partial.size:  # the next attempt resumes after these bytes
                await asyncio.to_thread(partial.flush)
            raise
        decoder.finish()

    def _status_error(self, response: aiohttp.ClientResponse, status: int) -> OutputRefused | OutputUnavailable:
        host = response.url.host
        if status in _RETRY_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < HTTPStatus.BAD_REQUEST:
            return OutputUnavailable(
                f"{host} answered HTTP {status}", parse_retry_after(response.headers, self._clock.now())
            )
        return OutputRefused(f"{host} rejected the request: HTTP {status}")

    def _session(self, *, is_own_host: bool) -> aiohttp.ClientSession:
        trusted = is_own_host or self._allow_private
        session = self._sessions.get(trusted)
        if session is None:
            connector = aiohttp.TCPConnector(
                resolver=PublicResolver(allow_private=trusted), use_dns_cache=False, limit=0, keepalive_timeout=15.0
            )
            session = make_session(connector, auto_decompress=False)
            self._sessions[trusted] = session
        return session


_NO_URL: Final = "the output has no http(s) URL"
_PRIVATE: Final = "{host} is not a public address; archive.allow_private_addresses = true allows it"


def _parsed(url: str) -> URL:
    """The URL, byte for byte as it was signed."""
    try:
        return exact_url(url)
    except ValueError as error:
        raise OutputPermanentFailure(_NO_URL) from error


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port


def _forbidden(error: BaseException) -> str | None:
    """The host that `PublicResolver` rejected; None for another error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressForbidden):
            return getattr(error, "host", None) or "the host"
        inner = getattr(cause, "os_error", None)
        cause = inner if isinstance(inner, AddressForbidden) else cause.__cause__
    return None


def _message_of(error: BaseException) -> str:
    """A description without the URL, whose query may be a signature."""
    inner = getattr(error, "os_error", None) or error
    if isinstance(inner, OSError) and inner.strerror:
        return f"no connection ({inner.strerror})"
    return f"no readable answer ({type(error).__name__})"
