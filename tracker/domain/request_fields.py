"""The documented fields of the requests of a route, and the fields of a request that are not among them.

Owns the names of nested fields: ``input.prompt`` is in an object, ``shots[].text`` in each object of a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from tracker.domain.nearest import MOST, ask, find_nearest
from tracker.errors import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

ITEM = "[]"
"""After the name of a list: each of its items."""
_LONGEST_NAME = 60
_MOST = 10
"""Problems; more would not fit a header, and a request with more is one of another route."""

Json = Any
Path = tuple[str, ...]


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """One field of a request."""

    name: Annotated[str, Meta(description="With dots between the keys; [] after a key: in each item of the list.")]
    type: str
    meaning: str
    required: Annotated[bool, Meta(description="Without it a request is refused before it is sent.")] = False
    condition: Annotated[
        str | None, Meta(description="When it is required; of an optional field: when it has an effect.")
    ] = None
    values: Annotated[
        tuple[str | int | float | bool, ...], Meta(description="Examples, or all values if the documents list them.")
    ] = ()


@dataclass(frozen=True, slots=True)
class RequestFields:
    """What documents say about the requests of a route.

    Attributes:
        fields: in the order in which they are shown.
        source: the document.
        is_open: other fields may be right too; they are not checked.
        models: models that the documents name.
        model_patterns: patterns of other models of the route, as in a shell.
    """

    fields: tuple[Field, ...] = ()
    source: str | None = None
    is_open: bool = True
    models: tuple[str, ...] = ()
    model_patterns: tuple[str, ...] = ()

    def find_unknown(self, request: Mapping[str, Any]) -> list[FieldProblem]:
        """The fields of a request that no document names, with the nearest documented names; none if it is open."""
        return [] if self.is_open else find_unknown(request, [field.name for field in self.fields])

    def fitting(self, models: Iterable[str]) -> list[str]:
        """Those of some models that belong to the route, each once, by name."""
        patterns = (*self.models, *self.model_patterns)
        return sorted({model for model in models if any(fnmatchcase(model, pattern) for pattern in patterns)})


UNDOCUMENTED = RequestFields()


def find_unknown(request: Mapping[str, Any], names: Collection[str]) -> list[FieldProblem]:
    """The fields of a request that are not among the names.

    Only objects with named members are searched; a ``null`` has no effect and is not a problem.
    """
    members: dict[Path, set[str]] = {}
    for name in names:
        path = _split(name)
        for length in range(len(path)):
            members.setdefault(path[:length], set()).add(path[length])
    problems = []
    for loc, path in _walk(request, (), (), members):
        problems.append(FieldProblem(("request", *loc), _message(path, members, names)))
        if len(problems) == _MOST:
            break
    return problems


def _walk(
    value: Json, loc: tuple[str | int, ...], path: Path, members: Mapping[Path, Collection[str]]
) -> Iterator[tuple[tuple[str | int, ...], Path]]:
    """The unknown fields below a value: where each is, and its path without the indexes of lists."""
    known = members.get(path)
    if known is None:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*loc, index), (*path, ITEM), members)
    elif isinstance(value, Mapping) and ITEM not in known:
        for key, inner in value.items():
            if key in known:
                yield from _walk(inner, (*loc, key), (*path, key), members)
            elif inner is not None:
                yield (*loc, key[:_LONGEST_NAME]), (*path, key[:_LONGEST_NAME])


def _message(path: Path, members: Mapping[Path, Collection[str]], names: Collection[str]) -> str:
    """Why a field is a problem, and what may be meant: the same name elsewhere, or a near name beside it."""
    *around, key = path
    elsewhere = [name for name in names if _split(name)[-1] == key]
    near = [_join((*around, name)) for name in find_nearest(key, members[tuple(around)])]
    hint = ask(elsewhere[:MOST] or near)
    return " ".join(filter(None, ("no document of this route names this field;", hint))).removesuffix(";")


def _split(name: str) -> Path:
    return tuple(name.replace(ITEM, f".{ITEM}").split("."))


def _join(path: Path) -> str:
    return ".".join(path).replace(f".{ITEM}", ITEM)
