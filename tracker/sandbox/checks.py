"""The checks of a request, as the data files list them: one table per field, in the order of the upstream.

Owns the kinds of checks. Must not know how a refusal looks. A check without ``is`` requires a text that is not blank::

    { field = "n", is = "integer", min = 1, max = 9, optional = true, when = { … }, unless = { … }, message = "…" }
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tracker.sandbox.prompts import read_prompt
from tracker.sandbox.templates import Scope, dig, matches

Check = Mapping[str, Any]


def find_failed(checks: Sequence[Check], scope: Scope) -> Check | None:
    """Return the first check that a request does not pass, or None.

    Args:
        checks: The checks.
        scope: The request's ``body`` and ``headers``, and what conditions may name.
    """
    return next((check for check in checks if _applies(check, scope) and not _passes(check, scope)), None)


def _applies(check: Check, scope: Scope) -> bool:
    return matches(check.get("when", {}), scope) and not ("unless" in check and matches(check["unless"], scope))


def _passes(check: Check, scope: Scope) -> bool:
    if "header" in check:
        return bool(scope["headers"].get(check["header"]))
    body, field = scope["body"], check["field"]
    value = read_prompt(body, field) if check.get("is") == "prompt" else dig(body, field)
    if value is None and check.get("optional"):
        return not _is_given(body, field)
    return KINDS[check.get("is", "text")](value, check, body)


def _is_given(body: Mapping[str, Any], field: str) -> bool:
    parent, _, last = field.rpartition(".")
    holder = dig(body, parent) if parent else body
    return isinstance(holder, Mapping) and last in holder


def _is_text(value: object, _check: Check, _body: Scope) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_objects(value: object, check: Check, _body: Scope) -> bool:
    listed = value if isinstance(value, list) else []
    key = check.get("each_with")
    return bool(listed) and all(
        isinstance(one, dict) and (key is None or isinstance(one.get(key), list)) for one in listed
    )


def _is_integer(value: object, check: Check, _body: Scope) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return bool(check.get("min", value) <= value <= check.get("max", value))


def _is_short(value: object, check: Check, _body: Scope) -> bool:
    return not isinstance(value, str) or len(value.strip()) <= check["max"]


def _is_seconds(value: object, _check: Check, _body: Scope) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_span(value: Any, check: Check, body: Scope) -> bool:  # noqa: ANN401 - checked to be seconds before
    """A time that is so much later than another field."""
    return bool(check["min"] <= value - body[check["after"]] <= check["max"])


KINDS: Mapping[str, Callable[[Any, Check, Scope], bool]] = {
    "text": _is_text,
    "prompt": _is_text,
    "string": lambda value, _check, _body: isinstance(value, str),
    "boolean": lambda value, _check, _body: isinstance(value, bool),
    "object": lambda value, _check, _body: isinstance(value, dict),
    "objects": _is_objects,
    "given": lambda value, _check, _body: isinstance(value, str | list) and bool(value),
    "present": lambda value, _check, _body: value is not None,
    "never": lambda _value, _check, _body: False,
    "integer": _is_integer,
    "one_of": lambda value, check, _body: isinstance(value, str) and value in check["values"],
    "short": _is_short,
    "seconds": _is_seconds,
    "span": _is_span,
}
