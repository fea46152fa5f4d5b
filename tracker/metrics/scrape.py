"""One scrape: reads the gauges of the store at most once a second, names everything, and encodes it.

The work of a scrape does not depend on the number of tasks: the store counts by triggers and reads bounded parts of its
indexes. The event loop copies numbers; the text is made on a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from tracker.errors import StoreError
from tracker.logs import get_logger
from tracker.metrics import of_process, of_results, of_tasks, of_upstreams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from tracker.metrics.sources import Sources
    from tracker.store.tallies import StoreGauges

log = get_logger(__name__)

READ_EVERY_S: Final = 1.0
"""Several scrapers share one read of the store."""
READ_WITHIN_S: Final = 5.0
"""After it, the scrape goes without the gauges of the store: Prometheus gives up after 10 s by default."""


class _Fixed(Collector):
    """Families that were made already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


class Metrics:
    """Answers scrapes.

    Args:
        sources: what is counted.
        read_every_s: for how long a read of the store serves.
    """

    def __init__(self, sources: Sources, read_every_s: float = READ_EVERY_S) -> None:
        self._sources = sources
        self._read_every_s = read_every_s
        self._process = ProcessCollector(registry=None)
        self._one_at_a_time = asyncio.Lock()
        self._gauges: StoreGauges | None = None
        self._free_bytes: Mapping[str, int] = {}
        self._read_at = float("-inf")

    async def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text, and its media type.

        Without the gauges of the store if it cannot be read now.

        Args:
            accept: the value of the ``Accept`` header; OpenMetrics is used where it is named.
        """
        await self._read()
        encode, media_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Fixed(self._collect()))
        registry.register(self._process)
        return await asyncio.to_thread(encode, registry), media_type

    def _collect(self) -> Iterator[Metric]:
        sources, gauges, now = self._sources, self._gauges, self._sources.clock.now()
        yield from of_process.collect(sources, now, self._free_bytes)
        yield from of_tasks.collect(sources)
        yield from of_upstreams.collect(sources, now)
        yield from of_results.collect(sources)
        if gauges is not None:
            yield from of_tasks.collect_stored(sources, gauges, now)
            yield from of_results.collect_stored(gauges)
            yield from of_process.collect_stored(gauges)

    async def _read(self) -> None:
        """Read what takes time, unless it was read a moment ago."""
        async with self._one_at_a_time:
            now = self._sources.clock.monotonic()
            if now - self._read_at < self._read_every_s:
                return
            self._gauges = None
            try:
                async with asyncio.timeout(READ_WITHIN_S):
                    self._free_bytes = await asyncio.to_thread(self._sources.process.free_bytes)
                    self._gauges = await self._sources.store.measure()
            except (StoreError, TimeoutError) as error:
                log.warning("metrics.failed", step="read", error=str(error) or f"took over {READ_WITHIN_S:g} s")
            self._read_at = now
