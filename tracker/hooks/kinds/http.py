"""Hooks that are HTTP endpoints: the event as a signed POST, per the Standard Webhooks specification.

Owns what a response means. Must not decide when to retry.

| response | result |
|---|---|
| 2xx | done |
| 410 | gone: this delivery and all pending ones of the hook fail, until the next reload or start |
| 413, 422, 451 | failed for good: the content of this event is wrong |
| 400-407, 411, 412, 414-418, 421, 426, 428, 431 | retry: a secret, an address or a deployment needs fixing |
| other 4xx | retry: 408, 409, 423, 425 and 429 pass by themselves |
| 3xx | retry: redirects are not followed, the URL needs fixing |
| 5xx, no connection, timeout | retry: the endpoint is down |

The ``Retry-After`` of a response that is retried holds for this delivery and for the complete hook.

Redirects are not followed, since they could lead anywhere; neither cookies nor proxies of the environment are used.
Each hook has its own session, and so its own connections.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (read 2026-11).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final, Self

import aiohttp
from pydantic import model_validator
from standardwebhooks.webhooks import Webhook

from tracker import __version__
from tracker.config.fields import HookUrl
from tracker.config.hooks import HookSpec
from tracker.config.sections import Mistake
from tracker.domain.hook_events import FINAL_STATUSES
from tracker.domain.retry import parse_retry_after
from tracker.errors import ConfigError
from tracker.hooks.runner import RunOutcome, RunResult, retry
from tracker.hooks.running.tail import Tail, tail_of
from tracker.hooks.running.threads import in_thread
from tracker.hooks.spec import HookKind
from tracker.upstream.addresses import AddressForbidden, AddressInfo, PublicResolver, is_literal, is_public
from tracker.upstream.deadlines import Deadlines
from tracker.upstream.failures import LIBRARY_ERRORS, failure_of
from tracker.upstream.pooled import Exchange, RequestPool
from tracker.upstream.salvage import read_head
from tracker.upstream.sessions import Received, make_session
from tracker.upstream.urls import exact_url

if TYPE_CHECKING:
    from datetime import datetime

    from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on

    from tracker.clock import Clock
    from tracker.domain.deliveries import DeliveryJob

NOT_ACCEPTED: Final = frozenset({*range(400, 408), 411, 412, *range(414, 419), 421, 426, 428, 431})
"""Statuses about the endpoint: it accepts no event until someone fixes it. The response to a wrong signature is
among them: the examples of Standard Webhooks answer 400."""
READ_MAX_BYTES: Final = 1024 * 1024
"""The limit for a response's body; beyond it the connection is closed."""
READ_WITHIN_S: Final = 5.0
"""The limit for reading a body; the status alone decides."""
KEEP_ALIVE_S: Final = 15.0
HEADERS: Final = (
    ("Accept", "*/*"),
    ("Accept-Encoding", "identity"),
    ("Content-Type", "application/json"),
    ("User-Agent", f"tracker/{__version__}"),
)
FORBIDDEN: Final = "is not a public address; allow_private_addresses = true lets the hook reach it"


class HttpHook(HookSpec):
    """The keys of an HTTP hook. Its secret signs requests: one or several ``whsec_…``, separated by blanks.

    Attributes:
        url: the endpoint.
        allow_private_addresses: the endpoint may be in a private network or on this machine.
    """

    url: HookUrl | None = None
    allow_private_addresses: bool = False

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if self.url is not None and self.secret_env is None and self.secret_file is None:
            raise Mistake("requests are signed, which needs a secret; set secret_env or secret_file", "secret_env")
        return self


@dataclass(frozen=True, slots=True)
class HttpAction:
    """Where to send events.

    Attributes:
        url: the endpoint.
        secrets: each ``whsec_`` and base64; requests carry a signature per secret, so that a receiver may change
            from the old to the new at any time in between.
        allow_private_addresses: connect to private networks and this machine, too.
    """

    kind: ClassVar[str] = "http"
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    allow_private_addresses: bool = False


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What a hook sends with, as long as its action is the same."""

    action: HttpAction
    url: URL
    signers: tuple[Webhook, ...] = field(repr=False)
    session: aiohttp.ClientSession
    pool: RequestPool


class HttpRunner:
    """Sends events.

    Args:
        clock: the source of time.
        read_max_bytes: see `READ_MAX_BYTES`.
        read_within_s: see `READ_WITHIN_S`.
        traceparent: see `Tools`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        read_max_bytes: int = READ_MAX_BYTES,
        read_within_s: float = READ_WITHIN_S,
        traceparent: Callable[[DeliveryJob], str | None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._traceparent = traceparent
        self._read_max_bytes = read_max_bytes
        self._read_within_s = read_within_s
        self._endpoints: dict[str, _Endpoint] = {}
        self._deadlines = Deadlines()

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Send the event once; see `Runner.run`."""
        action = spec.action
        if not isinstance(action, HttpAction):
            raise TypeError(f"hook {spec.name!r} is not an HTTP hook")
        try:
            with self._deadlines.within(spec.timeout_s):
                return await self._send(action, payload, job, spec)
        except TimeoutError:
            return retry(f"no response within {spec.timeout_s:g} s", unreachable=True)

    async def close(self) -> None:
        """Close all connections."""
        endpoints, self._endpoints = self._endpoints, {}
        for endpoint in endpoints.values():
            await endpoint.session.close()

    async def _send(self, action: HttpAction, payload: bytes, job: DeliveryJob, spec: HookSpec) -> RunResult:
        received = Received()
        try:
            endpoint = self._endpoints.get(spec.name)
            if endpoint is None or endpoint.action is not action:
                endpoint = await self._endpoint(spec.name, action)
            headers = sign(endpoint.signers, job.id, self._clock.now(), payload)
            if job.is_test:
                headers["webhook-test"] = "true"
            if (traceparent := self._traceparent(job)) is not None:
                headers["traceparent"] = traceparent
            own = tuple(headers.items())
            async with endpoint.pool.post(endpoint.url, HEADERS, own, payload, received) as response:
                content = response.content
                if content.is_eof() and content.exception() is None and content.total_bytes <= self._read_max_bytes:
                    tail = tail_of(content.read_nowait())  # all of it came with the head: most bodies
                else:
                    tail = await self._read_tail(response)
                return read_response(response.status, response.headers, tail, self._clock.now())
        except TimeoutError:
            raise
        except LIBRARY_ERRORS as error:
            for cause in (error, error.__cause__, error.__context__):
                if isinstance(cause, AddressForbidden):
                    return retry(str(cause), unreachable=True)
            head = read_head(received.raw())
            if head is not None:  # the status decides, even if the rest is malformed
                return read_response(head[0], head[1], None, self._clock.now())
            return retry(str(failure_of(error)), unreachable=True)
        finally:
            received.detach()

    async def _read_tail(self, response: Exchange) -> str | None:
        """The last 8 KiB of a body, or of its first part if it is large, slow or truncated."""
        tail, left = Tail(), self._read_max_bytes
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(self._read_within_s):
                async for piece in response.content.iter_any():
                    tail.add(piece)
                    left -= len(piece)
                    if left <= 0:
                        break
                else:
                    return tail.text()
        response.close()  # with an unread rest, the connection cannot be reused
        return tail.text()

    async def _endpoint(self, hook: str, action: HttpAction) -> _Endpoint:
        """What a hook sends with.

        Raises:
            ValueError, AddressForbidden: its URL is not valid, or not public.
        """
        known = self._endpoints.get(hook)
        if known is not None and known.action == action:
            return known
        url = exact_url(action.url)
        host = url.host or ""  # connectors skip the resolver for an address
        if not action.allow_private_addresses and is_literal(host) and not is_public(host):
            raise AddressForbidden(f"{host} {FORBIDDEN}")
        session = make_session(
            aiohttp.TCPConnector(
                limit=0,  # the hook's concurrency limits them
                keepalive_timeout=KEEP_ALIVE_S,
                use_dns_cache=False,
                resolver=HookResolver(allow_private=action.allow_private_addresses, refused=FORBIDDEN),
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # timeout_s of the hook limits it
            auto_decompress=False,  # compressed responses are not requested
        )
        signers = tuple(map(Webhook, action.secrets))
        made = self._endpoints[hook] = _Endpoint(action, url, signers, session, RequestPool(session))
        if known is not None:
            await known.session.close()  # the hook was changed; its runs under way end without a response
        return made


class HookResolver(PublicResolver):
    """Resolves names, each on its own thread: a name server that hangs delays its own hook only."""

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> AddressInfo:
        return await in_thread(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family), name="hook resolver"
        )


def make_action(hook: HttpHook, secret: str | None) -> HttpAction:
    """The action of a hook and its secrets, which are separated by white space.

    Raises:
        ConfigError: there is no secret or a malformed one, or the URL cannot be used.
    """
    secrets = tuple((secret or "").split())
    fix = 'set it to "whsec_" and the base64 of 24 to 64 random bytes; several are separated by blanks'
    if not secrets:
        named = f" ({hook.secret_env})" if hook.secret_env else ""
        raise ConfigError([f"hooks[{hook.name}].secret_env: the secret is not set{named}; {fix}"])
    if not all(map(_is_secret, secrets)):
        raise ConfigError([f"hooks[{hook.name}].secret_env: is not a Standard Webhooks secret; {fix}"])
    try:
        exact_url(hook.url or "")
    except ValueError as error:
        raise ConfigError(
            [f"hooks[{hook.name}].url: is {error}; write for example https://example.com/hook"]
        ) from error
    return HttpAction(hook.url or "", secrets, hook.allow_private_addresses)


def sign(signers: tuple[Webhook, ...], delivery_id: str, now: datetime, payload: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks, with one signature per signer.

    Args:
        signers: sign with these secrets.
        delivery_id: the id of the message: the same in every attempt.
        now: the time of this attempt, signed in whole seconds.
        payload: the body, UTF-8.
    """
    text = payload.decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(math.floor(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(delivery_id, now, text) for signer in signers),
    }


def read_response(status: int, headers: Mapping[str, str], output: str | None, now: datetime) -> RunResult:
    """What a response means, see the table of this module.

    Args:
        status: its status.
        headers: its headers; only ``Retry-After`` counts.
        output: the tail of its body.
        now: the current time, for a ``Retry-After`` that is a date.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return RunResult(RunOutcome.SUCCEEDED, output=output)
    if status == HTTPStatus.GONE:
        return RunResult(RunOutcome.GONE, "410 gone", output)
    error = f"answered {status}"
    if status in FINAL_STATUSES:
        return RunResult(RunOutcome.FAILED_FOR_GOOD, error, output)
    if status < HTTPStatus.BAD_REQUEST:
        error = f"answered {status}: redirects are not followed, correct the url"
    is_down = status in NOT_ACCEPTED or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    asked_s = parse_retry_after(headers, now)
    return retry(error, output, unreachable=is_down or asked_s is not None, retry_after_s=asked_s)


def _is_secret(text: str) -> bool:
    """Whether every verifier accepts a secret; the library itself ignores characters that are not base64."""
    try:
        return bool(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False


KIND = HookKind(
    "http", "url", HttpHook, make_action, lambda tools: HttpRunner(tools.clock, traceparent=tools.traceparent)
)
