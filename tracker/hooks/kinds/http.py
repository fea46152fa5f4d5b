"""Hooks that are HTTP endpoints: the event as a signed POST, per the Standard Webhooks specification.

Owns what an answer means, and who may be connected to. Must not decide when to try again.

| answer | what follows |
|---|---|
| 2xx | done |
| 410 | gone: this delivery and all that wait for the hook are failed, until the next reload or start |
| 413, 422, 451 | never: what is wrong is the content of this event; failed for good |
| 400-407, 411, 412, 414-418, 421, 426, 428, 431 | again: a secret, an address or a deployment to correct |
| other 4xx | again: 408, 409, 423, 425 and 429 pass by themselves |
| 3xx | again: redirects are not followed, the URL is to be mended |
| 5xx, no connection, no answer in time | again: the endpoint is down |

A ``Retry-After`` of any answer that is tried again is honoured, by this delivery and by the hook as a whole.

Redirects are not followed, since they could lead anywhere; neither cookies nor proxies of the environment are used.
Each hook has a session, and so connections, of its own.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (read 2026-11).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from standardwebhooks.webhooks import Webhook

from tracker import __version__
from tracker.domain.hook_events import FINAL_STATUSES
from tracker.domain.retry import parse_retry_after
from tracker.errors import ConfigError
from tracker.hooks.kinds.resolver import VettedResolver, check_literal
from tracker.hooks.running.tail import Tail
from tracker.hooks.spec import Configured, RunOutcome, RunResult, Tools
from tracker.upstream.addresses import AddressForbidden
from tracker.upstream.failures import LIBRARY_ERRORS, failure_of
from tracker.upstream.salvage import read_head
from tracker.upstream.sessions import RECEIVED, Received, make_session
from tracker.upstream.urls import exact_url

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.hooks.spec import HookSpec
    from tracker.store.values import DeliveryJob

KIND = "http"
SHUT: Final = frozenset({*range(400, 408), 411, 412, *range(414, 419), 421, 426, 428, 431})
"""Answers that are about the endpoint: no event gets through until somebody corrects it. What receivers answer to a
signature that does not hold is among them: the examples of Standard Webhooks answer 400."""
READ_MAX_BYTES: Final = 1024 * 1024
"""Of an answer's body no more is read; the rest is cut off with the connection."""
READ_WITHIN_S: Final = 5.0
"""The status is the answer: a body that does not come is waited for no longer than this."""
KEEP_ALIVE_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class HttpAction:
    """Where to send events.

    Attributes:
        url: the endpoint.
        secrets: what requests are signed with, each ``whsec_`` and base64; one signature is sent for each, so that
            a receiver may change from the old to the new at any time in between.
        allow_private_addresses: connect to private networks and this machine, too.
    """

    url: str
    secrets: tuple[str, ...] = field(repr=False)
    allow_private_addresses: bool = False

    @property
    def kind(self) -> str:
        """``http``."""
        return KIND


class HttpRunner:
    """Sends events.

    Args:
        clock: the source of time.
        read_max_bytes: how much of an answer's body is read.
        read_within_s: how long a body is waited for.
    """

    def __init__(
        self, clock: Clock, *, read_max_bytes: int = READ_MAX_BYTES, read_within_s: float = READ_WITHIN_S
    ) -> None:
        self._clock = clock
        self._read_max_bytes = read_max_bytes
        self._read_within_s = read_within_s
        self._sessions: dict[str, tuple[HttpAction, aiohttp.ClientSession]] = {}

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Send the event once; see `Runner.run`."""
        action = spec.action
        if not isinstance(action, HttpAction):
            raise TypeError(f"hook {spec.name!r} is no HTTP hook")
        try:
            async with asyncio.timeout(spec.timeout_s):
                headers = sign(action.secrets, job.id, self._clock.now(), payload)
                if job.is_test:
                    headers["webhook-test"] = "true"
                return await self._send(action, payload, headers, spec)
        except TimeoutError:
            return _again(f"no answer within {spec.timeout_s:g} s", unreachable=True)

    async def close(self) -> None:
        """Close all connections."""
        sessions, self._sessions = self._sessions, {}
        for _, session in sessions.values():
            await session.close()

    async def _send(
        self, action: HttpAction, payload: bytes, signature: Mapping[str, str], spec: HookSpec
    ) -> RunResult:
        received = Received()
        token = RECEIVED.set(received)
        try:
            url = exact_url(action.url)
            if not action.allow_private_addresses:
                check_literal(url.host or "")
            async with (await self._session(spec.name, action)).post(
                url, data=payload, headers=signature, allow_redirects=False
            ) as response:
                tail = await self._read_tail(response)
                return read_answer(response.status, response.headers, tail, self._clock.now())
        except TimeoutError:
            raise
        except LIBRARY_ERRORS as error:
            for cause in (error, error.__cause__, error.__context__):
                if isinstance(cause, AddressForbidden):
                    return _again(str(cause), unreachable=True)
            head = read_head(received.raw())
            if head is not None:  # the status is the answer, whatever is wrong with the rest
                return read_answer(head[0], head[1], None, self._clock.now())
            return _again(str(failure_of(error)), unreachable=True)
        finally:
            received.detach()
            RECEIVED.reset(token)

    async def _read_tail(self, response: aiohttp.ClientResponse) -> str | None:
        """The last 8 KiB of a body, or of its beginning when it is large, slow or cut short."""
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
        response.close()  # the rest is not read, so the connection cannot be used again
        return tail.text()

    async def _session(self, hook: str, action: HttpAction) -> aiohttp.ClientSession:
        known = self._sessions.get(hook)
        if known is not None and known[0] == action:
            return known[1]
        session = make_session(
            aiohttp.TCPConnector(
                limit=0,  # how many go at once is the hook's concurrency
                keepalive_timeout=KEEP_ALIVE_S,
                use_dns_cache=False,
                resolver=VettedResolver(allow_private=action.allow_private_addresses),
            ),
            # the limit is the hook's; what inflates an answer is not asked for
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "User-Agent": f"tracker/{__version__}",
            },
            auto_decompress=False,
        )
        self._sessions[hook] = action, session
        if known is not None:
            await known[1].close()  # the hook was changed; what still goes on there ends as unanswered
        return session


def make_runner(tools: Tools) -> HttpRunner:
    """The runner of HTTP hooks; see `tracker.hooks.kinds.registry`."""
    return HttpRunner(tools.clock)


def make_action(hook: Configured, secret: str | None) -> HttpAction:
    """The action of a configured hook.

    Args:
        hook: its table.
        secret: one or several secrets, separated by white space.

    Raises:
        ConfigError: there is no secret, or one that Standard Webhooks does not know.
    """
    secrets = tuple((secret or "").split())
    mend = 'set it to "whsec_" and the base64 of 24 to 64 random bytes; several are separated by blanks'
    if not secrets:
        raise ConfigError([f"hooks[{hook.name}].secret_env: the secret is not set; {mend}"])
    for one in secrets:
        if not _is_secret(one):
            raise ConfigError([f"hooks[{hook.name}].secret_env: is no Standard Webhooks secret; {mend}"])
    try:
        exact_url(hook.url or "")
    except ValueError as error:
        raise ConfigError(
            [f"hooks[{hook.name}].url: is {error}; write for example https://example.com/hook"]
        ) from error
    return HttpAction(hook.url or "", secrets, hook.allow_private_addresses)


def sign(secrets: tuple[str, ...], delivery_id: str, now: datetime, payload: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks, with one signature per secret.

    Args:
        secrets: what to sign with.
        delivery_id: the id of the message: the same in every attempt.
        now: the time of this attempt, whole seconds of which are signed.
        payload: the body, UTF-8.
    """
    text = payload.decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(math.floor(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(delivery_id, now, text) for secret in secrets),
    }


def read_answer(status: int, headers: Mapping[str, str], output: str | None, now: datetime) -> RunResult:
    """What an answer means, see the table of this module.

    Args:
        status: of the answer.
        headers: of the answer; only ``Retry-After`` counts.
        output: the tail of its body.
        now: the current time, for a ``Retry-After`` that names a moment.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return RunResult(RunOutcome.SUCCEEDED, output=output)
    if status == HTTPStatus.GONE:
        return RunResult(RunOutcome.GONE, "410 gone", output)
    said = f"answered {status}"
    if status in FINAL_STATUSES:
        return RunResult(RunOutcome.FAILED_FOR_GOOD, said, output)
    if status < HTTPStatus.BAD_REQUEST:
        said = f"answered {status}: redirects are not followed, correct the url"
    is_down = status in SHUT or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    asked_s = parse_retry_after(headers, now)
    return _again(said, output, unreachable=is_down or asked_s is not None, retry_after_s=asked_s)


def _is_secret(text: str) -> bool:
    """Whether every verifier takes a secret; the library itself passes over what is not base64."""
    try:
        return bool(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False


def _again(
    error: str, output: str | None = None, *, unreachable: bool = False, retry_after_s: float | None = None
) -> RunResult:
    return RunResult(RunOutcome.RETRY, error, output, retry_after_s, unreachable=unreachable)
