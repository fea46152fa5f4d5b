"""The upstream's lists of models: two routes, one envelope, pages.

Owns their requests and replies. Must not decide which of the models a task may use.

**Source**: https://anyint.ai/docs/api-reference/models-api (read 2026-11): ``/openai/v1/models`` and
``/anthropic/v1/models`` with ``data[].{id, display_name, type, created_at}``, ``has_more``, ``first_id``,
``last_id``; ``GET /v1/models`` is explicitly not a route.
"""

from __future__ import annotations

from dataclasses import dataclass

from tracker.domain.ai_models import Model
from tracker.domain.upstream_http import AuthStyle, WireReply, WireRequest
from tracker.errors import PayloadInvalid
from tracker.providers.reading.fields import find_object, find_text, list_objects, require_object

LISTS = {"openai": "/openai/v1/models", "anthropic": "/anthropic/v1/models"}
"""Family -> path."""
PAGE_SIZE = "100"
_OK = 200


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One page of a list; ``next_after`` requests the next one."""

    models: tuple[Model, ...]
    next_after: str | None


def models_request(family: str, after: str | None) -> WireRequest:
    """Request a page of a family's list."""
    paging = (("limit", PAGE_SIZE), ("after_id", after)) if after is not None else ()
    auth = AuthStyle.X_API_KEY if family == "anthropic" else AuthStyle.BEARER
    return WireRequest("GET", LISTS[family], query=paging, auth=auth)


def read_models(family: str, reply: WireReply) -> ModelPage:
    """Read a page.

    Raises:
        PayloadInvalid: it is not a list of models.
    """
    if reply.decoded.fault is not None:
        raise PayloadInvalid(f"HTTP {reply.status}: the list of models is not JSON")
    page = require_object(reply.decoded.value, "body")
    if reply.status != _OK:
        error = find_object(page, "error") or page
        raise PayloadInvalid(f"HTTP {reply.status}: {find_text(error.get('message')) or 'no error message'}")
    models = []
    for item in list_objects(page.get("data"), "data"):
        model_id = find_text(item.get("id"), 300)
        if model_id is None:
            continue
        created = item.get("created_at", item.get("created"))
        models.append(
            Model(
                model_id,
                family,
                find_text(item.get("display_name"), 300),
                find_text(item.get("type") or item.get("object"), 100),
                str(created) if isinstance(created, (str, int)) and not isinstance(created, bool) else None,
            )
        )
    last_id = find_text(page.get("last_id"), 300)
    return ModelPage(tuple(models), last_id if page.get("has_more") is True and models else None)
