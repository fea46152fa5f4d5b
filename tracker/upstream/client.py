"""The HTTP client for upstreams: sends a `WireRequest` and reads the complete answer.

Owns connections, API keys in headers, timeouts and size limits. Errors separate what decides about money: the request
was not sent (`NotSent`; `NotAttempted` if the tracker itself did not send it), or it may have arrived (`Unanswered`).
Must not interpret answers, retry, follow redirects, or reveal keys and query strings.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp

from tracker import __version__
from tracker.domain.api_keys import key_problem
from tracker.domain.retry import parse_retry_after
from tracker.domain.upstream_http import AuthHeader, AuthStyle, WireReply, WireRequest
from tracker.errors import NotAttempted, Unanswered, UpstreamFailure
from tracker.upstream.deadlines import Deadlines
from tracker.upstream.failures import LIBRARY_ERRORS, failure_of
from tracker.upstream.pooled import Exchange, Headers, RequestPool
from tracker.upstream.salvage import decompress, is_compressed, salvage, seems_cut
from tracker.upstream.sessions import RECEIVED, Received, make_session
from tracker.upstream.tallies import UpstreamTallies
from tracker.upstream.urls import base_url, extend, request_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on

    from tracker.clock import Clock
    from tracker.domain.histograms import Histogram
    from tracker.upstream.breaker import Admission, Breakers
    from tracker.upstream.limits import RateLimits

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""The largest answer, decompressed; inline images are base64 inside JSON."""
YIELD_BYTES: Final = 1 << 20
"""The most bytes of a body that are read before the event loop runs other tasks."""
CONNECT_WITHIN_S: Final = 10.0
"""For a connection, including its TLS handshake."""
SLOT_WITHIN_S: Final = 10.0
"""The longest wait for the account's rate limit."""
MISSING_S: Final = 10.0
"""The retry delay if an account, a URL or a key is missing: a reload may add it."""
PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 300.0
"""Pauses of an account after a 429: without a ``Retry-After``, and the longest."""
_HEADERS: Final = {
    "User-Agent": f"tracker/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}
ANTHROPIC_VERSION: Final = "2023-06-01"
"""Source: https://anyint.ai/docs/api-reference/anthropic-compatible (read 2026-11)."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of an upstream; ``base_url`` may have a path prefix, ``api_key`` returns None without a key."""

    name: str
    base_url: str
    api_key: Callable[[], str | None] = field(repr=False)
    max_requests_per_s: float = 20.0


class UpstreamClient:
    """Sends requests.

    Args:
        accounts: by name; read at each request, so that a reload applies.
        clock: for the arrival time of answers.
        limits: the rate limit of each account.
        breakers: the circuit of each host and provider.
        max_body_bytes: the largest answer, decompressed.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        clock: Clock,
        limits: RateLimits,
        breakers: Breakers,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._limits = limits
        self._breakers = breakers
        self._max_body_bytes = max_body_bytes
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._pool: RequestPool | None = None
        self._deadlines = Deadlines()
        self._closed = False
        self.tallies = UpstreamTallies(clock)

    async def take_slot(self, account_name: str, provider: str) -> bool:
        """Wait for a slot of an account's rate before something is recorded about a create; False without one.

        Pass the result to `fetch`: without a slot, that finds out why.
        """
        account = self._accounts.get(account_name)
        if self._closed or account is None or self._breakers.is_open(self.host_of(account_name), provider, paid=True):
            return False
        limits = self._limits
        return limits.acquire_now(account_name) or await limits.acquire(account_name, SLOT_WITHIN_S)

    async def fetch(
        self,
        account_name: str,
        request: WireRequest,
        *,
        provider: str = "",
        paid: bool = False,
        has_slot: bool = False,
        timer: Histogram | None = None,
    ) -> WireReply:
        """Send a request once and return the complete answer with any status.

        Args:
            account_name: its base URL and key are used.
            request: the request.
            provider: its name; each provider behind a host has a circuit.
            paid: it may cost money, so it gets a new connection: a reused one may break during the send, and then it
                would be unknown whether the request arrived.
            has_slot: its slot is taken already, see `take_slot`.
            timer: gets the seconds from the sending to the complete answer, or to the failure.

        Raises:
            NotAttempted: the tracker did not send it.
            NotSent: it was not sent; it may be sent again.
            Unanswered: it may have arrived.
        """
        if self._closed:
            raise NotAttempted("the tracker is stopping", 0.0)
        account = self._accounts.get(account_name)
        if account is None:
            raise NotAttempted(f"the configuration has no account {account_name}", MISSING_S)
        base = _base_of(account)
        headers = _headers(
            account.name, account.api_key() or "", request.auth, request.headers, request.body is not None
        )
        host = _host_of(base)
        if self._breakers.is_open(host, provider, paid=paid):
            raise self._circuit_open(host, provider)  # before waiting for a slot
        limits = self._limits
        if not (has_slot or limits.acquire_now(account_name) or await limits.acquire(account_name, SLOT_WITHIN_S)):
            raise self._no_slot(account_name)
        admission = self._breakers.admit(host, provider, paid=paid)
        if admission is None:
            raise self._circuit_open(host, provider)
        began = self._clock.monotonic()
        try:
            outcome = await self._send(request, base, headers, paid=paid)
        except BaseException:  # canceled, as at shutdown: no result
            self._breakers.abandoned(admission)
            raise
        self.tallies.note(host, request.method, outcome)
        if timer is not None:
            timer.observe(self._clock.monotonic() - began)
        reply = self._report(admission, outcome)
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS and not paid:
            # A rejected create delays its own task only. If it stopped the polls as well, many rejected creates
            # would hide that running jobs end and free capacity.
            self._limits.pause(account_name, self._clock.monotonic() + _pause_s(reply))
        return reply

    def host_of(self, account_name: str) -> str:
        """The host of an account (with an unusual port), the key of its circuit breaker; "" without one."""
        account = self._accounts.get(account_name)
        try:
            return "" if account is None else _host_of(base_url(account.base_url))
        except ValueError:
            return ""

    async def close(self) -> None:
        """Close all connections; running requests end as `Unanswered`."""
        self._closed = True
        for session in self._sessions.values():
            await session.close()

    def _circuit_open(self, host: str, provider: str) -> NotAttempted:
        failed = f"{host} did not answer the last requests"
        if self._breakers.circuit_of(host, provider).provider:
            failed = f"{host} gave no answers for {provider}, or server errors"
        return NotAttempted(failed, self._breakers.wait_s(host, provider), circuit_open=True)

    def _no_slot(self, account_name: str) -> NotAttempted:
        pause_ends = self._limits.paused_until(account_name)
        return NotAttempted(
            f"account {account_name} has sent as many requests as its rate limit allows for {SLOT_WITHIN_S:g} s",
            SLOT_WITHIN_S if pause_ends is None else pause_ends - self._clock.monotonic(),
        )

    def _report(self, admission: Admission, outcome: WireReply | UpstreamFailure) -> WireReply:
        """Report the outcome to the circuit breaker; raises a failure."""
        if isinstance(outcome, UpstreamFailure):
            self._breakers.failed(admission)
            raise outcome
        if outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._breakers.server_failed(admission)
        else:
            self._breakers.succeeded(admission)
        return outcome

    async def _send(
        self, request: WireRequest, base: URL, headers: Headers, *, paid: bool
    ) -> WireReply | UpstreamFailure:
        """The answer or the failure; raising the failure here would chain aiohttp's error to it."""
        received = Received()
        token = RECEIVED.set(received)
        try:
            with self._deadlines.within(request.answer_within_s):
                async with self._open(request, base, headers, received, paid=paid) as response:
                    body = self._read_at_once(response)
                    if body is None:
                        body = await self._read(response)
                if body is not None and is_compressed(body):  # without a header that says so
                    body = await asyncio.to_thread(decompress, body, self._max_body_bytes)
                if body is None:
                    return Unanswered(f"the answer is larger than {self._max_body_bytes} bytes")
                outcome: WireReply | Unanswered = self._reply(response.status, response.headers, body)
                large = len(body) > YIELD_BYTES
                if not (await asyncio.to_thread(seems_cut, body) if large else seems_cut(body)):
                    return outcome
        except LIBRARY_ERRORS as error:
            failure = failure_of(error)
            if not isinstance(failure, Unanswered):
                return failure
            outcome = failure
        finally:
            received.detach()
            RECEIVED.reset(token)
        return await self._salvage(received.raw(), outcome)

    async def _salvage(self, raw: bytes, outcome: WireReply | Unanswered) -> WireReply | Unanswered:
        """The complete answer in the raw bytes, if there is one; else the outcome, with what was readable."""
        found = await asyncio.to_thread(salvage, raw, self._max_body_bytes) if raw else None
        if found is None:
            return outcome
        if found.is_complete:
            return self._reply(found.status, found.headers, found.body)
        if isinstance(outcome, Unanswered):
            outcome.status, outcome.body = found.status, found.body
        return outcome

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> WireReply:
        named = {name.lower(): value for name, value in headers.items()}
        return WireReply(status=status, headers=named, body=body, received_at=self._clock.now())

    def _read_at_once(self, response: aiohttp.ClientResponse | Exchange) -> bytes | None:
        """The body if it came with the head and is not large, as nearly always; else None."""
        content = response.content
        if content.is_eof() and content.total_bytes <= min(YIELD_BYTES, self._max_body_bytes):
            return content.read_nowait()
        return None

    async def _read(self, response: aiohttp.ClientResponse | Exchange) -> bytes | None:
        """The body, decompressed piece by piece; None if it is too large."""
        pieces, yielded = bytearray(), 0
        async for piece in response.content.iter_any():
            pieces += piece
            if len(pieces) - yielded > YIELD_BYTES:
                # reading does not wait if data is available, as it always is for a compressed body
                yielded = len(pieces)
                await asyncio.sleep(0)
            if len(pieces) > self._max_body_bytes:
                response.close()  # the unread rest makes the connection unusable
                return None
        return bytes(pieces)

    def _open(
        self, request: WireRequest, base: URL, headers: Headers, received: Received, *, paid: bool
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse | Exchange]:
        # the connect limit always ends first: after the other one, something may have been sent
        timeout = _connect_limit(request.answer_within_s)
        session = self._session(paid=paid)
        if request.method == "GET" and not paid:
            if self._pool is None:
                self._pool = RequestPool(session)
            return self._pool.get(base, request_target(base, request.path, request.query), headers, timeout, received)
        return session.request(
            request.method,
            extend(base, request.path, request.query),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
        )

    def _session(self, *, paid: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(paid)
        if session is None:
            # limit=0: the callers limit concurrency. Waiting in a queue here would look like a slow upstream.
            connector = aiohttp.TCPConnector(limit=0, force_close=paid, keepalive_timeout=None if paid else 30.0)
            session = self._sessions[paid] = make_session(connector)
        return session


@lru_cache(maxsize=64)
def _connect_limit(answer_within_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=min(CONNECT_WITHIN_S, answer_within_s * 0.8))


def _base_of(account: Account) -> URL:
    try:
        return base_url(account.base_url)
    except ValueError:
        pass
    raise NotAttempted(f"the base_url of account {account.name} is not an http(s) URL", MISSING_S)


def _pause_s(reply: WireReply) -> float:
    """How long an account pauses after a 429, seconds."""
    asked_s = parse_retry_after(reply.headers, reply.received_at)
    return PAUSE_S if asked_s is None else min(asked_s, MAX_PAUSE_S)


def _host_of(url: URL) -> str:
    return url.host_port_subcomponent or ""


@lru_cache(maxsize=64)
def _headers(
    account: str,
    api_key: str,
    auth: AuthStyle | AuthHeader,
    given: Headers,
    has_body: bool,  # noqa: FBT001 - a part of the key of the cache
) -> Headers:
    """All headers of a request but ``Host``."""
    key = api_key.strip()
    if not key:
        raise NotAttempted(f"account {account} has no API key", MISSING_S)
    if (problem := key_problem(key)) is not None:
        raise NotAttempted(f"the API key of account {account} {problem}", MISSING_S)
    names = {name.lower() for name, _ in given}
    defaults = _HEADERS | ({"Content-Type": "application/json"} if has_body else {})
    headers = {name: value for name, value in defaults.items() if name.lower() not in names} | dict(given)
    match auth:
        case AuthStyle.BEARER:
            headers["Authorization"] = f"Bearer {key}"
        case AuthStyle.X_API_KEY:
            headers["x-api-key"] = key
            headers.setdefault("anthropic-version", ANTHROPIC_VERSION)
        case AuthHeader():
            headers |= [auth.with_key(key)]
    return tuple(headers.items())
