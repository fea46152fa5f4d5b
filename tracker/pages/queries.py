"""The query of the list of tasks: the same names as ``GET /v1/tasks``, and what people type into the search box."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from tracker.domain.ids import looks_like_task_id
from tracker.server.queries import LABEL_PREFIX, TASK_LIST, Parameter, parse_query, parse_seq

if TYPE_CHECKING:
    from multidict import MultiMapping

VIEWS: Final = ("list", "gallery")
_TERM: Final = re.compile(r"(label\.[\w.-]+|status|reason|route|provider|account|since|until)[:=](\S+)")
_WHERE: Final = ("cursor", "limit", "after", "view")
"""What says which page of a list is shown, not which tasks are in it."""


def _parse_view(text: str) -> str:
    if text not in VIEWS:
        raise ValueError(f"must be one of {', '.join(VIEWS)}")
    return text


_VIEW: Final = Parameter("view", "How the tasks are shown.", {"type": "string", "enum": list(VIEWS)}, _parse_view)
PARAMETERS: Final = (*TASK_LIST, _VIEW)
LIVE_PARAMETERS: Final = (
    *TASK_LIST,
    Parameter("after", "The seq of the last event that the page knows.", {"type": "integer"}, parse_seq),
    Parameter("newest", "The id of the newest task of the page.", {"type": "string"}),
)


def canonical(given: MultiMapping[str]) -> str | None:
    """The same query without empty parameters and terms in the search box; None: it is as it should be."""
    kept = [(name, value) for name, value in given.items() if value != ""]
    text = given.get("q", "")
    terms = [(term[1], term[2].upper() if term[1] == "status" else term[2]) for term in _TERM.finditer(text)]
    if len(kept) == len(given) and not terms and text == text.strip():
        return None
    rest = " ".join(_TERM.sub(" ", text).split())
    named = {name for name, _ in terms} | {"q"}
    kept = [(name, value) for name, value in kept if name not in named]
    return urlencode([*kept, *terms, *([("q", rest)] if rest else [])])


def is_id(text: str) -> bool:
    """Whether a search looks like the id of a task."""
    return looks_like_task_id(text)


def parse(given: MultiMapping[str], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The parameters, as the API reads them.

    Raises:
        RequestInvalid: with every wrong one.
    """
    return parse_query(given.items(), parameters)


class ListQuery:
    """The query of a list as it was given, to make links from.

    Args:
        given: name -> text.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = dict(given)

    def get(self, name: str) -> str:
        """A parameter, empty if it is not given."""
        return self._given.get(name, "")

    def link(self, changes: Mapping[str, str | None] | None = None) -> str:
        """The query with some parameters changed, from the first page on; ``None`` drops one."""
        view = {"view": self._given["view"]} if "view" in self._given else {}
        kept = {**self.filters(), **view, **(changes or {})}
        return "?" + urlencode({name: value for name, value in kept.items() if value})

    def filters(self) -> dict[str, str]:
        """What says which tasks are in the list."""
        return {name: value for name, value in self._given.items() if name not in _WHERE}

    def hidden(self, *shown: str) -> list[tuple[str, str]]:
        """The parameters that a form keeps, besides those that it shows."""
        view = [("view", self._given["view"])] if "view" in self._given else []
        return [(name, value) for name, value in self.filters().items() if name not in shown] + view

    def labels(self) -> list[tuple[str, str]]:
        """The labels that are asked for: parameter and text."""
        return [(name, value) for name, value in self._given.items() if name.startswith(LABEL_PREFIX)]

    def command(self) -> str:
        """The command that lists the same."""
        parts = ["tracker list"]
        for name, value in self.filters().items():
            label = name.removeprefix(LABEL_PREFIX)
            parts += ["--label", quote(f"{label}={value}")] if label != name else [f"--{name}", quote(value)]
        return " ".join(parts)
