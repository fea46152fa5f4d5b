"""The built-in families: what the data files of this folder describe, and the few routes that are code.

Owns the reading of the files and the consistency of the list. Must not hold anything about a family.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from tracker.sandbox.families import models, openai_video
from tracker.sandbox.interpreter import DataJobRoute, build_job_route, build_sync_route
from tracker.sandbox.routes import PaidRoute, Route, SyncRoute
from tracker.sandbox.scope import Table
from tracker.sandbox.templates import merge
from tracker.sandbox.wire import Json

_FOLDER = Path(__file__).parent
_CODED: dict[str, type[DataJobRoute]] = {"openai.video": openai_video.OpenAIVideo}
_JOINED = ("checks", "variants")
"""Lists that a base and a route both contribute to."""


@cache
def list_routes() -> tuple[Route, ...]:
    """Return the routes of all families."""
    described = (route for path in sorted(_FOLDER.glob("*.toml")) for route in _read_family(path.stem))
    return (*described, *openai_video.ROUTES, *models.ROUTES)


def check_routes(routes: Sequence[Route]) -> None:
    """Refuse routes that cannot be served together.

    Raises:
        ValueError: Two paid routes share a name, or one is neither a job route nor a synchronous one.
    """
    paid = [route for route in routes if isinstance(route, PaidRoute)]
    if twice := [name for name, count in Counter(route.name for route in paid).items() if count > 1]:
        raise ValueError(f"sandbox routes registered twice: {', '.join(twice)}")
    for route in paid:
        if not isinstance(route, DataJobRoute | SyncRoute):
            raise ValueError(f"{route.name} must be a DataJobRoute or a SyncRoute")  # noqa: TRY004 - a mistake in the data files


def _read_family(family: str) -> Iterator[Route]:
    described = _read_file(family)
    for name, route in described["routes"].items():
        table = _join(_common(described), *_list_bases(described, route.get("base", [])), route)
        table["family"], full_name = family, f"{family}.{name}"
        if "query" in table:
            yield build_job_route(full_name, table, _CODED.get(full_name, DataJobRoute))
        else:
            yield build_sync_route(full_name, table)


def _read_file(family: str) -> Json:
    described: Json = _parse_templates(tomllib.loads((_FOLDER / f"{family}.toml").read_text(encoding="utf-8")))
    return described


def _common(described: Json) -> Table:
    """Return what all routes of a file share; ``like`` names another file to start from."""
    common: Json = described["common"]
    return _join(_common(_read_file(common["like"])), common) if "like" in common else common


def _list_bases(described: Json, names: str | list[str]) -> Iterator[Table]:
    for name in [names] if isinstance(names, str) else names:
        base = described["bases"][name]
        yield from _list_bases(described, base.get("like", []))
        yield base


def _join(*tables: Table) -> Json:
    joined: Json = merge({}, *tables)
    for key in _JOINED:
        joined[key] = [entry for table in tables for entry in table.get(key, [])]
    return joined


def _parse_templates(value: Any) -> Any:  # noqa: ANN401 - any TOML value
    """Parse the strings that contain JSON."""
    match value:
        case str() if value.lstrip().startswith(("{", "[")):
            return orjson.loads(value)
        case dict():
            return {key: _parse_templates(inner) for key, inner in value.items()}
        case list():
            return [_parse_templates(inner) for inner in value]
        case _:
            return value
