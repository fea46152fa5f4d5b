"""The history of all tasks as a feed: any number of readers, one follower of the store.

The follower reads what is new, matches each event with every filter in use and encodes it once; readers with equal
filters get the same chunk. Chunks stay in a small window for readers that are a little behind. A reader that is further
behind reads pages of the store, from its own position, until it has caught up. So no reader has a queue: a slow one
costs no memory and misses nothing.

The order is that of commits: the store has one writer at a time, which numbers events inside its transaction. So
whichever process commits them, no event appears before one that can be read already.

The feed shares the event loop with callbacks. While those come it takes a bounded share of the loop, and may fall
behind; afterwards it catches up.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tracker.domain.durations import NO_OUTLOOK
from tracker.errors import PositionUnknown, StoreError, TooManyReaders
from tracker.logs import get_logger
from tracker.tracking.changes import GATHER_S, PAGE, RECHECK_S, ChangeFeed
from tracker.tracking.feed_chunks import Chunk, Window
from tracker.tracking.feed_pages import FeedPages

if TYPE_CHECKING:
    from tracker.domain.durations import Outlook
    from tracker.domain.history import FeedEvent
    from tracker.domain.task import Task, TaskId
    from tracker.store.protocol import Store
    from tracker.tracking.feed_filters import FeedFilter

log = get_logger(__name__)

CHUNK_BYTES: Final = 64 * 1024
"""About what a reader gets at once: much more would delay others, and fill the buffers of slow clients."""
PAGE_BYTES: Final = 1024 * 1024
"""The same of a page that a client asks for."""
TURNS: Final = 2
"""Pages of single readers that are read at the same time, and as many that clients ask for."""
WAKE_S: Final = 15.0
"""A reader returns at least that often."""
MAX_READERS: Final = 1000


class Reader:
    """One reader of the feed; made by `EventFeed.open`.

    Attributes:
        feed: of which it is.
        window: holds what is recent.
        position: it has had everything up to here.
    """

    def __init__(self, feed: EventFeed, window: Window, position: int, is_gone: Callable[[], bool]) -> None:
        self.feed = feed
        self.window = window
        self.position = position
        self._is_gone = is_gone
        self._wake_up: asyncio.Future[None] | None = None
        self._take: Callable[[Chunk], bool] | None = None
        self._is_ended = False

    async def next(self, take: Callable[[Chunk], bool] | None = None) -> Chunk | None:
        """What comes next: an empty chunk after `WAKE_S`, or while the store cannot be read; None at the end.

        The end comes when the feed is closed, or the client is gone.

        Args:
            take: gets each chunk while it waits, at once, as long as it returns True: that costs less than to wake
                a reader. For a chunk that it has not taken, this method returns.
        """
        window = self.window
        if self.position >= window.since and window.find(self.position) is None and not self.is_over():
            self._wake_up, self._take = asyncio.get_running_loop().create_future(), take
            try:
                await self._wake_up
            finally:
                self._wake_up = self._take = None
        if self.is_over():
            return None
        if self.position < window.since:
            chunk = await self.feed.read_on(window.wanted, self.position)
        elif (found := window.find(self.position)) is not None:
            chunk = found
        else:
            chunk = Chunk(self.position, max(self.position, self.feed.position))
        self.position = chunk.last
        return None if self.is_over() else chunk

    def wake(self, chunk: Chunk | None = None) -> None:
        """Wake it, unless it takes the new chunk."""
        if self._wake_up is None or self._wake_up.done():
            return
        if chunk is not None and self._take is not None and self.position <= chunk.after and self._take(chunk):
            self.position = chunk.last
        else:
            self._wake_up.set_result(None)

    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self._is_ended or self.feed.closing.done() or self._is_gone()

    def end(self) -> None:
        """Have it end."""
        self._is_ended = True
        self.wake()


class EventFeed:
    """The feed.

    Args:
        store: its history is read.
        max_readers: how many readers there may be at once.
        outlook: the future of a task.

    Attributes:
        changes: wakes the follower, and those who wait for one task.
        position: how far the follower has read.
        readers: how many there are.
    """

    def __init__(
        self,
        store: Store,
        max_readers: int = MAX_READERS,
        outlook: Callable[[Task], Outlook] = lambda _: NO_OUTLOOK,
    ) -> None:
        self._store = store
        self._max_readers = max_readers
        self._windows: dict[FeedFilter, Window] = {}
        self._of_task: defaultdict[TaskId | None, list[FeedFilter]] = defaultdict(list)
        """The filters in use, by the task that they are about."""
        self._follower: asyncio.Task[None] | None = None
        self._listed: Sequence[FeedEvent] = ()
        """What the follower has listed after its position."""
        self._turns, self._page_turns = asyncio.Semaphore(TURNS), asyncio.Semaphore(TURNS)
        self._closing: asyncio.Future[None] | None = None
        self.changes = ChangeFeed(store)
        self._pages = FeedPages(store, self.changes, outlook)
        self.position = 0
        self.readers = 0

    # -- readers -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(
        self, wanted: FeedFilter, after: int | None, is_gone: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[Reader]:
        """A new reader.

        Args:
            wanted: what it gets.
            after: begin after this position; None: now.
            is_gone: whether its client is gone; asked about once a second.

        Raises:
            TooManyReaders: there are as many as there may be.
            PositionUnknown: ``after`` is in the future.
            StoreUnavailable: the history cannot be read.
        """
        if self.readers >= self._max_readers:
            raise TooManyReaders(f"{self.readers} are open, which is the limit")
        self.readers += 1
        try:
            newest = await self._check(after)
            reader = Reader(self, self._join(wanted, newest), newest if after is None else after, is_gone)
            reader.window.readers.add(reader)
            try:
                yield reader
            finally:
                self._leave(reader)
        finally:
            self.readers -= 1

    async def read(self, wanted: FeedFilter, after: int, limit: int) -> Chunk:
        """The next events after a position: at most ``limit``, and fewer if they are large or hard to find.

        Reading on after ``last`` of the chunk misses none.

        Raises:
            PositionUnknown: ``after`` is in the future.
            StoreUnavailable: the history cannot be read.
        """
        await self._check(after)
        async with self._page_turns:
            return await self._pages.read(wanted, after, limit, PAGE_BYTES)

    async def read_on(self, wanted: FeedFilter, after: int) -> Chunk:
        """A page for a reader that is behind; an empty one if the store cannot be read."""
        async with self._turns:
            try:
                if self.closing.done():  # many may be waiting for their turn: a stop does not
                    return Chunk(after, after)
                return await self._pages.read(wanted, after, PAGE, CHUNK_BYTES)
            except StoreError as error:
                log.warning("feed.failed", step="read", error=str(error))
                await asyncio.sleep(RECHECK_S)
                return Chunk(after, after)

    @property
    def closing(self) -> asyncio.Future[None]:
        """Done once the feed is closed."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
        return self._closing

    async def close(self) -> None:
        """End every reader."""
        if not self.closing.done():
            self.closing.set_result(None)
        self._wake_all()

    async def _check(self, after: int | None) -> int:
        newest = await self._store.last_seq()
        if after is not None and after > newest:
            raise PositionUnknown(after, newest)
        return newest

    def _join(self, wanted: FeedFilter, newest: int) -> Window:
        if self._follower is None:
            self.position, self._listed = newest, ()
            self._follower = asyncio.create_task(self._follow(), name="event feed")
            self._follower.add_done_callback(self._note_end)
        window = self._windows.get(wanted)
        if window is None:
            window = self._windows[wanted] = Window(wanted, self.position)
            self._of_task[wanted.task].append(wanted)
        return window

    def _leave(self, reader: Reader) -> None:
        window = reader.window
        window.readers.remove(reader)
        if not window.readers and self._windows.get(window.wanted) is window:
            del self._windows[window.wanted]
            about_task = self._of_task[window.wanted.task]
            about_task.remove(window.wanted)
            if not about_task:
                del self._of_task[window.wanted.task]
        if not self._windows and self._follower is not None:
            self._follower.cancel()
            self._follower = None

    def _wake_all(self) -> None:
        for window in self._windows.values():
            window.wake()

    def _note_end(self, follower: asyncio.Task[None]) -> None:
        """After an error of the program itself, end the readers instead of leaving them without events."""
        if follower.cancelled() or (error := follower.exception()) is None:
            return
        log.error("feed.failed", step="follow", exc_info=error)
        self._follower = None
        for window in self._windows.values():
            window.end()
        self._windows.clear()
        self._of_task.clear()

    # -- the follower --------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read the history on, as long as there are readers."""
        loop = asyncio.get_running_loop()
        wake_at = loop.time() + WAKE_S
        while True:
            began, wake_up = loop.time(), self.changes.next
            try:
                is_all, spent_s = await self._step()
            except StoreError as error:
                log.warning("feed.failed", step="follow", error=str(error))
                is_all, spent_s = True, 0.0
            for reader in [one for window in self._windows.values() for one in window.readers if one.is_over()]:
                reader.wake()
            if loop.time() >= wake_at:
                wake_at = loop.time() + WAKE_S
                self._wake_all()
            await asyncio.sleep(GATHER_S)  # readers write meanwhile, and commits gather
            await self._pages.rest(spent_s, wake_up, loop.time() - began)
            if is_all:
                await self.changes.wait(wake_up)

    async def _step(self) -> tuple[bool, float]:
        """Read what is new, up to the size of a chunk; whether that was all, and the time of the event loop it took."""
        windows = list(self._windows.values())
        events, is_end = self._listed, False
        if not events:
            events = await self._store.list_events_after(self.position, PAGE)
            is_end = len(events) < PAGE
        chunks: dict[FeedFilter, Chunk] = {}
        last, size, spent_s = self.position, 0, 0.0
        while events and size < CHUNK_BYTES:
            piece = await self._pages.encode(last, events, self._match)
            spent_s += piece.seconds
            for wanted in (window.wanted for window in windows) if piece.holes else piece.entries:
                chunk = chunks.setdefault(wanted, Chunk(self.position, last))
                chunk.extend(piece.last, piece.parts(wanted))
            events = events[piece.events :]
            last = piece.last
            size += piece.size
        self._listed = events
        if last > self.position:
            published_at = time.thread_time()
            self._publish(last, chunks, windows)
            await asyncio.sleep(0)  # the loop (uvloop) sends only now; what else it does meanwhile counts, too
            spent_s += time.thread_time() - published_at
        return is_end and not events, spent_s

    def _publish(self, last: int, chunks: dict[FeedFilter, Chunk], windows: Sequence[Window]) -> None:
        """Let the readers have what was read. The readers of filters that came meanwhile read it from the store."""
        self.position = last
        known = set(map(id, windows))
        for wanted, window in self._windows.items():
            if id(window) not in known:
                window.restart(last)
            elif (chunk := chunks.get(wanted)) is not None:
                chunk.last = last
                window.add(chunk)

    def _match(self, event: FeedEvent) -> list[FeedFilter]:
        candidates = [*self._of_task.get(event.task_id, ()), *self._of_task.get(None, ())]
        return [wanted for wanted in candidates if wanted.matches(event)]
