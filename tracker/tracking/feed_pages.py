"""Pieces of the history, read from the store and encoded; and how much of the event loop that may take."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from tracker.domain.records import feed_event_json
from tracker.tracking.changes import PAGE
from tracker.tracking.feed_chunks import Chunk, Entry, Gap, find_holes, merge
from tracker.tracking.feed_filters import FeedFilter, text_of

if TYPE_CHECKING:
    from tracker.domain.durations import Outlook
    from tracker.domain.history import FeedEvent
    from tracker.domain.task import Task
    from tracker.store.protocol import Store
    from tracker.tracking.changes import ChangeFeed

SLICE: Final = 16
"""Events that are read and encoded at a time: one has at most about 200 KiB."""
SEARCH_S: Final = 0.2
"""A page ends after so long, also if it has found nothing yet."""
BUSY_SHARE: Final = 0.02
"""The share of the event loop that the feed takes while changes are committed. It costs more in all: threads share
the interpreter's lock. A callback at the highest rate, with 200 unfiltered streams, took 7 % more processor time with
0.03, and no more with 0.02 (medians of 3 and 6 rounds)."""
IDLE_SHARE: Final = 0.5
"""The same while there are none."""
READING: Final = 2.0
"""What an event costs in all, as a multiple of its encoding: reading it cannot be measured separately."""

Match = Callable[["FeedEvent"], Sequence[FeedFilter]]
"""The filters that let an event pass, apart from their text."""


class Piece(NamedTuple):
    """Some events of the history.

    Attributes:
        events: how many there are, with those that no filter lets pass.
        last: the position of the last one.
        entries: what each filter lets pass.
        holes: what is missing between them.
        seconds: what they cost the event loop.
    """

    events: int
    last: int
    entries: Mapping[FeedFilter, Sequence[Entry]]
    holes: Sequence[Gap]
    seconds: float

    @property
    def size(self) -> int:
        """The bytes of all entries, each counted once."""
        return sum(len(data) for _, data in {entry for entries in self.entries.values() for entry in entries})

    def parts(self, wanted: FeedFilter) -> Sequence[Entry | Gap]:
        """What a filter lets pass, with the holes."""
        return merge(self.entries.get(wanted, ()), self.holes)


class FeedPages:
    """Reads pieces of the history.

    Args:
        store: it is read.
        changes: shows whether changes are committed.
        outlook: the future of a task.
    """

    def __init__(self, store: Store, changes: ChangeFeed, outlook: Callable[[Task], Outlook]) -> None:
        self._store = store
        self._changes = changes
        self._outlook = outlook

    async def read(self, wanted: FeedFilter, after: int, limit: int, max_bytes: int) -> Chunk:
        """The next events after a position, read like a search.

        Args:
            wanted: which events.
            after: the position.
            limit: the most events.
            max_bytes: about how large the page may be.

        Raises:
            StoreUnavailable: the history cannot be read.
        """
        ends_at = time.monotonic() + SEARCH_S
        newest = await self._store.last_seq()  # first: what is missing below it was removed
        page = Chunk(after, after)
        while True:
            events: Sequence[FeedEvent] = await self._store.list_events_after(page.last, PAGE, search=True)
            is_end = len(events) < PAGE
            while events:
                wake_up, count = self._changes.next, min(SLICE, limit - page.count)
                piece = await self.encode(page.last, events, partial(_match_one, wanted), count, search=True)
                events = events[piece.events :]
                page.extend(piece.last, piece.parts(wanted))
                if page.count >= limit or page.size >= max_bytes:
                    return page
                await self.rest(piece.seconds, wake_up)
            if is_end and newest > page.last:
                page.extend(newest, [Gap(page.last + 1, newest)])
            if is_end or time.monotonic() > ends_at:
                return page

    async def encode(
        self, after: int, events: Sequence[FeedEvent], match: Match, count: int = SLICE, *, search: bool = False
    ) -> Piece:
        """Encode the first events that pass filters, and skip those between them.

        Args:
            after: the position before the events.
            events: as they were read, at least one.
            match: which filters let an event pass.
            count: how many are encoded at most.
            search: read like a search.

        Raises:
            StoreUnavailable: the history cannot be read.
        """
        began = time.thread_time()
        filters: dict[int, Sequence[FeedFilter]] = {}
        seen: list[int] = []
        for event in events:
            seen.append(event.seq)
            if found := match(event):
                filters[event.seq] = found
                if len(filters) == count:
                    break
        seconds = time.thread_time() - began
        items = await self._store.read_events(list(filters), search=search) if filters else []
        began = time.thread_time()
        entries: defaultdict[FeedFilter, list[Entry]] = defaultdict(list)
        for item in items:
            outlook = self._outlook(item.record.task)
            shown = feed_event_json(item.event, item.record, item.omitted, outlook)
            entry = Entry(item.event.seq, orjson.dumps(shown))
            for wanted in filters.pop(item.event.seq):
                if wanted.q is None or wanted.q in text_of(item):
                    entries[wanted].append(entry)
        last = seen[-1]
        # what is left of `filters` was removed between the two reads
        holes = find_holes(after, [*(seq for seq in seen if seq not in filters), last + 1])
        seconds += READING * (time.thread_time() - began)
        return Piece(len(seen), last, entries, holes, seconds)

    async def rest(self, spent_s: float, wake_up: asyncio.Event, passed_s: float = 0.0) -> None:
        """Leave the event loop to others, in proportion to what was taken of it.

        Args:
            spent_s: time of the loop that was taken.
            wake_up: the event of `ChangeFeed.next` before.
            passed_s: the time since then, in all.
        """
        share = IDLE_SHARE if self._changes.next is wake_up else BUSY_SHARE
        await asyncio.sleep(max(spent_s / share - max(passed_s, spent_s), 0.0))


def _match_one(wanted: FeedFilter, event: FeedEvent) -> Sequence[FeedFilter]:
    return (wanted,) if wanted.matches(event) else ()
