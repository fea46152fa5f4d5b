"""The public forms of routes: what can be submitted, and what a request needs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tracker.domain.request_fields import Field as RequestField


class RouteView(Struct):
    """One creation route of an upstream."""

    route: str
    provider: str
    create: str
    query: str | None
    mode: Literal["task", "sync"]
    callback: bool
    signature: str | None
    source: str


class RouteDetail(RouteView, kw_only=True):
    """A route, and what a request of it needs."""

    asset: Annotated[str, Meta(description="What it makes.")]
    fields: Annotated[list[RequestField], Meta(description="The fields that documents name.")]
    fields_complete: Annotated[bool, Meta(description="Whether any other field is warned about.")]
    fields_source: Annotated[str | None, Meta(description="The document of the fields.")]
    models: Annotated[list[str], Meta(description="Models of the account; without a list of them, documented ones.")]
    models_source: Literal["account", "documents"] | None
    account: Annotated[str | None, Meta(description="The account that its tasks use by default, or the given one.")]
    example: Annotated[dict[str, Any], Meta(description="A smallest valid request.")]
