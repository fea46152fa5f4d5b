"""Pieces of the feed, and the window that holds the recent ones for all readers with the same filter."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracker.tracking.feed_filters import FeedFilter

WINDOW_BYTES: Final = 256 * 1024
"""What a window holds: what is older is read from the store again."""


class Gap(NamedTuple):
    """Positions, both inclusive, whose events are gone by retention or a restore; the filter may have let them pass."""

    first: int
    last: int


class Entry(NamedTuple):
    """An event as it is sent: its position, and the JSON of `tracker.domain.records.FeedEventView`."""

    seq: int
    data: bytes


@dataclass(slots=True)
class Chunk:
    """A piece of the feed for one filter: everything after a position, up to and including another.

    Attributes:
        parts: in their order.
        wire: what callers make of it for all readers that get it, by a name of theirs.
    """

    after: int
    last: int
    parts: list[Entry | Gap] = field(default_factory=list)
    count: int = 0
    size: int = 0
    wire: dict[str, bytes] = field(default_factory=dict)

    def extend(self, last: int, parts: Iterable[Entry | Gap]) -> None:
        """Add what follows, up to a position."""
        self.last = last
        for part in parts:
            if isinstance(part, Entry):
                self.count += 1
                self.size += len(part.data)
            elif self.parts and isinstance(before := self.parts[-1], Gap):
                self.parts[-1] = Gap(before.first, part.last)
                continue
            self.parts.append(part)

    def part(self, after: int, limit: int | None = None) -> Chunk:
        """What it has after a position, at most ``limit`` events."""
        if after <= self.after and (limit is None or self.count <= limit):
            return self
        cut = Chunk(max(after, self.after), self.last)
        for part in self.parts:
            if isinstance(part, Gap):
                if part.last > after:
                    cut.extend(self.last, [Gap(max(part.first, after + 1), part.last)])
            elif part.seq > after:
                cut.extend(self.last, [part])
                if cut.count == limit:
                    cut.last = part.seq
                    break
        return cut


class WindowReader(Protocol):
    """A reader that waits for chunks, see `tracker.tracking.feed.Reader`."""

    def wake(self, chunk: Chunk | None = None) -> None:
        """Wake it, or give it the new chunk."""
        ...

    def is_over(self) -> bool:
        """Whether it needs no more."""
        ...

    def end(self) -> None:
        """Have it end."""
        ...


class Window:
    """The recent chunks for one filter.

    Attributes:
        wanted: the filter.
        since: everything after this position, up to that of the feed, is here.
        readers: those with this filter.
    """

    def __init__(self, wanted: FeedFilter, since: int) -> None:
        self.wanted = wanted
        self.since = since
        self.readers: set[WindowReader] = set()
        self._chunks: deque[Chunk] = deque()
        self._size = 0

    def wake(self, chunk: Chunk | None = None) -> None:
        """Wake every reader, or give it the new chunk."""
        for reader in self.readers:
            reader.wake(chunk)

    def end(self) -> None:
        """Have every reader end."""
        for reader in self.readers:
            reader.end()

    def add(self, chunk: Chunk) -> None:
        """Add a chunk that is not empty; the oldest ones leave when there is too much."""
        self._chunks.append(chunk)
        self._size += chunk.size
        while self._size > WINDOW_BYTES and len(self._chunks) > 1:
            oldest = self._chunks.popleft()
            self._size -= oldest.size
            self.since = oldest.last
        self.wake(chunk)

    def restart(self, since: int) -> None:
        """Hold nothing before a position: its readers read that from the store."""
        self.since = since
        self.wake()

    def find(self, position: int) -> Chunk | None:
        """What comes next after a position, if anything does."""
        found = None
        for chunk in reversed(self._chunks):  # nearly always the last one
            if chunk.last <= position:
                break
            found = chunk
        return None if found is None else found.part(position)


def find_holes(after: int, seqs: Iterable[int]) -> list[Gap]:
    """The positions after one without an event: numbers are given without holes, so it was removed."""
    holes = []
    for seq in seqs:
        if seq != after + 1:
            holes.append(Gap(after + 1, seq - 1))
        after = seq
    return holes


def merge(entries: Sequence[Entry], holes: Sequence[Gap]) -> Sequence[Entry | Gap]:
    """Events and gaps in their order."""
    return entries if not holes else sorted([*entries, *holes], key=itemgetter(0))
