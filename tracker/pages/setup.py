"""How the daemon is set up: accounts, the configuration in force, and callbacks that belong to no task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.pages.site import Visit

Json = Any

MOST: Final = 100
"""Callbacks of each kind on the page."""


async def show_accounts(visit: Visit) -> web.StreamResponse:
    """Show each account: its address, its key and its limits."""
    state = await visit.services.live_state()
    return await visit.render("accounts.html", accounts=state.accounts)


async def show_unmatched(visit: Visit) -> web.StreamResponse:
    """Show the callbacks that wait for their task, and those that were rejected."""
    unmatched = await visit.services.store.list_unmatched(MOST)
    return await visit.render("unmatched.html", unmatched=unmatched, most=MOST)


class Section(NamedTuple):
    """A table of the configuration.

    Attributes:
        name: as in the file, of one in a list with its own name; "" for keys outside of tables.
        keys: key and value, as in the file.
    """

    name: str
    keys: Sequence[tuple[str, str]]


async def show_config(visit: Visit) -> web.StreamResponse:
    """Show the configuration in force, and which secrets are set."""
    config = visit.services.show_config()
    sections = [section for section in list_sections(config.values) if section.keys]
    return await visit.render("config.html", source=config.file, sections=sections, secrets=config.secrets)


def list_sections(values: Mapping[str, Json], path: str = "") -> Iterator[Section]:
    """The tables of the configuration, in the order of the file."""
    plain = [(key, value) for key, value in values.items() if not isinstance(value, Mapping) and not _is_tables(value)]
    yield Section(f"[{path}]" if path else "", [(key, _show(value)) for key, value in plain])
    for key, value in values.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from list_sections(value, name)
        elif _is_tables(value):
            for n, table in enumerate(value, 1):
                title = f"[[{name}]] {table.get('name', n)}"
                yield Section(title, [(one, _show(item)) for one, item in table.items()])


def _is_tables(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _show(value: Json) -> str:
    return "not set" if value is None else orjson.dumps(value).decode()
