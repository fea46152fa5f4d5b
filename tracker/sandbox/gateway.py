"""The state that all routes of one sandbox share, and what every request needs from it.

Owns the key, the current chaos and the run counter. Must not serve anything: ``creates``, ``polls``,
``files`` and ``admin`` do.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tracker.sandbox import wire
from tracker.sandbox.callbacks import CallbackSender
from tracker.sandbox.chaos import Chaos
from tracker.sandbox.directives import Script
from tracker.sandbox.fate import Decider, decide_latency
from tracker.sandbox.journal import Journal
from tracker.sandbox.routes import Context
from tracker.sandbox.transport import pause


@dataclass(slots=True, kw_only=True)
class Gateway:
    """One sandbox's shared state.

    Attributes:
        key: The API key that opens it.
        duration_s: How long a job takes without a duration directive, seconds.
        chaos: What goes wrong, and how often; replaced, never changed.
        context: What routes may look at.
        journal: What happened.
        sender: Sends the callbacks.
        run: Counts the resets. A part of every id, so that no id comes twice from one sandbox.
        closing: Set when the sandbox stops.
    """

    key: str
    duration_s: float
    chaos: Chaos
    context: Context
    journal: Journal
    sender: CallbackSender
    run: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_latency(self, route: str, count: int) -> None:
        """Wait for the latency of the ``count``-th request of this route."""
        await pause(decide_latency(self.chaos, self.context.dice, route, count), self.closing)

    def decider(self, script: Script, route: str, nth: int) -> Decider:
        """Return what decides about the ``nth`` create of this route, under the chaos in force now."""
        return Decider(self.chaos, self.context.dice, script, route, nth)

    def retry_after(self, *key: str | int) -> str:
        """Return a Retry-After value, in seconds or as HTTP-date."""
        seconds = int(self.chaos.retry_after_s)
        if self.context.dice.hits(self.chaos.retry_after_date, *key, "retry_after_date"):
            return wire.http_date(time.time() + seconds)
        return str(seconds)

    async def reset(self, chaos: Chaos) -> None:
        """Clear jobs, files and records, and cancel pending callbacks."""
        await self.sender.drop_all()
        self.context.jobs.clear()
        self.context.files.clear()
        self.journal.clear()
        self.chaos = chaos
        self.run += 1
