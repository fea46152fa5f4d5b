"""Suggest the names that a misspelt one may mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST = 3


def did_you_mean(name: str, known: Iterable[str], most: int = MOST) -> str:
    """``did you mean a, b or c?`` with the nearest names; empty when none is near."""
    return ask(find_nearest(name, known, most))


def find_nearest(name: str, known: Iterable[str], most: int = MOST) -> list[str]:
    """The nearest names, the nearest first."""
    import difflib  # noqa: PLC0415  only a mistake needs it

    return difflib.get_close_matches(name, sorted(known), most)


def ask(names: Sequence[str]) -> str:
    """``did you mean a, b or c?``; empty without a name."""
    if not names:
        return ""
    return f"did you mean {' or '.join(filter(None, (', '.join(names[:-1]), names[-1])))}?"
