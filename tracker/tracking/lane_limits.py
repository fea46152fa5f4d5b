"""Slots for work of lanes: bounded over all lanes and for each, shared fairly, and one of each lane's own.

Owns who is at work. Must not know what the work is, nor whether it was any use.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from tracker.domain.task import TaskId

LaneKey = tuple[str, str]
"""Account and provider."""


class Places:
    """Work under way, one piece for a task.

    Args:
        total: pieces at once, over all lanes. So many, and one more for each lane that would have none: slow upstreams
            take what there is, and must not keep a quick one waiting.
        of_lane: pieces at once of one lane.
    """

    def __init__(self, total: int, of_lane: int) -> None:
        self._total = total
        self._of_lane = of_lane
        self._works: dict[TaskId, asyncio.Task[None]] = {}
        self._taken: Counter[LaneKey] = Counter()

    def __contains__(self, task_id: TaskId) -> bool:
        """Whether a piece of work for this task is under way."""
        return task_id in self._works

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._works)

    def taken(self, lane: LaneKey) -> int:
        """How many pieces of a lane are under way."""
        return self._taken[lane]

    def free(self, lane: LaneKey, sharers: Collection[LaneKey] = (), planned: int = 0) -> int:
        """How many more places a lane may take.

        Args:
            lane: the lane.
            sharers: the lanes that want more. What the others leave is shared equally among them, so a lane with much
                to do shrinks to its share, as its work ends, when another one comes.
            planned: pieces that are about to be begun.
        """
        taken = self._taken[lane]
        free = max(0, self._total - len(self._works) - planned)
        others = sum(count for other, count in self._taken.items() if other != lane and other not in sharers)
        share = -(-(self._total - others) // len({lane, *sharers}))
        return max(min(free, share - taken, self._of_lane - taken), 0 if taken else 1)

    def start(
        self, lane: LaneKey, task_id: TaskId, work: Coroutine[Any, Any, None], ended: Callable[[], None] | None = None
    ) -> None:
        """Begin a piece of work; ``ended`` is called once its place is free again."""
        self._taken[lane] += 1
        task = asyncio.create_task(work)
        self._works[task_id] = task

        def leave(_: asyncio.Task[None]) -> None:
            del self._works[task_id]
            self._taken[lane] -= 1
            if ended is not None:
                ended()

        task.add_done_callback(leave)

    async def join(self, task_id: TaskId) -> bool:
        """Wait for the work for a task, without cutting it off; whether there was any."""
        work = self._works.get(task_id)
        if work is not None:
            await asyncio.wait({work})
        return work is not None

    async def end(self, within_s: float) -> None:
        """Let the work end, and cancel what does not."""
        works = set(self._works.values())
        if works:
            await asyncio.wait(works, timeout=within_s)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
