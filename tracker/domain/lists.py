"""The public forms of lists: complete ones, pages, and the events of all tasks."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from tracker.domain.records import FeedEventView

T = TypeVar("T")


class Items(Struct, Generic[T]):
    """A list."""

    items: list[T]


class Page(Struct, Generic[T]):
    """A page of a list, newest first."""

    items: list[T]
    next_cursor: str | None
    notice: Annotated[str, Meta(description="Only if the search was cut: how to see the rest.")] | UnsetType = UNSET


class GapView(Struct, rename={"first": "from", "last": "to"}):
    """Positions, both inclusive, from which retention or a restore has removed events."""

    first: int
    last: int


class Feed(Struct):
    """A page of the events of all tasks, oldest first."""

    items: list[FeedEventView]
    last_seq: Annotated[int, Meta(description="Everything up to here was looked at: the next page is after it.")]
    gap: Annotated[GapView, Meta(description="Only if events are missing.")] | UnsetType = UNSET
