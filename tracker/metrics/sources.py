"""What the metrics are read from; the composition root fills it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tracker.archive.archiver import Archiver
    from tracker.clock import Clock
    from tracker.domain.alarms import Alarm
    from tracker.domain.histograms import Histogram
    from tracker.hooks.dispatcher import Dispatcher
    from tracker.providers.registry import Registry
    from tracker.store.protocol import Store
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.tracking.create_calls import CreateCalls
    from tracker.tracking.status_calls import StatusCalls
    from tracker.tracking.tallies import TaskTallies
    from tracker.upstream.breaker import Breakers
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.limits import RateLimits


class HttpCounts(Protocol):
    """What the server counts, see `tracker.server.tallies.HttpTallies`."""

    @property
    def requests(self) -> Mapping[tuple[str, str, int], int]:
        """By route, method and status."""
        ...

    @property
    def durations(self) -> Mapping[str, Histogram]:
        """Route -> seconds of each request."""
        ...

    @property
    def callbacks(self) -> Mapping[tuple[str, int], int]:
        """By provider and status."""
        ...

    @property
    def stream_clients(self) -> int:
        """Streams that are open now."""
        ...


class ProcessState(Protocol):
    """The state of the process."""

    @property
    def lag(self) -> Histogram:
        """Seconds by which the event loop was late, once a second."""
        ...

    def loop_ages(self) -> Mapping[str, float]:
        """Loop -> seconds since it last succeeded."""
        ...

    def free_bytes(self) -> Mapping[str, int]:
        """Directory -> free bytes of its file system. It may block."""
        ...

    @property
    def is_reload_successful(self) -> bool:
        """Whether the last reload applied its configuration; True before the first."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts that count.

    Attributes:
        accounts: names of the configured accounts.
        accounts_refused: why upstreams refuse accounts.
        alarms: those that are raised now.
    """

    store: Store
    clock: Clock
    accounts: Collection[str]
    registry: Registry
    tasks: TaskTallies
    creates: CreateCalls
    polls: StatusCalls
    client: UpstreamClient
    breakers: Breakers
    limits: RateLimits
    accounts_refused: AccountAlarms
    alarms: Callable[[], Sequence[Alarm]]
    hooks: Dispatcher
    archive: Archiver
    http: HttpCounts
    process: ProcessState
