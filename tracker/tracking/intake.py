"""Turns a submit into the task that is recorded, and a recorded task into the request that is sent.

Owns the checks before anything is recorded, the account and model of a task, and its callback URL. Must not record or
send anything itself.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from tracker.domain.ai_models import UnknownAliasError, model_of, resolve_models, with_model
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.nearest import did_you_mean
from tracker.domain.observation import Reading, Submission
from tracker.domain.prices import Prices
from tracker.domain.request_size import coarse_size
from tracker.domain.task import ExternalId, Reason, SubmitState
from tracker.errors import FieldProblem, FieldsUnknown, RequestInvalid
from tracker.providers.reading.requests import find_field
from tracker.store.values import NewTask
from tracker.tracking.accounts import AccountRules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from tracker.clock import Clock
    from tracker.domain.ai_models import ModelTarget
    from tracker.domain.prices import Budget
    from tracker.domain.records import TaskRecord
    from tracker.domain.task import TaskId
    from tracker.domain.tokens import CallbackTokens
    from tracker.domain.upstream_http import WireRequest
    from tracker.providers.provider import Provider
    from tracker.providers.registry import Registry
    from tracker.providers.route import Route

SEND_MARGIN_S = 60.0
"""A send without an outcome so long after its answer was due was lost with its process."""
CONFIG_RETRY_S = 30.0
"""From an attempt that the configuration prevents to the next."""


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A submit.

    Attributes:
        route: full route name.
        request: the provider body.
        account: name of an account, None for the default one.
        respond_async: answer as soon as the task is recorded, before the create is sent.
        fallbacks: models to try when the first is certainly not accepted, besides those of an alias.
        retry_of: the task whose request it sends again.
        is_strict: refuse fields that no document of the route names.
    """

    route: str
    request: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    idempotency_key: str | None = None
    respond_async: bool = False
    fallbacks: tuple[str, ...] = ()
    retry_of: TaskId | None = None
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class CallbackUrls:
    """How callback URLs are made.

    Attributes:
        public_url: where providers reach this daemon; None: they cannot.
        placeholder_url: sent where an upstream requires a URL and there is no public one.
    """

    public_url: str | None
    placeholder_url: str


class Intake:
    """Applies routes, accounts and aliases.

    Args:
        registry: the known routes.
        clock: gives the creation time.
        tokens: makes the tokens of callback URLs.
        urls: how callback URLs are made.
        accounts: the names of the configured accounts.
        default_account: the account of a task of a built-in route that names none; None when it must be named.
        aliases: the models of ``@alias`` names in this environment.
        prices: the price list as it is now.
        budget_of: what an account may spend in a day; None: any amount.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        clock: Clock,
        tokens: CallbackTokens,
        urls: CallbackUrls,
        accounts: Collection[str],
        default_account: str | None,
        aliases: Mapping[str, ModelTarget],
        prices: Callable[[], Prices] = Prices,
        budget_of: Callable[[str], Budget | None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._tokens = tokens
        self._urls = urls
        self._accounts = AccountRules(registry.routes(), accounts)
        self._default_account = default_account
        self._aliases = aliases
        self._prices = prices
        self._budget_of = budget_of

    def set_defaults(self, urls: CallbackUrls, default_account: str | None) -> None:
        """Replace the settings for tasks that are sent from now on; see the constructor."""
        self._urls = urls
        self._default_account = default_account

    def draft(self, wanted: SubmitRequest) -> NewTask:
        """The task of a paid create that is to be sent.

        Raises:
            RequestInvalid: unknown route, account or alias, or a body that the upstream would certainly refuse.
            FieldsUnknown: a strict request has fields that no document names.
        """
        route, provider = self._route(wanted.route)
        account = self._accounts.choose(route, wanted.account, self._default_account)
        try:
            request, fallbacks = resolve_models(wanted.request, self._aliases)
        except UnknownAliasError as error:
            raise RequestInvalid([FieldProblem(("request", "model"), str(error))]) from None
        problems = provider.check_request(route, request)
        unknown = route.fields.find_unknown(request) if wanted.is_strict else []
        if problems:
            raise RequestInvalid([*problems, *unknown])
        if unknown:
            raise FieldsUnknown(unknown)
        now, model = self._clock.now(), model_of(request)
        return NewTask(
            id=make_task_id(now, secrets.token_bytes(RANDOM_BYTES)),
            route=route.name,
            provider=route.provider,
            account=account,
            asset=route.asset,
            created_at=now,
            due_at=now + timedelta(seconds=SEND_MARGIN_S),
            submit_state=SubmitState.QUEUED,
            request=orjson.dumps(request).decode(),
            body=request,
            model=model,
            size=coarse_size(request),
            price=self._prices().estimate_request(route.name, model, request),
            budget=self._budget_of(account),
            fallbacks=fallbacks or wanted.fallbacks,
            retry_of=wanted.retry_of,
            labels=wanted.labels,
            idempotency_key=wanted.idempotency_key,
            # of the request as sent: an alias may come to mean another model
            fingerprint=None if wanted.idempotency_key is None else fingerprint(wanted, account),
            expects_callback=self._urls.public_url is not None and _takes_callback(route, request),
        )

    def draft_of_known(
        self, route_name: str, external_id: str, labels: Mapping[str, str], account: str | None
    ) -> NewTask:
        """The task of a job that was created elsewhere.

        Raises:
            RequestInvalid: unknown route or account, or a route whose tasks cannot be followed.
        """
        route, _ = self._route(route_name)
        if route.query is None:
            raise RequestInvalid(
                [FieldProblem(("route",), f"{route.name} has no task to follow; submit the request instead")]
            )
        if route.needs:
            what = "a model" if route.needs == {"model"} else "a part of the create"
            raise RequestInvalid(
                [FieldProblem(("route",), f"{route.name} needs {what} to poll a task; it can only be submitted")]
            )
        now = self._clock.now()
        return NewTask(
            id=make_task_id(now, secrets.token_bytes(RANDOM_BYTES)),
            route=route.name,
            provider=route.provider,
            account=self._accounts.choose(route, account, self._default_account),
            asset=route.asset,
            created_at=now,
            due_at=now,
            submit_state=SubmitState.ACCEPTED,
            external_id=ExternalId(external_id),
            labels=labels,
        )

    def find_route(self, name: str) -> tuple[Route, Provider] | None:
        """A route of this process and its provider."""
        route = self._registry.find_route(name)
        return None if route is None else (route, self._registry.provider_of(route))

    def objection(self, record: TaskRecord, *, is_named: bool) -> str | None:
        """Why a recorded create must not be sent, None when it may be: its account, or its provider's file has changed.

        Args:
            record: the task.
            is_named: its submit is known to have named the account.
        """
        task = record.task
        found = self.find_route(task.route)
        if found is None:
            return None
        route, provider = found
        objection = self._accounts.objection(route, task.account, self._default_account, is_named=is_named)
        if objection is not None or route.account is None:
            return objection
        problems = provider.check_request(route, with_model(record.request, task.model))
        return f"its provider's file now requires {'.'.join(map(str, problems[0].loc))}" if problems else None

    def wire_request(self, route: Route, provider: Provider, record: TaskRecord) -> WireRequest:
        """The create of a recorded task, with the address for its callbacks."""
        callback_url = None
        if record.task.expects_callback and self._urls.public_url is not None:
            token = self._tokens.make(route.name, record.task.id)
            callback_url = f"{self._urls.public_url.rstrip('/')}/callbacks/{route.provider}/{token}"
        elif route.callback_required and _takes_callback(route, record.request):
            callback_url = self._urls.placeholder_url
        return provider.create_request(route, with_model(record.request, record.task.model), callback_url)

    def _route(self, name: str) -> tuple[Route, Provider]:
        found = self.find_route(name)
        if found is None:
            hint = did_you_mean(name, (known.name for known in self._registry.routes()))
            message = " ".join(filter(None, (f"unknown route {name!r};", hint, "tracker routes lists all routes")))
            raise RequestInvalid([FieldProblem(("route",), message)])
        return found


def _takes_callback(route: Route, request: Mapping[str, Any]) -> bool:
    """Whether the tracker fills the callback field: a URL that the user gave is not replaced."""
    field = route.callback_field
    if field is None:
        return route.callback_parameter is not None
    return route.callback and not find_field(request, tuple(field.split(".")))


def not_sendable(detail: str) -> Reading:
    """A create that must not be sent with this configuration: it waits for other files, by a reload or restart."""
    return Reading(
        submission=Submission.DEFERRED, reason=Reason.INVALID_REQUEST, retry_after_s=CONFIG_RETRY_S, detail=detail
    )


def fingerprint(wanted: SubmitRequest, account: str) -> str:
    """A digest of everything that makes a submit's payload, the same for any order of keys."""
    canonical = orjson.dumps([wanted.route, account, wanted.request, dict(wanted.labels)], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()
