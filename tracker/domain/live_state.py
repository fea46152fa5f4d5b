"""The present state of the daemon's parts, for people who look at it. Must not read anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple


class CircuitLine(NamedTuple):
    """The circuit of a host, or of a provider behind it.

    Attributes:
        provider: "" for the host itself.
        state: as of `tracker.domain.circuit.CircuitState`.
        failures: in a row.
        since: when it opened; None while closed.
        retry_in_s: seconds until the next probe; None unless open.
    """

    host: str
    provider: str
    state: str
    failures: int
    since: datetime | None
    retry_in_s: float | None


class AccountLoad(NamedTuple):
    """Requests of an account.

    Attributes:
        rate: most requests per second.
        sent: within about the last second.
        waiting: for their turn.
        paused_until: the end of a pause that the upstream asked for; None without one.
    """

    name: str
    base_url: str
    rate: float
    sent: int
    waiting: int
    paused_until: datetime | None
    max_in_flight: int | None
    has_key: bool
    alarm: str | None


class Disk(NamedTuple):
    """The file system of a directory, in bytes."""

    directory: str
    total: int
    free: int


class LiveState(NamedTuple):
    """The state of the parts; what is counted begins with the process.

    Attributes:
        started_at: of the process.
        callback_at: provider -> when its last callback with a token was stored.
        duplicates: provider -> callbacks that brought nothing new.
        stale: provider -> callbacks that came after the end, or after a later state.
        circuits: of every host in use, and every open one.
        lag_s: the most by which the event loop was late within half a minute.
        loop_ages: loop or job -> seconds since it last succeeded.
        writes_waiting, writes_most: writes that wait for the disk, and how many may.
        commit_s: the mean of a commit; None before the first.
    """

    started_at: datetime
    callback_at: Mapping[str, datetime]
    duplicates: Mapping[str, int]
    stale: Mapping[str, int]
    circuits: Sequence[CircuitLine]
    accounts: Sequence[AccountLoad]
    disks: Sequence[Disk]
    lag_s: float
    loop_ages: Mapping[str, float]
    writes_waiting: int
    writes_most: int
    commit_s: float | None


class ShownConfig(NamedTuple):
    """The configuration in force, without any secret.

    Attributes:
        file: where it was read; None: defaults and the environment.
        values: in the shape of the file.
        secrets: key -> whether its secret is set.
    """

    file: str | None
    values: Mapping[str, object]
    secrets: Mapping[str, bool]
