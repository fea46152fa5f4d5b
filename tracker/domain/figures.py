"""What the upstream reports about a job in addition to its state and outputs: when it ended.

Owns what of it is plausible. Must not know where a reply has it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

CLOCK_SLACK = timedelta(minutes=5)
"""How far an upstream's clock may differ from this one. A wrong time zone differs by more."""


def plausible_end(reported: datetime | None, submitted_at: datetime | None, now: datetime) -> datetime | None:
    """When a job ended, as the upstream reports it; None if that is not plausible.

    Args:
        reported: the upstream's time.
        submitted_at: the job did not end before; None for one that was created elsewhere.
        now: it did not end after that.
    """
    if reported is None or reported > now + CLOCK_SLACK:
        return None
    return None if submitted_at is not None and reported < submitted_at - CLOCK_SLACK else reported
