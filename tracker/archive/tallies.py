"""Counts of the archive's attempts in this process. Must not archive anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracker.domain.archives import ArchiveState
from tracker.domain.histograms import Histograms

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.store.values import ArchiveJob, ArchiveResult

MARGIN_BOUNDS_S: Final = (0.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259200.0, 604800.0)
RETRIED: Final = "retried"


@dataclass(slots=True)
class ArchiveTallies:
    """What attempts came to.

    Attributes:
        attempts: by outcome: ``stored``, ``dead`` or `RETRIED`.
        stored_bytes: in stored files.
        margins: provider -> seconds from the storing of a file to the expiry of its URL, where known; 0 after it.
        on_attempt: called with each attempt whose result is recorded, its result, and when it began and ended.
    """

    attempts: Counter[str] = field(default_factory=Counter)
    stored_bytes: int = 0
    margins: Histograms[str] = field(default_factory=lambda: Histograms(MARGIN_BOUNDS_S))
    on_attempt: Callable[[ArchiveJob, ArchiveResult, datetime, datetime], None] | None = None

    def note(self, job: ArchiveJob, result: ArchiveResult, began: datetime, now: datetime) -> None:
        """Count an attempt whose result is recorded."""
        self.attempts[RETRIED if result.state is ArchiveState.PENDING else result.state.value] += 1
        if self.on_attempt is not None:
            self.on_attempt(job, result, began, now)
        if result.file is None:
            return
        self.stored_bytes += result.file.bytes
        expires_at = result.expires_at or job.expires_at
        if expires_at is not None:
            self.margins[job.task.provider].observe(max((expires_at - now).total_seconds(), 0.0))
