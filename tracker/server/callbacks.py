"""Callbacks of providers: the hot path of the daemon.

Owns the response and its time: 2xx is sent only after the effect of the callback is on disk. Must not decide what a
callback means (the provider reads it, the reconciler applies it), nor trust one without a token.

A valid token of a task that no longer exists (retention deletes ended tasks) is answered ``200 stale``: providers
disable an address that answers 404, and 202 would promise a later effect. The body is stored for inspection and the
log has a warning, since the cause can also be a database restored from a backup that is older than the task.
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
from tracker.server.bodies import BodyTooLarge, BodyUnreadable, describe_json_error, malformed, read_body, too_large
from tracker.server.rejections import Rejections, extra_weight
from tracker.server.responses import RETRY_AFTER_S, FixedResponse, Problem, store_unavailable
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from tracker.domain.records import Json
    from tracker.domain.tokens import TokenOwner
    from tracker.providers.provider import Provider
    from tracker.server.services import Services
    from tracker.store.values import Applied

log = get_logger(__name__)

POLL_REQUESTS_PER_S: Final = 500.0
POLL_REQUEST_BURST: Final = 1000.0
"""Limit of callbacks without a token, over all senders: each causes writes and polls, and anyone can send them."""
POLL_REQUEST_IDS_MAX: Final = 20
"""The most tasks that one of them may name, each of which counts; providers send one callback per task."""

_DONE: Final = {
    outcome: FixedResponse(HTTPStatus.OK, {"outcome": outcome.value})
    for outcome in (Outcome.APPLIED, Outcome.DUPLICATE, Outcome.STALE, Outcome.CONFLICT)
}
_PARKED: Final = FixedResponse(HTTPStatus.ACCEPTED, {"outcome": "parked"})
_POLLING: Final = FixedResponse(HTTPStatus.ACCEPTED, {"outcome": "polling"})
_TOKEN: Final = re.compile(r"([A-Za-z0-9._-]+)(?:[&?;].*)?", re.DOTALL)
"""A token, and parameters that a sender appended to it."""


class CallbackHandlers:
    """The handlers of both kinds of callbacks; they raise `Problem` only.

    Args:
        services: what they call.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._is_trusted = services.trust == "token"
        self._rejections = Rejections(services)
        self._throttle = Throttle(services.clock, POLL_REQUESTS_PER_S, POLL_REQUEST_BURST)

    async def receive_callback(self, request: web.Request, provider_name: str, token: str) -> web.Response:
        """Receive a callback of one task, at the address that its provider got with the request.

        Raises:
            Problem: 400, 401, 404, 413 or 503, as ``/openapi.json`` describes them.
        """
        services = self._services
        owner = self._owner_of(provider_name, token)
        if owner is None:
            raise await self._unknown(request, provider_name)
        route = services.registry.find_route(owner.route)
        if route is None:  # the provider's file was removed after the token was made
            await self._poll_owner(owner)
            return _POLLING.to(request)
        provider = services.registry.provider_of(route)
        try:
            body, decoded = await self._read(request, provider)
            is_covered = await self._check_signature(request, provider, body, decoded.value)
            try:
                reading, payload = await services.payloads.read(
                    body, partial(provider.read_callback, route, decoded.value), lambda: decoded
                )
            except PayloadInvalid as error:
                challenge = provider.answer_challenge(decoded.value)
                if challenge is not None:  # no callback: the provider tests the address
                    return web.json_response(challenge)
                raise await self._rejections.malformed(provider_name, str(error), body) from None
        except Problem:
            await self._poll_owner(owner)  # the token is valid, so the task has changed: poll it instead
            raise
        is_trusted = self._is_trusted and is_covered
        observation = Observation(
            owner.task_id,
            Source.CALLBACK,
            services.clock.now(),
            reading,
            payload,
            is_trusted,
        )
        try:
            applied = await services.reconciler.apply(observation)
        except StoreUnavailable as error:
            raise self._store_unavailable(provider_name, error) from None
        except TaskNotFound:
            await self._rejections.record(provider_name, HTTPStatus.OK, f"task {owner.task_id} no longer exists", body)
            return _DONE[Outcome.STALE].to(request)
        return response_to(applied, is_trusted=is_trusted).to(request)

    async def receive_hint(self, request: web.Request, provider_name: str) -> web.Response:
        """Receive a callback without a token: it is not trusted and only makes the tracker poll.

        Raises:
            Problem: 400, 401, 404, 413, 429 or 503, as ``/openapi.json`` describes them.
        """
        services = self._services
        named = services.registry.provider_named
        provider = named(provider_name) or named(provider_name.lower())
        if provider is None:
            raise await self._unknown(request, provider_name)
        self._admit(1)
        body, decoded = await self._read(request, provider)
        await self._check_signature(request, provider, body, decoded.value)
        return (await self._request_poll(provider, body, decoded.value)).to(request)

    async def wrong_method(self, provider_name: str, token: str) -> None:
        """Poll the task whose address got another method than POST; the caller refuses the request.

        Some providers test an address by GET and expect 200. A provider that calls back by GET would take that 200
        for the receipt of its result.
        """
        owner = self._owner_of(provider_name, token)
        if owner is not None:
            await self._poll_owner(owner)

    def _owner_of(self, provider_name: str, token: str) -> TokenOwner | None:
        """The task of a token, also if a sender wrote the provider in capitals or appended parameters without ``?``."""
        verify = self._services.tokens.verify
        owner = verify(provider_name, token)
        if owner is not None:
            return owner
        plain = _TOKEN.fullmatch(token)
        return verify(provider_name.lower(), plain[1]) if plain else None

    def _admit(self, count: int) -> None:
        if not self._throttle.admits(count):
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-callbacks",
                "Too many callbacks without a token. Retry later.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )

    async def _read(self, request: web.Request, provider: Provider) -> tuple[bytes, Decoded]:
        """The body, raw and decoded; only the charset of the Content-Type is used."""
        max_bytes = self._services.max_callback_bytes
        try:
            body = await read_body(request, max_bytes)
        except BodyTooLarge as error:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            await self._rejections.record(provider.name, status, f"larger than {max_bytes} bytes", error.head)
            raise too_large(max_bytes) from None
        except BodyUnreadable as error:
            raise malformed(str(error)) from None
        content_type = request.headers.get("Content-Type", "")
        decoded = await self._services.payloads.run(len(body), partial(decode, body, content_type))
        if decoded.fault is None:
            return body, decoded
        await self._check_signature(request, provider, body, None)  # a wrong signature is the first error
        raise await self._rejections.malformed(provider.name, _json_fault(body, decoded), body)

    async def _check_signature(self, request: web.Request, provider: Provider, body: bytes, value: Json) -> bool:
        """Check a configured signature over the raw bytes; False where a poll must confirm what it does not cover.

        Raises:
            Problem: 401.
        """
        check = self._services.check_signature
        if check is None:
            return True
        try:
            ids = await self._services.payloads.run(len(body), partial(provider.callback_ids, value))
        except PayloadInvalid:
            ids = ()  # the signature comes first: the error in the body is reported only to the provider
        try:
            return not check(provider.name, request.headers, body, ids)
        except SignatureInvalid as error:
            status = HTTPStatus.UNAUTHORIZED
            await self._rejections.record(provider.name, status, str(error), body)
            raise Problem(status, "bad-signature", "The signature of the callback is wrong.") from None

    async def _request_poll(self, provider: Provider, body: bytes, value: Json) -> FixedResponse:
        """Have the tasks polled that a callback without a token names."""
        services = self._services
        try:
            ids = await services.payloads.run(len(body), partial(provider.callback_ids, value))
        except PayloadInvalid as error:
            raise await self._rejections.malformed(provider.name, str(error), body) from None
        if len(ids) > POLL_REQUEST_IDS_MAX:
            why = f"names {len(ids)} tasks; the limit for a callback without a token is {POLL_REQUEST_IDS_MAX}"
            raise await self._rejections.malformed(provider.name, why, body)
        self._admit(len(ids) - 1 + extra_weight(body))
        payload = services.payloads.beginning(body)
        try:
            requested = await services.store.request_polls(provider.name, ids, payload)
        except StoreUnavailable as error:
            raise self._store_unavailable(provider.name, error) from None
        return _POLLING if requested.known else _PARKED

    async def _poll_owner(self, owner: TokenOwner) -> None:
        """Have the task polled whose callback could not be read; an error here must not replace that response."""
        try:
            await self._services.store.poll_now(owner.task_id)
        except (StoreUnavailable, TaskNotFound) as error:
            log.warning("callback.failed", step="request_poll", task=owner.task_id, error=str(error))

    async def _unknown(self, request: web.Request, provider_name: str) -> Problem:
        """404; the beginning of the body is stored, the token never."""
        if self._services.registry.provider_named(provider_name) is not None:
            try:
                body = await read_body(request, self._services.max_callback_bytes)
            except BodyTooLarge as error:
                body = error.head
            except BodyUnreadable:
                body = b""
            await self._rejections.record(provider_name, HTTPStatus.NOT_FOUND, "the token is unknown", body)
        return Problem(HTTPStatus.NOT_FOUND, "unknown-callback", "Unknown callback address.")

    def _store_unavailable(self, provider_name: str, error: StoreUnavailable) -> Problem:
        # also where the commit is unknown: if it was recorded, the repetition is a duplicate
        log.warning("callback.store_unavailable", provider=provider_name, error=str(error))
        return store_unavailable()


def response_to(applied: Applied, *, is_trusted: bool) -> FixedResponse:
    """The response to a callback with a token, after its commit."""
    outcome = applied.outcome
    if outcome is Outcome.IGNORED:
        # it has no status: an unfinished task is polled, for an ended one the callback is stale
        ended = applied.task.status.is_terminal and not applied.confirm
        return _DONE[Outcome.STALE] if ended else _POLLING
    if outcome is Outcome.APPLIED and applied.confirm and not is_trusted:
        return _POLLING
    return _DONE[outcome]


def _json_fault(body: bytes, decoded: Decoded) -> str:
    """The first error of a strict parser in a body that the lenient one cannot read either."""
    if len(body) > LARGE_BYTES:
        return f"the body cannot be read: {decoded.fault}"
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return describe_json_error(error)
    return "the body is not JSON"
