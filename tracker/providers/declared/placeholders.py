"""The placeholders in the calls of a provider file: their names, and the values that fill them.

Owns what a placeholder may be, and that a value never leads to another path: in a path it is escaped. Must not know
where in a file a placeholder is allowed, see `rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracker.domain.task import ExternalId
from tracker.errors import PayloadInvalid
from tracker.providers.declared.expressions import list_fields, search
from tracker.providers.reading.requests import (
    find_field,
    path_segment,
    quote_reserved,
    written_id,
)

if TYPE_CHECKING:
    from tracker.providers.route import Json

PLACEHOLDER = re.compile(r"\{(\+?)([A-Za-z_][\w.-]*)\}")
"""``{name}``, or ``{+name}`` for a value whose slashes stay (RFC 6570, reserved expansion)."""
CREATE_PARTS = frozenset({"model", "request", "answer"})
_HOLDERS = frozenset({"request", "answer"})
_MODELS = "models/"
_UNWRITABLE = re.compile(r"[\ud800-\udfff]")
"""Lone surrogates, which no URL can have."""
_DOT_SEGMENTS = frozenset({".", ".."})


def list_names(value: Any) -> Iterator[str]:  # noqa: ANN401 - any TOML value
    """The names of the placeholders in the texts of a TOML value."""
    match value:
        case str():
            yield from (name for _, name in PLACEHOLDER.findall(value))
        case Mapping():
            for inner in value.values():
                yield from list_names(inner)
        case list():
            for inner in value:
                yield from list_names(inner)
        case _:
            pass


def parts_of(names: Iterable[str], values: Mapping[str, str]) -> frozenset[str]:
    """The parts of the create (``model``, ``request``, ``answer``) that placeholders repeat, also inside ``[values]``.

    Args:
        names: of the placeholders.
        values: the expressions of ``[values]``.
    """
    found: set[str] = set()
    for name in names:
        root = name.partition(".")[0]
        found |= {root, *list_fields(values.get(root, "@"))} & CREATE_PARTS
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Values:
    """The values of placeholders in one call.

    Attributes:
        expressions: those of ``[values]``.
        task_id: the task's id; None in a create.
        model: the task's model.
        request: the user's body.
        answer: the reply to the call before: to the create in a status call, to the status call in the one for the
            result.
    """

    expressions: Mapping[str, str] = field(default_factory=dict)
    task_id: ExternalId | None = None
    model: str | None = None
    request: Json = None
    answer: Json = None

    def text_of(self, name: str) -> str:
        """The value of a placeholder as text.

        Raises:
            PayloadInvalid: there is none, or it is not a text or a whole number.
        """
        value = self._find(name)
        if isinstance(value, str) and value.strip() and _UNWRITABLE.search(value) is None:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise PayloadInvalid(f"no value for {{{name}}}")

    def in_path(self, path: str) -> str:
        """Fill a path. A value is one segment of it; with a plus its slashes stay, unless it has ``.`` or ``..``.

        Raises:
            PayloadInvalid: as `text_of`, or a value is ``.`` or ``..``.
        """

        def put(found: re.Match[str]) -> str:
            text = self.text_of(found[2])
            if (
                text.strip("/") in _DOT_SEGMENTS and found[2] != "task_id"
            ):  # some servers unescape %2E before they resolve it
                raise PayloadInvalid(f"{{{found[2]}}} cannot be {text}")
            if found[1]:
                return quote_reserved(text)
            return path_segment(ExternalId(text.removeprefix(_MODELS) if found[2] == "model" else text))

        return PLACEHOLDER.sub(put, path)

    def in_value(self, value: Json) -> Json:
        """Fill a copy of a TOML value; a client escapes parameters."""
        match value:
            case str():
                return PLACEHOLDER.sub(lambda found: written_id(ExternalId(self.text_of(found[2]))), value)
            case Mapping():
                return {key: self.in_value(inner) for key, inner in value.items()}
            case list():
                return [self.in_value(inner) for inner in value]
            case _:
                return value

    def _find(self, name: str) -> Json:
        root, _, rest = name.partition(".")
        known = {"task_id": self.task_id, "model": self.model, "request": self.request, "answer": self.answer}
        if root in _HOLDERS:
            return find_field(known[root], tuple(rest.split("."))) if rest else None
        if name in known:
            return known[name]
        return search(self.expressions[name], known, f"values.{name}") if name in self.expressions else None
