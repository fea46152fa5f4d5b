"""Suggest the names that a misspelt one may mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 3


def did_you_mean(name: str, known: Iterable[str], most: int = MOST) -> str:
    """``did you mean a, b or c?`` with the nearest names; empty when none is near."""
    import difflib  # noqa: PLC0415  only a mistake needs it

    near = difflib.get_close_matches(name, sorted(known), most)
    if not near:
        return ""
    return f"did you mean {' or '.join(filter(None, (', '.join(near[:-1]), near[-1])))}?"
