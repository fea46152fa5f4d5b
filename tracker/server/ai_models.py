"""``/v1/models``: the AI models of an account, as cached or fetched again. Must not fetch or store anything itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tracker.domain.records import to_json
from tracker.errors import FieldProblem, RequestInvalid
from tracker.server.responses import json_response
from tracker.server.schemas import ModelCatalogue
from tracker.server.services import QUERY

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services


async def list_models(services: Services, request: web.Request) -> web.Response:
    """List the models of an account, as last fetched."""
    return await _catalogue(services, _account(services, request), [])


async def sync_models(services: Services, request: web.Request) -> web.Response:
    """Fetch the model lists of an account now.

    A list that cannot be fetched stays the same and is among the problems of the response.
    """
    account = _account(services, request)
    _, problems = await services.model_sync.sync(account)
    return await _catalogue(services, account, problems)


async def _catalogue(services: Services, account: str, problems: list[str]) -> web.Response:
    cached = await services.store.list_models(account)
    age_s = None if cached.synced_at is None else (services.clock.now() - cached.synced_at).total_seconds()
    items = [asdict(model) for model in cached.models]
    shown = to_json(ModelCatalogue, cached, account=account, age_s=age_s, items=items, problems=problems)
    return json_response(shown)


def _account(services: Services, request: web.Request) -> str:
    """The requested account, or the default.

    Raises:
        RequestInvalid: it is unknown, or not named although there are several.
    """
    named = request[QUERY].get("account")
    known = ", ".join(sorted(services.accounts))
    if named is None and (len(services.accounts) == 1 or "default" in services.accounts):
        return "default" if "default" in services.accounts else next(iter(services.accounts))
    if named not in services.accounts:
        what = "must be named" if named is None else f"is unknown: {named!r}"
        raise RequestInvalid([FieldProblem(("query", "account"), f"{what}; configured accounts: {known}")])
    return str(named)
