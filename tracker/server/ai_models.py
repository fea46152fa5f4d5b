"""The models that an account can use: the cached list, and fetching it anew.

Owns those answers. Must not fetch or keep anything itself.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tracker.domain.records import to_json
from tracker.errors import FieldProblem, RequestInvalid
from tracker.server.responses import json_answer
from tracker.server.schemas import ModelCatalogue
from tracker.server.services import QUERY

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.server.services import Services


async def list_models(services: Services, request: web.Request) -> web.Response:
    """The models of an account as they were last fetched, with their age."""
    return await _answer(services, _account(services, request), [])


async def sync_models(services: Services, request: web.Request) -> web.Response:
    """Fetch an account's lists now; one that cannot be fetched stays as it was and is named."""
    account = _account(services, request)
    _, problems = await services.model_sync.sync(account)
    return await _answer(services, account, problems)


async def _answer(services: Services, account: str, problems: list[str]) -> web.Response:
    kept = await services.store.list_models(account)
    age_s = None if kept.synced_at is None else (services.clock.now() - kept.synced_at).total_seconds()
    items = [asdict(model) for model in kept.models]
    shown = to_json(ModelCatalogue, kept, account=account, age_s=age_s, items=items, problems=problems)
    return json_answer(shown)


def _account(services: Services, request: web.Request) -> str:
    """The account that was asked for, or the only one.

    Raises:
        Problem: 422: unknown, or not named although there are several.
    """
    named = request[QUERY].get("account")
    known = ", ".join(sorted(services.accounts))
    if named is None and (len(services.accounts) == 1 or "default" in services.accounts):
        return "default" if "default" in services.accounts else next(iter(services.accounts))
    if named not in services.accounts:
        what = "must be named" if named is None else f"is unknown: {named!r}"
        raise RequestInvalid([FieldProblem(("query", "account"), f"{what}; configured accounts: {known}")])
    return str(named)
