"""The JMESPath expressions of provider files: their functions, their checks, and their use.

Owns what an expression may be. Must not know the key of an expression. Messages are ``what is wrong; how to fix it``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jmespath
import orjson
from jmespath.exceptions import EmptyExpressionError, JMESPathError, ParseError
from jmespath.functions import Functions, signature

from tracker.domain.lenient_json.decoder import decode_text
from tracker.errors import PayloadInvalid

if TYPE_CHECKING:
    from tracker.providers.route import Json


class _Functions(Functions):
    """JMESPath's own functions, and those for values inside strings."""

    @signature({"types": []})
    def _func_from_json(self, value: Json) -> Json:
        """The value of a JSON text, null if it is not JSON; any other value unchanged."""
        if not isinstance(value, str):
            return value
        try:
            return orjson.loads(value)  # refuses a depth of more than 1024
        except orjson.JSONDecodeError:
            return decode_text(value)  # as leniently as the reply around it

    @signature({"types": []}, {"types": ["string"]})
    def _func_split(self, value: Json, separator: str) -> Json:
        """The trimmed pieces of a string; null for any other value."""
        if not isinstance(value, str) or not separator:
            return None
        return [piece.strip() for piece in value.split(separator)]

    @signature({"types": []})
    def _func_url_path(self, value: Json) -> Json:
        """The path of an absolute URL, without its query; null for any other value."""
        found = _URL.match(value) if isinstance(value, str) else None
        return found and found[1]


_URL = re.compile(r"https?://[^/?#]+(/[^?#]*)", re.IGNORECASE)
_FUNCTIONS = _Functions()
_OPTIONS = jmespath.Options(custom_functions=_FUNCTIONS)
_TABLE = _FUNCTIONS.FUNCTION_TABLE
_CHAINS = frozenset({"subexpression", "pipe", "index_expression"})
_INPUTS = frozenset({"field", "current", "identity", "index", "slice"})
_PROJECTIONS = frozenset({"projection", "value_projection", "filter_projection"})


def check_expression(text: str) -> str:
    """Check a JMESPath, with the names and the numbers of arguments of its functions.

    Raises:
        ValueError: it is invalid, or its result does not depend on the reply.
    """
    try:
        parsed = jmespath.compile(text).parsed
    except EmptyExpressionError:
        raise ValueError("the JMESPath is empty; write the path of the value") from None
    except ParseError as error:
        detail = getattr(error, "message", None) or error.msg
        raise ValueError(
            f"this is not JMESPath (at character {error.lex_position + 1}: {detail}); see https://jmespath.org"
        ) from None
    except JMESPathError as error:
        raise ValueError(f"this is not JMESPath ({error}); see https://jmespath.org") from None
    for name, given in _calls(parsed):
        known = _TABLE.get(name)
        if known is None:
            raise ValueError(f"JMESPath has no function {name}(); known are {', '.join(_TABLE)}")
        arguments = known["signature"]
        variadic = any(argument.get("variadic") for argument in arguments)
        if given < len(arguments) or (given > len(arguments) and not variadic):
            raise ValueError(f"{name}() takes {len(arguments)} arguments, not {given}; see https://jmespath.org")
    if not _reads_input(parsed, has_input=True):
        raise ValueError("the JMESPath does not depend on the reply; write fields without quotes, as in data.status")
    return text


def search(expression: str | None, value: Json, key: str) -> Json:
    """The value at a path; None when there is none, or no path.

    Raises:
        PayloadInvalid: the path does not fit the types in the reply.
    """
    if expression is None:
        return None
    try:
        return jmespath.search(expression, value, options=_OPTIONS)
    except (JMESPathError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise PayloadInvalid(f"{key}: the JMESPath does not fit this reply ({type(error).__name__})") from error


def _calls(node: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - a node of JMESPath's syntax tree
    found = [(node["value"], len(node["children"]))] if node.get("type") == "function_expression" else []
    return found + [call for child in node["children"] if isinstance(child, dict) for call in _calls(child)]


def _reads_input(node: Any, *, has_input: bool) -> bool:  # noqa: ANN401 - a node of JMESPath's syntax tree
    """Whether the result of an expression can depend on the reply; ``has_input``: whether its input can."""
    kind, children = node["type"], node["children"]
    if kind in _INPUTS:
        return has_input
    if kind in _CHAINS or kind in _PROJECTIONS:  # each part is applied to the result of the one before
        for child in children:
            has_input = _reads_input(child, has_input=has_input)
            if kind in _PROJECTIONS:
                break  # the length of a projection is that of its list, regardless of its items
        return has_input
    return any(_reads_input(child, has_input=has_input) for child in children if isinstance(child, dict))


def list_fields(text: str) -> frozenset[str]:
    """The names of the fields that a valid expression reads from its input itself, not from what is in it."""
    return frozenset(_fields_of(jmespath.compile(text).parsed))


def _fields_of(node: Any) -> list[str]:  # noqa: ANN401 - a node of JMESPath's syntax tree
    kind, children = node["type"], [child for child in node["children"] if isinstance(child, dict)]
    if kind == "field":
        return [node["value"]]
    if kind == "expref":  # applied to items
        return []
    if kind in _CHAINS or kind in _PROJECTIONS:
        while len(children) > 1 and children[0]["type"] in {"current", "identity"}:
            children = children[1:]
        children = children[:1]
    return [name for child in children for name in _fields_of(child)]
