"""The registry: lookups, and the checks that refuse a provider that does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tracker.errors import ConfigError
from tracker.providers.families import kling
from tracker.providers.provider import Entry, Provider
from tracker.providers.registry import PROVIDERS, Registry


def make_provider(name: str = "acme", **changes: Any) -> Provider:  # noqa: ANN401 - any field of a route
    """A provider with one route that reads like Kling's."""
    entry: Entry = kling.entry("video", "videos/acme", "video", "https://docs.example.com/")
    route = replace(entry.route, **{"name": f"{name}.video", **changes})
    return Provider(name, (replace(entry, route=route),), kling.callback_ids)


def test_lookups() -> None:
    """Routes and providers are found by name; unknown names are None."""
    registry = Registry()
    route = registry.find_route("suno.generate")
    assert route is not None
    assert registry.provider_of(route).name == "suno"
    assert registry.provider_named("kling") is kling.PROVIDER
    assert registry.find_route("suno.nothing") is None
    assert registry.provider_named("unknown") is None
    assert [provider.name for provider in registry.providers()] == [provider.name for provider in PROVIDERS]
    assert all(registry.find_route(route.name) is route for route in registry.routes())


def test_extra_providers_join() -> None:
    """A provider from outside is looked up like a built-in one."""
    extra = make_provider()
    registry = Registry([extra])
    route = registry.find_route("acme.video")
    assert route is not None
    assert registry.provider_of(route) is extra
    assert len(registry.routes()) == len(Registry().routes()) + 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"create": "GET /x"}, "create is 'POST /path'"),
        ({"create": "POST x"}, "create is 'POST /path'"),
        ({"query": None}, "query is 'GET /path'"),
        ({"query": "PUT /x"}, "query is 'GET /path' (or POST)"),
        ({"mode": "sync"}, "a synchronous route has no query"),
        ({"callback_field": None, "callback_required": True}, "callback_required needs a callback_field"),
        ({"asset": ""}, "asset and source say"),
        ({"poll_interval_s": 0.0}, "poll_interval_s is more than 0"),
    ],
)
def test_wrong_routes_are_refused(changes: dict[str, Any], complaint: str) -> None:
    """A route that cannot work stops the start, with one line that names it."""
    with pytest.raises(ConfigError) as caught:
        Registry([make_provider(**changes)])
    (problem,) = caught.value.problems
    assert problem.startswith("route 'acme.video': ")
    assert complaint in problem


def test_names_are_unique_and_plain() -> None:
    """A taken name, a name with other characters and a route listed twice are refused, all in one go."""
    twice = make_provider("twice")
    entry = Entry(twice.routes[0], kling.check, kling.read_create)
    doubled = Provider("double", (), kling.callback_ids)
    other = Provider("acme", (entry,), kling.callback_ids)
    with pytest.raises(ConfigError) as caught:
        Registry(
            [
                make_provider("kling"),
                make_provider("Acme!"),
                doubled,
                Provider("twice", (entry, entry), kling.callback_ids),
                other,
            ]
        )
    text = "\n".join(caught.value.problems)
    assert "provider 'kling': the name is already in use" in text
    assert "provider 'Acme!': a name is lower-case letters" in text
    assert "provider 'double': it has no routes" in text
    assert "provider 'twice': route 'twice.video' is listed more than once" in text
    assert "route 'twice.video': a route of provider 'acme' is named acme.something" in text
