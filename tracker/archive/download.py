"""Fetching one output into its unfinished file: bounded in bytes and time, resumed, and never led astray.

Owns what is sent where. Redirects are followed here, one by one, because each is a new decision: may this address be
reached at all, and is it the account's own host, which alone is ever shown the account's key? Must not retry, and
must not decide what a failure means for the item.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on

from tracker import __version__
from tracker.archive.partial import version_of
from tracker.errors import OutputHopeless, OutputRefused, OutputUnavailable
from tracker.upstream.addresses import AddressForbidden, PublicResolver, is_literal, is_public

if TYPE_CHECKING:
    from tracker.archive.partial import Partial
    from tracker.clock import Clock
    from tracker.domain.task import Output, Task
    from tracker.upstream.client import Account

MAX_REDIRECTS: Final = 5
BUFFER_BYTES: Final = 1 << 20
"""Gathered before each write: the most that a download holds in memory."""
_CONNECT_S: Final = 15.0
_HEADERS: Final = {"User-Agent": f"tracker/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({408, 425, 429})
_RETRY_AFTER_DIGITS: Final = 7
"""Months; more is no wait that anybody means."""
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one download may take.

    Attributes:
        max_bytes: the largest file.
        idle_s: without a byte for so long, it is cut off.
        total_s: however fast it is, it is cut off then; the next attempt goes on from there.
    """

    max_bytes: int
    idle_s: float = 60.0
    total_s: float = 1800.0


class Downloader:
    """Fetches outputs.

    Args:
        accounts: by name, for outputs that need a key; read at each download.
        clock: for ``Retry-After`` dates.
        bounds: what one download may take.
        allow_private: reach addresses that are not public, too.
    """

    def __init__(
        self, accounts: Mapping[str, Account], clock: Clock, bounds: Bounds, *, allow_private: bool = False
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._bounds = bounds
        self._allow_private = allow_private
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def fetch(self, task: Task, output: Output, partial: Partial) -> str | None:
        """Bring an output's bytes into its unfinished file, all of them.

        Args:
            task: whose it is; its account's key opens an authenticated output.
            output: with a URL.
            partial: where the bytes go; what an earlier attempt left there is used when it fits.

        Returns:
            The media type that the server declares, if any.

        Raises:
            OutputRefused, OutputUnavailable, OutputHopeless: as their names say; what came so far is kept.
            PlaceUnavailable: it could not be written.
        """
        url, account = self._address(task, output)
        left = await asyncio.to_thread(partial.find)
        try:
            async with asyncio.timeout(self._bounds.total_s):
                if left is not None:
                    declared = await self._attempt(url, account, partial, left)
                    if declared is not _STALE:
                        return declared or None
                return await self._attempt(url, account, partial, None) or None
        except TimeoutError as error:
            raise OutputUnavailable(f"not finished within {self._bounds.total_s:g} s; it goes on from there") from error

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()

    def _address(self, task: Task, output: Output) -> tuple[URL, Account | None]:
        """Where the output is, and the account whose key opens it."""
        if not output.authenticated:
            return _parsed(output.url or ""), None
        account = self._accounts.get(task.account)
        if account is None:
            raise OutputUnavailable(f"no account is named {task.account!r}")
        url = output.url or ""
        if url.startswith("/"):
            url = account.base_url.rstrip("/") + url
        return _parsed(url), account

    async def _attempt(
        self, url: URL, account: Account | None, partial: Partial, left: tuple[int, str] | None
    ) -> str | None:
        """One exchange; `_STALE` when what is left over does not fit what the server has."""
        headers = {} if left is None else {"Range": f"bytes={left[0]}-"}
        try:
            response = await self._follow(url, account, headers)
            try:
                return await self._take(response, partial, left)
            finally:
                response.close()
        except TimeoutError as error:
            raise OutputUnavailable(f"{url.host}: no answer, or no further bytes, in time") from error
        except aiohttp.ClientPayloadError as error:
            raise OutputUnavailable(f"{url.host}: cut off after {partial.size} bytes") from error
        except aiohttp.InvalidURL as error:
            raise OutputHopeless(_NO_URL) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            forbidden = _forbidden(error)
            if forbidden is not None:
                raise OutputHopeless(_PRIVATE.format(host=forbidden)) from error
            raise OutputUnavailable(f"{url.host}: {_words(error)}") from error

    async def _follow(self, url: URL, account: Account | None, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The first answer that is no redirect."""
        for _ in range(MAX_REDIRECTS + 1):
            is_home = account is not None and _origin(url) == _origin(_parsed(account.base_url))
            self._check(url, is_home=is_home)
            sent = {**_HEADERS, **headers}
            if account is not None and is_home:
                sent["Authorization"] = f"Bearer {self._key_of(account)}"
            timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=self._bounds.idle_s)
            session = self._session(is_home=is_home)
            response = await session.get(url, headers=sent, allow_redirects=False, timeout=timeout)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.close()
            url = url.join(_parsed(location, relative=True))
        raise OutputUnavailable(f"more than {MAX_REDIRECTS} redirects")

    def _check(self, url: URL, *, is_home: bool) -> None:
        """Whether this address may be reached. Names are checked as they are resolved, see `PublicResolver`."""
        if url.scheme not in {"http", "https"} or not url.host:
            raise OutputHopeless(_NO_URL)
        # the account's own host was chosen by the operator, and is reached with its polls anyway
        if self._allow_private or is_home or not is_literal(url.host):
            return
        if not is_public(url.host):
            raise OutputHopeless(_PRIVATE.format(host=url.host))

    @staticmethod
    def _key_of(account: Account) -> str:
        key = (account.api_key() or "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            raise OutputUnavailable(f"account {account.name!r} has no usable API key")
        return key

    async def _take(
        self, response: aiohttp.ClientResponse, partial: Partial, left: tuple[int, str] | None
    ) -> str | None:
        """Read an answer into the unfinished file."""
        match response.status:
            case HTTPStatus.OK:
                total = response.content_length
            case HTTPStatus.PARTIAL_CONTENT if left is not None:
                total = _total_of(response, left[0])
                if total is None or _version(response, total) != left[1]:
                    return _STALE
            case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE if left is not None:
                return _STALE
            case status:
                raise self._refusal(response, status)
        resumes = response.status == HTTPStatus.PARTIAL_CONTENT and left is not None
        encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        if encoded:
            total = None  # the length is that of the encoded body, which the client library checks
        if total is not None and total > self._bounds.max_bytes:
            raise OutputHopeless(f"announces {total} bytes; archive.max_bytes allows {self._bounds.max_bytes}")
        await asyncio.to_thread(partial.check_space, (total or 0) - (left[0] if resumes and left else 0))
        if resumes and left is not None:
            await asyncio.to_thread(partial.resume, left[1])
        else:
            await asyncio.to_thread(partial.begin, None if encoded else _version(response, total))
        await self._pour(response, partial)
        if total is not None and partial.size != total:
            raise OutputUnavailable(f"cut off after {partial.size} of {total} bytes")
        return response.headers.get("Content-Type", "")

    async def _pour(self, response: aiohttp.ClientResponse, partial: Partial) -> None:
        buffer = bytearray()
        try:
            async for piece in response.content.iter_any():
                buffer += piece
                if partial.size + len(buffer) > self._bounds.max_bytes:
                    await asyncio.to_thread(partial.discard)
                    raise OutputHopeless(f"sends more than archive.max_bytes allows ({self._bounds.max_bytes})")
                if len(buffer) >= BUFFER_BYTES:
                    data, buffer = bytes(buffer), bytearray()
                    await asyncio.to_thread(partial.write, data)
        except (aiohttp.ClientError, TimeoutError):
            if buffer:  # what came is worth keeping: the next attempt goes on from here
                await asyncio.to_thread(partial.write, bytes(buffer))
            raise
        await asyncio.to_thread(partial.write, bytes(buffer))

    def _refusal(self, response: aiohttp.ClientResponse, status: int) -> OutputRefused | OutputUnavailable:
        host = response.url.host
        if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < HTTPStatus.BAD_REQUEST:
            return OutputUnavailable(f"{host} answered HTTP {status}", self._retry_after_s(response))
        return OutputRefused(f"{host} refused it: HTTP {status}")

    def _retry_after_s(self, response: aiohttp.ClientResponse) -> float | None:
        asked = response.headers.get("Retry-After", "").strip()
        if asked.isascii() and asked.isdigit() and len(asked) <= _RETRY_AFTER_DIGITS:
            return float(asked)
        try:
            return max(0.0, (parsedate_to_datetime(asked) - self._clock.now()).total_seconds())
        except (ValueError, TypeError):
            return None

    def _session(self, *, is_home: bool) -> aiohttp.ClientSession:
        trusted = is_home or self._allow_private
        session = self._sessions.get(trusted)
        if session is None:
            connector = aiohttp.TCPConnector(
                resolver=PublicResolver(allow_private=trusted), use_dns_cache=False, limit=0, keepalive_timeout=15.0
            )
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
            self._sessions[trusted] = session
        return session


_STALE: Final = "\0stale"
_NO_URL: Final = "its address is no http(s) URL"
_PRIVATE: Final = "{host} is not a public address; archive.allow_private_addresses would allow it"


def _parsed(url: str, *, relative: bool = False) -> URL:
    """A URL exactly as it was signed; one with characters that no URL holds is encoded."""
    try:
        plain = url.isascii() and url.isprintable() and " " not in url
        parsed = URL(url, encoded=plain)
    except ValueError as error:
        raise OutputHopeless(_NO_URL) from error
    if parsed.raw_user is not None or (not relative and not parsed.absolute):
        raise OutputHopeless(_NO_URL)
    return parsed


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port


def _version(response: aiohttp.ClientResponse, total: int | None) -> str | None:
    """Which version of the remote file this is; None when nothing tells versions apart."""
    tag = response.headers.get("ETag", "")
    mark = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    return version_of(f"{mark}/{total}") if mark and total is not None else None


def _total_of(response: aiohttp.ClientResponse, start: int) -> int | None:
    """The length of the whole file that a partial answer is the rest of; None when it is not that."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None:
        return None
    first, last, total = map(int, found.groups())
    return total if first == start and last == total - 1 else None


def _forbidden(error: BaseException) -> str | None:
    """The host that the resolver refused, if that is what went wrong."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressForbidden):
            return getattr(error, "host", None) or "its host"
        inner = getattr(cause, "os_error", None)
        cause = inner if isinstance(inner, AddressForbidden) else cause.__cause__
    return None


def _words(error: BaseException) -> str:
    """What went wrong, without the URL, whose query is a signature."""
    inner = getattr(error, "os_error", None) or error
    if isinstance(inner, OSError) and inner.strerror:
        return f"no connection ({inner.strerror})"
    return f"no readable answer ({type(error).__name__})"
