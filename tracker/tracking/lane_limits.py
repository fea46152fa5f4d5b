"""Slots for the work of lanes: limited in total and per lane, shared fairly, with at least one slot for each lane.

Owns which tasks have work under way. Must not know what the work is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from tracker.domain.task import TaskId
    from tracker.store.values import Lane


class LaneSlots:
    """Work under way, at most one per task.

    Args:
        total: slots over all lanes. A lane without work under way gets one even when all are taken: slow upstreams
            must not keep a quick one waiting.
        per_lane: slots of one lane.
    """

    def __init__(self, total: int, per_lane: int) -> None:
        self._total = total
        self._per_lane = per_lane
        self._works: dict[TaskId, asyncio.Task[None]] = {}
        self._taken: Counter[Lane] = Counter()

    def __contains__(self, task_id: TaskId) -> bool:
        """Whether work for this task is under way."""
        return task_id in self._works

    def __len__(self) -> int:
        """How many slots are taken."""
        return len(self._works)

    def taken(self, lane: Lane) -> int:
        """How many slots a lane has taken."""
        return self._taken[lane]

    def free(self, lane: Lane, sharers: Collection[Lane] = (), planned: int = 0) -> int:
        """How many more slots a lane may take.

        Args:
            lane: the lane.
            sharers: the lanes that want more. They share equally what the others leave, so a lane with much to do
                shrinks to its share, as its work ends, when another one comes.
            planned: slots that are about to be taken.
        """
        taken = self._taken[lane]
        free = max(0, self._total - len(self._works) - planned)
        others = sum(count for other, count in self._taken.items() if other != lane and other not in sharers)
        share = -(-(self._total - others) // len({lane, *sharers}))
        return max(min(free, share - taken, self._per_lane - taken), 0 if taken else 1)

    def start(
        self, lane: Lane, task_id: TaskId, work: Coroutine[Any, Any, None], ended: Callable[[], None] | None = None
    ) -> None:
        """Start work in a slot; ``ended`` is called once the slot is free again."""
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
        """Wait for the work for a task, without cancelling it; False when there is none."""
        work = self._works.get(task_id)
        if work is not None:
            await asyncio.wait({work})
        return work is not None

    async def end(self, within_s: float) -> None:
        """Let the work end, and cancel what takes longer."""
        works = set(self._works.values())
        if works:
            await asyncio.wait(works, timeout=within_s)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
