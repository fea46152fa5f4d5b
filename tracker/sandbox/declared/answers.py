"""From JMESPath expressions back to a document in which they find given values.

Owns the inversion of expressions. Must not know what the values mean. Every document is checked with the expressions
themselves before it is used, so an expression that cannot be inverted gives no document, never a wrong one.

Source: https://jmespath.org/specification.html (expressions); ``from_json`` and ``split`` are the tracker's additions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import chain, islice, product
from typing import Any

import jmespath
import orjson
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature

from tracker.sandbox.templates import Scope, fill

Document = Any
"""JSON of any shape, perhaps with placeholders."""
Node = Mapping[str, Any]
Join = Callable[[list[Document], list[Document]], list[Document]]
Want = tuple[str, object]
"""An expression, and the value that it must find: a template."""

_MOST_TRIES = 500
_OF_THEIR_ARGUMENT = frozenset({"to_string", "to_number", "to_array", "not_null", "reverse", "sort", "split"})
_BY_A_KEY = frozenset({"max_by", "min_by", "sort_by"})
_OF_ITS_TEXT = frozenset({"contains", "starts_with", "ends_with"})


class _Functions(Functions):
    """JMESPath's own functions, and those for values that are hidden in strings."""

    @signature({"types": []})
    def _func_from_json(self, value: Document) -> Document:
        try:
            return orjson.loads(value) if isinstance(value, str) else value
        except orjson.JSONDecodeError:
            return None

    @signature({"types": []}, {"types": ["string"]})
    def _func_split(self, value: Document, separator: str) -> Document:
        return [piece.strip() for piece in value.split(separator)] if isinstance(value, str) else None

    @signature({"types": []})
    def _func_url_path(self, value: Document) -> Document:
        found = re.match(r"https?://[^/?#]+(/[^?#]*)", value, re.IGNORECASE) if isinstance(value, str) else None
        return found and found[1]


_OPTIONS = jmespath.Options(custom_functions=_Functions())


def find_document(wants: Sequence[Want], sample: Scope) -> Document:
    """Return a template in which every expression finds its value, or None.

    Args:
        wants: What must be found.
        sample: Values for the placeholders, to check the template with.
    """
    try:
        candidates = [list(islice(_invert(jmespath.compile(path).parsed, value), _MOST_TRIES)) for path, value in wants]
    except JMESPathError as error:
        raise ValueError(f"this is not JMESPath: {error}") from error
    for join in (_join_items, _append_items):
        for parts in islice(product(*candidates), _MOST_TRIES):
            document: Document = reduce(partial(_combine, join), parts, {})
            if all(_finds(path, document, value, sample) for path, value in wants):
                return document
    return None


def _finds(path: str, document: object, value: object, sample: Scope) -> bool:
    try:
        found = jmespath.search(path, fill(document, sample), options=_OPTIONS)
    except (JMESPathError, TypeError, ValueError):
        return False
    wanted = fill(value, sample)
    if isinstance(found, dict) and isinstance(wanted, dict):  # a hash has each of its keys, some of them null
        found = {key: one for key, one in found.items() if one is not None or key in wanted}
    return found == wanted or (isinstance(found, list) and wanted in found)


def _invert(node: Node, value: Document) -> Iterator[Document]:
    """Return documents to which an expression, as JMESPath has parsed it, gives this value."""
    invert = _INVERSIONS.get(node["type"])
    return iter(()) if invert is None else invert(node, value)


def _invert_literal(node: Node, value: Document) -> Iterator[Document]:
    return iter([{}] if node["value"] == value else [])


def _invert_index(node: Node, value: Document) -> Iterator[Document]:
    at = node["value"]
    yield [None] * max(at, 0) + [value] + [None] * max(-at - 1, 0)


def _invert_slice(node: Node, value: Document) -> Iterator[Document]:
    yield [None] * (node["children"][0] or 0) + (value if isinstance(value, list) else [value])


def _invert_function(node: Node, value: Document) -> Iterator[Document]:
    name = node["value"]
    if name == "from_json":
        return _invert(node["children"][0], {"$json": value})
    if name in _BY_A_KEY:  # the item that is chosen or sorted needs the key
        items = value if isinstance(value, list) else [value]
        keys: Document = next(_invert(node["children"][1]["children"][0], 1), {})
        return _invert(node["children"][0], [_combine(_join_items, keys, item) for item in items])
    return _invert(node["children"][0], _join_text(node, value)) if name in _OF_THEIR_ARGUMENT else iter(())


def _invert_chain(nodes: Sequence[Node], value: Document) -> Iterator[Document]:
    """Each expression is applied to what the one before it gives: the last is inverted first."""
    *before, last = nodes
    for inner in _invert(last, value):
        if before:
            yield from _invert_chain(before, inner)
        else:
            yield inner


def _invert_projection(node: Node, value: Document) -> Iterator[Document]:
    left, right, *conditions = node["children"]
    wanted = value if isinstance(value, list) else [value]
    choices = [_invert(right, one) for one in wanted]
    for condition in conditions:
        choices = [_both(_satisfy(condition), choice) for choice in choices]
    for items in islice(product(*choices), _MOST_TRIES):
        of_object = node["type"] == "value_projection"
        yield from _invert(left, {f"item_{n}": item for n, item in enumerate(items)} if of_object else list(items))


def _invert_hash(node: Node, value: Document) -> Iterator[Document]:
    pairs = {pair["value"]: pair["children"][0] for pair in node["children"]}
    if not isinstance(value, dict) or not value.keys() <= pairs.keys():
        return
    for parts in islice(product(*(_invert(pairs[key], one) for key, one in value.items())), _MOST_TRIES):
        yield reduce(partial(_combine, _join_items), parts, {})


_INVERSIONS: Mapping[str, Callable[[Node, Document], Iterator[Document]]] = {
    "current": lambda _node, value: iter([value]),
    "identity": lambda _node, value: iter([value]),
    "field": lambda node, value: iter([{node["value"]: value}]),
    "literal": _invert_literal,
    "index": _invert_index,
    "slice": _invert_slice,
    "subexpression": lambda node, value: _invert_chain(node["children"], value),
    "index_expression": lambda node, value: _invert_chain(node["children"], value),
    "pipe": lambda node, value: _invert_chain(node["children"], value),
    "flatten": lambda node, value: _invert(node["children"][0], value),
    "projection": _invert_projection,
    "value_projection": _invert_projection,
    "filter_projection": _invert_projection,
    "or_expression": lambda node, value: chain.from_iterable(_invert(child, value) for child in node["children"]),
    "and_expression": lambda node, value: _both(_satisfy(node["children"][0]), _invert(node["children"][1], value)),
    "multi_select_list": lambda node, value: _invert(node["children"][0], value),
    "multi_select_dict": _invert_hash,
    "function_expression": _invert_function,
}


def _join_text(node: Node, value: Document) -> Document:
    """Return the text whose pieces ``split`` gives; any other function hands its argument through."""
    if node["value"] != "split" or not isinstance(value, list):
        return value
    separator = node["children"][1]["value"]
    return separator.join(f"${{{piece[1:]}}}" if str(piece).startswith("$") else str(piece or "x") for piece in value)


def _satisfy(node: Node) -> Iterator[Document]:
    """Return documents for which an expression is true."""
    kind, children = node["type"], node["children"]
    match kind:
        case "comparator":
            left, right = children if children[1]["type"] == "literal" else reversed(children)
            if right["type"] == "literal":
                yield from _invert(left, _compared(node["value"], right["value"]))
        case "and_expression":
            yield from _both(_satisfy(children[0]), _satisfy(children[1]))
        case "or_expression":
            for child in children:
                yield from _satisfy(child)
        case "not_expression":
            yield {}
        case "function_expression" if node["value"] in _OF_ITS_TEXT:
            yield from _invert(children[0], children[1].get("value"))
        case _:
            yield from _invert(node, True)  # noqa: FBT003 - JSON


def _compared(operator: str, literal: Document) -> Document:
    """Return a value that compares so with a literal."""
    if operator in {"eq", "lte", "gte"}:
        return literal
    if isinstance(literal, int | float):
        return literal - 1 if operator == "lt" else literal + 1
    return "other"


def _both(first: Iterator[Document], second: Iterator[Document]) -> Iterator[Document]:
    for one, other in islice(product(first, second), _MOST_TRIES):
        yield _combine(_join_items, one, other)


def _combine(join: Join, one: Document, other: Document) -> Document:
    """Merge two documents; `join` merges their lists."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: _combine(join, one[key], new) if key in one else new for key, new in other.items()}
    if isinstance(one, list) and isinstance(other, list):
        return join(one, other)
    return one if other is True and one else other  # any value satisfies a condition


def _join_items(one: list[Document], other: list[Document]) -> list[Document]:
    """Join lists whose expressions name the same items."""
    longer = max(len(one), len(other))
    pairs = zip(one + [{}] * (longer - len(one)), other + [{}] * (longer - len(other)), strict=True)
    return [_combine(_join_items, first or {}, second) if second else first for first, second in pairs]


def _append_items(one: list[Document], other: list[Document]) -> list[Document]:
    """Join lists whose expressions name different items."""
    return one + other
