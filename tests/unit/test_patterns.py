"""Every regular expression of the package works alike in all supported Pythons."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]  # the only public parser of patterns
from typing import Any

import tracker

PATIENT = {_constants.IN, _constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY}
"""What one character is matched by."""


def find_patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """The compiled patterns of all modules, with their names."""
    for module in pkgutil.walk_packages(tracker.__path__, "tracker."):
        if module.name != "tracker.__main__":
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern):
                    yield f"{module.name}.{name}", value


def has_risky_group(parsed: Any) -> bool:  # noqa: ANN401 - the parser's own tree
    """Whether a possessive quantifier follows more than one character, or an atomic group is used."""
    for operator, argument in parsed:
        if operator is _constants.ATOMIC_GROUP:
            return True
        if operator is _constants.POSSESSIVE_REPEAT and {one[0] for one in argument[2]} - PATIENT:
            return True
        parts = argument if isinstance(argument, tuple | list) else [argument]
        flat = [inner for part in parts for inner in (part if isinstance(part, list) else [part])]
        if any(isinstance(part, _parser.SubPattern) and has_risky_group(part) for part in flat):
            return True
    return False


def test_no_pattern_needs_a_python_without_the_faults_of_possessive_groups() -> None:
    """Before 3.11.5 (Debian 12 has 3.11.2) possessive groups match wrongly; those of single characters do not.

    Source: https://github.com/python/cpython/issues/106052.
    """
    found = dict(find_patterns())
    assert len(found) > 50
    flags = re.VERBOSE | re.IGNORECASE | re.DOTALL | re.ASCII | re.MULTILINE
    risky = [
        name
        for name, pattern in found.items()
        if has_risky_group(_parser.parse(pattern.pattern, pattern.flags & flags))
    ]
    assert risky == []


def test_risky_groups_are_recognised() -> None:
    """The pattern that was read wrongly, an atomic group, and what is sound."""
    assert has_risky_group(_parser.parse(r"x(?:y|/\*(?:[^*]|\*(?!/))*+\*/)"))
    assert has_risky_group(_parser.parse(r"a(?>b)"))
    assert not has_risky_group(_parser.parse(r'"[^"\\]*+(?:\\.[^"\\]*+)*"'))
