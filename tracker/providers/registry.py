"""The list of providers, and the lookups in it.

Owns the checks that make a wrong provider fail at start, not at its first task. Must not know any wire format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tracker.errors import ConfigError
from tracker.providers.families import anthropic, gemini, kling, seedance
from tracker.providers.families.dashscope import video
from tracker.providers.families.openai import family as openai
from tracker.providers.families.suno import family as suno
from tracker.providers.provider import Provider
from tracker.providers.route import Route

PROVIDERS: tuple[Provider, ...] = (
    video.PROVIDER,
    kling.PROVIDER,
    suno.PROVIDER,
    openai.PROVIDER,
    anthropic.PROVIDER,
    gemini.PROVIDER,
    seedance.PROVIDER,
)

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_CREATE = re.compile(r"POST /\S+")
_QUERY = re.compile(r"(GET|POST) /\S+")


class Registry:
    """The providers and their routes, by name.

    Args:
        extra: providers besides the built-in ones, from users' files.

    Raises:
        ConfigError: a provider does not fit; one line per mistake.
    """

    def __init__(self, extra: Iterable[Provider] = ()) -> None:
        self._providers: dict[str, Provider] = {}
        self._routes: dict[str, Route] = {}
        problems: list[str] = []
        for provider in (*PROVIDERS, *extra):
            wrong = [*self._wrong_names(provider), *_wrong_routes(provider)]
            if wrong:
                problems += wrong
                continue
            self._providers[provider.name] = provider
            self._routes |= {route.name: route for route in provider.routes}
        if problems:
            raise ConfigError(problems)

    def providers(self) -> tuple[Provider, ...]:
        """Every provider, in the order in which they were registered."""
        return tuple(self._providers.values())

    def routes(self) -> tuple[Route, ...]:
        """Every route of every provider, in order."""
        return tuple(self._routes.values())

    def names(self) -> dict[str, set[str]]:
        """The names of all routes and providers, by kind."""
        return {"route": set(self._routes), "provider": set(self._providers)}

    def find_route(self, name: str) -> Route | None:
        """The route with this name, or None."""
        return self._routes.get(name)

    def provider_of(self, route: Route) -> Provider:
        """The provider of a route of this registry."""
        return self._providers[route.provider]

    def provider_named(self, name: str) -> Provider | None:
        """The provider with this name, or None."""
        return self._providers.get(name)

    def _wrong_names(self, provider: Provider) -> Iterable[str]:
        if not _NAME.fullmatch(provider.name):
            yield f"provider {provider.name!r}: a name is lower-case letters, digits and hyphens"
        if not provider.routes:
            yield f"provider {provider.name!r}: it has no routes"
        if provider.name in self._providers:
            yield f"provider {provider.name!r}: the name is already in use; choose another"
        names = [route.name for route in provider.routes]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"provider {provider.name!r}: route {name!r} is listed more than once"


def _wrong_routes(provider: Provider) -> Iterable[str]:
    for route in provider.routes:
        where = f"route {route.name!r}"
        family, _, rest = route.name.partition(".")
        if family != provider.name or not _NAME.fullmatch(rest):
            yield f"{where}: a route of provider {provider.name!r} is named {provider.name}.something"
        if not _CREATE.fullmatch(route.create):
            yield f"{where}: create is 'POST /path', not {route.create!r}"
        if route.mode == "task" and (route.query is None or not _QUERY.fullmatch(route.query)):
            yield f"{where}: query is 'GET /path' (or POST) for a route with tasks, not {route.query!r}"
        if route.mode == "sync" and route.query is not None:
            yield f"{where}: a synchronous route has no query"
        if route.callback_required and not (route.callback_field or route.callback_parameter):
            yield f"{where}: callback_required needs a callback_field"
        if not route.asset or not route.source:
            yield f"{where}: asset and source say what it makes and where it is documented"
        if route.poll_interval_s <= 0:
            yield f"{where}: poll_interval_s is more than 0, not {route.poll_interval_s:g}"
