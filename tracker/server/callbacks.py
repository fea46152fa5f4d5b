"""The callback doors: the hot path of the daemon.

Owns what a provider is answered, and when: 2xx only once what follows from its callback is on disk. Must not
decide what a callback means (the provider reads, the reconciler applies), nor believe one without a token.

A good token whose task is gone (retention removed it; only ended tasks are removed) is answered ``200 stale``.
404 would say that the address is wrong, and providers disable addresses for that; 202 would promise that something
follows, and nothing will. The body is kept for inspection and the log says so, since the other way to get here is
a database that was restored from a backup older than the task.
"""

from __future__ import annotations

import re
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from tracker.domain.lenient_json.decoder import Decoded, decode
from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.observation import Observation, Source
from tracker.domain.transitions import Outcome
from tracker.errors import PayloadInvalid, SignatureInvalid, StoreUnavailable, TaskNotFound
from tracker.logs import get_logger
from tracker.server.bodies import BodyTooLarge, BodyUnreadable, json_words, malformed, read_body, too_large
from tracker.server.rejections import Rejections, extra_weight
from tracker.server.responses import RETRY_AFTER_S, FixedAnswer, Problem, store_unavailable
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from tracker.domain.records import Json
    from tracker.domain.tokens import TokenOwner
    from tracker.providers.provider import Provider
    from tracker.server.services import Services, SignatureCheck
    from tracker.store.values import Applied

log = get_logger(__name__)

NUDGES_PER_S: Final = 500.0
NUDGE_BURST: Final = 1000.0
"""Callbacks without a token cost writes and polls, and anybody can send them: so many are taken, of all senders."""
NUDGE_IDS_MAX: Final = 20
"""So many tasks one of them may name, and each counts; providers send one for each task."""

Told = tuple[bytes, "Json"]
"""A callback's body, raw and decoded."""

_DONE: Final = {
    outcome: FixedAnswer(HTTPStatus.OK, {"outcome": outcome.value})
    for outcome in (Outcome.APPLIED, Outcome.DUPLICATE, Outcome.STALE, Outcome.CONFLICT)
}
_PARKED: Final = FixedAnswer(HTTPStatus.ACCEPTED, {"outcome": "parked"})
_POLLING: Final = FixedAnswer(HTTPStatus.ACCEPTED, {"outcome": "polling"})
_TOKEN: Final = re.compile(r"([A-Za-z0-9._-]+)(?:[&?;].*)?", re.DOTALL)
"""A token, and parameters that a sender appended to it."""
_UNKNOWN: Final = "No callback of this tracker has this address."


class CallbackDoors:
    """The handlers; errors leave them as `Problem`.

    Args:
        services: what they call.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._believed = services.trust == "token"
        self._rejections = Rejections(services)
        self._nudges = Throttle(services.clock, NUDGES_PER_S, NUDGE_BURST)

    async def with_token(self, request: web.Request, provider_name: str, token: str) -> web.Response:
        """A callback to the address that was handed out for one task.

        Args:
            request: the callback.
            provider_name: of its path.
            token: of its path.

        Raises:
            Problem: see the interface of callbacks.
        """
        services = self._services
        bearer = self._bearer_of(provider_name, token)
        if bearer is None:
            raise await self._unknown(request, provider_name)
        route = services.registry.find_route(bearer.route)
        if route is None:  # its provider's file was removed: the token is ours all the same
            await self._nudge_bearer(bearer)
            return _POLLING.to(request)
        provider = services.registry.provider_of(route)
        believed = self._believed
        try:
            body, decoded = await self._read(request, provider)
            if services.check_signature is not None:
                confirm = await self._verify(services.check_signature, request, provider, (body, decoded.value))
                believed = believed and not confirm
            try:
                reading, payload = await services.payloads.read(
                    body, partial(provider.read_callback, route, decoded.value), lambda: decoded
                )
            except PayloadInvalid as error:
                raise await self._rejections.malformed(provider_name, str(error), body) from None
        except Problem:
            await self._nudge_bearer(bearer)  # who holds the token had something to say: ask instead
            raise
        observation = Observation(
            bearer.task_id,
            Source.CALLBACK,
            services.clock.now(),
            reading,
            payload,
            believed,
        )
        try:
            applied = await services.reconciler.apply(observation)
        except StoreUnavailable as error:
            raise self._not_taken(provider_name, error) from None
        except TaskNotFound:
            await self._rejections.keep(provider_name, HTTPStatus.OK, f"task {bearer.task_id} is gone", body)
            return _DONE[Outcome.STALE].to(request)
        return self._answer_to(applied, believed=believed).to(request)

    async def without_token(self, request: web.Request, provider_name: str) -> web.Response:
        """A callback that anybody may have sent: it only makes the tracker ask.

        Args:
            request: the callback.
            provider_name: of its path.

        Raises:
            Problem: see the interface of callbacks.
        """
        services = self._services
        named = services.registry.provider_named
        provider = named(provider_name) or named(provider_name.lower())
        if provider is None:
            raise await self._unknown(request, provider_name)
        self._admit(1)
        body, decoded = await self._read(request, provider)
        if services.check_signature is not None:
            await self._verify(services.check_signature, request, provider, (body, decoded.value))
        return (await self._nudge(provider, body, decoded.value)).to(request)

    async def wrong_method(self, provider_name: str, token: str) -> None:
        """Something other than a POST came to the address of a task: it is not taken, and the task is polled.

        It is not answered 200, either, as some providers would have it that try an address out by GET: to one that
        calls back by GET this would say that its result was taken.
        """
        bearer = self._bearer_of(provider_name, token)
        if bearer is not None:
            await self._nudge_bearer(bearer)

    def _bearer_of(self, provider_name: str, token: str) -> TokenOwner | None:
        """Whose token this is.

        What senders make of an address is undone: the provider's name in capitals, parameters appended without a ``?``.
        """
        verify = self._services.tokens.verify
        bearer = verify(provider_name, token)
        if bearer is not None:
            return bearer
        plain = _TOKEN.fullmatch(token)
        return verify(provider_name.lower(), plain[1]) if plain else None

    def _admit(self, count: int) -> None:
        if not self._nudges.admits(count):
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-callbacks",
                "Too many callbacks without a token. Send it again a little later.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )

    async def _read(self, request: web.Request, provider: Provider) -> tuple[bytes, Decoded]:
        """The body, raw and decoded; of the Content-Type only the charset counts."""
        max_bytes = self._services.max_callback_bytes
        try:
            body = await read_body(request, max_bytes)
        except BodyTooLarge as error:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            await self._rejections.keep(provider.name, status, f"larger than {max_bytes} bytes", error.head)
            raise too_large(max_bytes) from None
        except BodyUnreadable as error:
            raise malformed(str(error)) from None
        content_type = request.headers.get("Content-Type", "")
        decoded = await self._services.payloads.run(len(body), partial(decode, body, content_type))
        if decoded.fault is None:
            return body, decoded
        if self._services.check_signature is not None:  # a stranger's junk is refused as a stranger's
            await self._verify(self._services.check_signature, request, provider, (body, None))
        raise await self._rejections.malformed(provider.name, _json_fault(body, decoded), body)

    async def _verify(self, check: SignatureCheck, request: web.Request, provider: Provider, told: Told) -> bool:
        """Check a signature over the raw bytes; whether a poll must confirm what it does not cover.

        Raises:
            Problem: 401.
        """
        body, value = told
        try:
            ids = await self._services.payloads.run(len(body), partial(provider.callback_ids, value))
        except PayloadInvalid:
            ids = ()  # what is wrong with it is told once it is known to come from the provider
        try:
            return check(provider.name, request.headers, body, ids)
        except SignatureInvalid as error:
            status = HTTPStatus.UNAUTHORIZED
            await self._rejections.keep(provider.name, status, str(error), body)
            raise Problem(status, "bad-signature", "The signature of this callback does not hold.") from None

    async def _nudge(self, provider: Provider, body: bytes, value: Json) -> FixedAnswer:
        services = self._services
        try:
            ids = await services.payloads.run(len(body), partial(provider.callback_ids, value))
        except PayloadInvalid as error:
            raise await self._rejections.malformed(provider.name, str(error), body) from None
        if len(ids) > NUDGE_IDS_MAX:
            why = f"names {len(ids)} tasks; without a token a callback may name {NUDGE_IDS_MAX}"
            raise await self._rejections.malformed(provider.name, why, body)
        self._admit(len(ids) - 1 + extra_weight(body))
        payload = services.payloads.beginning(body)
        try:
            nudged = await services.store.request_polls(provider.name, ids, payload)
        except StoreUnavailable as error:
            raise self._not_taken(provider.name, error) from None
        return _POLLING if nudged.known else _PARKED

    async def _nudge_bearer(self, bearer: TokenOwner) -> None:
        """Have the task polled, since its callback could not be read; what prevents that must not hide the answer."""
        try:
            await self._services.store.poll_now(bearer.task_id)
        except (StoreUnavailable, TaskNotFound) as error:
            log.warning("callback.not_nudged", task=bearer.task_id, error=str(error))

    async def _unknown(self, request: web.Request, provider_name: str) -> Problem:
        """404; the body is kept as far as it was small, the token never."""
        if self._services.registry.provider_named(provider_name) is not None:
            try:
                body = await read_body(request, self._services.max_callback_bytes)
            except BodyTooLarge as error:
                body = error.head
            except BodyUnreadable:
                body = b""
            await self._rejections.keep(provider_name, HTTPStatus.NOT_FOUND, "the token is not ours", body)
        return Problem(HTTPStatus.NOT_FOUND, "unknown-callback", _UNKNOWN)

    def _not_taken(self, provider_name: str, error: StoreUnavailable) -> Problem:
        # also where the commit is unknown: what was recorded after all makes the repetition a duplicate
        log.warning("callback.not_taken", provider=provider_name, error=str(error))
        return store_unavailable()

    def _answer_to(self, applied: Applied, *, believed: bool) -> FixedAnswer:
        outcome = applied.outcome
        if outcome is Outcome.IGNORED:
            # it said nothing: of a task that goes on, a poll will; of one that has ended, it is old news
            ended = applied.task.status.is_terminal and not applied.confirm
            return _DONE[Outcome.STALE] if ended else _POLLING
        if outcome is Outcome.APPLIED and applied.confirm and not believed:
            return _POLLING
        return _DONE[outcome]


def _json_fault(body: bytes, decoded: Decoded) -> str:
    """What a strict parser objects to first in a body that cannot be read leniently either."""
    if len(body) > LARGE_BYTES:
        return f"the body cannot be read: {decoded.fault}"
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return json_words(error)
    return "the body is not JSON"
