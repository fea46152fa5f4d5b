"""What every hook is: its description, which events it hears, what it is told, and how a run of it may end.

Owns the matching, the JSON that hooks are handed, and the delays between attempts. Must not
run anything and must not know any kind of hook.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import orjson

from tracker.domain.hook_events import PATTERNS
from tracker.domain.records import decode_fragment, iso, task_json
from tracker.domain.retry import growing_delay_s, jittered
from tracker.errors import ConfigError

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.store.values import Announcement, DeliveryJob

NAME_RULE = "a hook's name is 1 to 100 ASCII letters, digits and ._@+- and begins with a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")

RETRY_AFTER_MAX_S = 7 * 86400.0
"""A wait that a hook asks for is taken to be a week at most: one absurd header must not bury a delivery."""
BLAMELESS_MAX_S = 60.0
"""The longest wait after an attempt that the machine, not the hook, prevented."""


class Configured(Protocol):
    """The table ``[[hooks]]`` of one hook, as read; see `tracker.config.hooks.HookSpec`."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def run(self) -> tuple[str, ...] | None:
        """Program and arguments."""
        ...

    @property
    def worker(self) -> bool:
        """Whether that program stays."""
        ...

    @property
    def url(self) -> str | None:
        """An HTTP endpoint."""
        ...

    @property
    def allow_private_addresses(self) -> bool:
        """Whether that endpoint may be in a private network."""
        ...

    @property
    def plugin(self) -> str | None:
        """Name of a plug-in."""
        ...

    @property
    def notify(self) -> str | None:
        """Address of a notification."""
        ...


class Action(Protocol):
    """What a hook does: the part of its description that belongs to its kind. A frozen dataclass."""

    @property
    def kind(self) -> str:
        """Name of the kind in `tracker.hooks.kinds.registry`."""
        ...


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One hook.

    Attributes:
        name: unique among all hooks; deliveries are kept under it, and their ids (which go into URLs and HTTP
            headers) end in it: ASCII letters, digits and ``._@+-``, at most 100.
        on: event patterns, see `tracker.domain.hook_events.PATTERNS`.
        action: what it does.
        providers, routes, accounts: which tasks it hears of, by exact name; empty for all.
        labels: labels that a task must have, with these values.
        timeout_s: how long one run may take, seconds, above 0.
        max_attempts: runs until a delivery is dead, 1 or more.
        retry_first_s: wait after the first failed attempt, seconds; it doubles with each further one.
        retry_max_s: the longest wait, seconds.
        concurrency: how many runs of it go on side by side, 1 or more.

    Raises:
        ConfigError: a pattern is unknown or a number is out of range; one line per mistake.
    """

    name: str
    on: tuple[str, ...]
    action: Action
    providers: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    max_attempts: int = 12
    retry_first_s: float = 2.0
    retry_max_s: float = 3600.0
    concurrency: int = 4

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        problems = [problem for pattern in self.on if (problem := find_pattern_problem(pattern))]
        if not is_hook_name(self.name):
            problems.append(f"name: {NAME_RULE}")
        if not self.on:
            problems.append(f"on: names no event; known: {', '.join(PATTERNS)}")
        for key, value, least in (
            ("max_attempts", self.max_attempts, 1),
            ("concurrency", self.concurrency, 1),
            ("retry_first_s", self.retry_first_s, 0),
        ):
            if value < least:
                problems.append(f"{key}: {value:g} is too small; {least} or more")
        if self.timeout_s <= 0:
            problems.append(f"timeout_s: {self.timeout_s:g} is too small; above 0")
        if self.retry_max_s < self.retry_first_s:
            problems.append(f"retry_max_s: {self.retry_max_s:g} is below retry_first_s ({self.retry_first_s:g})")
        if problems:
            raise ConfigError([f"hook {self.name!r}: {problem}" for problem in problems])


class RunOutcome(Enum):
    """How one run of a hook ended."""

    SUCCEEDED = "succeeded"
    """Done; the delivery is over."""
    FAILED_FOR_GOOD = "failed_for_good"
    """The hook itself says that trying again is no use."""
    RETRY = "retry"
    """Anything else: tried again until its attempts run out."""
    GONE = "gone"
    """The hook says that it hears no more events at all: failed for good, and so is all that waits for it."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How one run of a hook ended, with what it left.

    Attributes:
        error: one line on what went wrong; None when nothing did.
        output: the tail of what it printed or answered; None when that was nothing.
        retry_after_s: how long it asks to wait, seconds; the hook as a whole when it is ``unreachable``, too.
        blameless: the machine was short of something (file descriptors, processes, memory), so that the hook
            never ran. Such an attempt is repeated soon and never makes a delivery dead: a machine short of file
            descriptors for two hours must not cost the deliveries of these two hours.
        unreachable: it says nothing about this event, but that the hook as a whole takes none now (no connection,
            no answer in time, a server error, a program that is not there). Some of them in a row and the hook is
            left alone for a while, see `tracker.hooks.health`.
    """

    outcome: RunOutcome
    error: str | None = None
    output: str | None = None
    retry_after_s: float | None = None
    blameless: bool = False
    unreachable: bool = False


class Runner(Protocol):
    """Runs the hooks of one kind."""

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Run a hook once for one delivery.

        Args:
            job: the delivery.
            payload: the JSON that the hook is told, see `encode_event`.
            spec: the hook; its action is of the runner's kind.

        Returns:
            How it ended, within ``spec.timeout_s`` and a short while for cleaning up. Whatever the hook does is
            a result, never an exception. When cancelled, the runner ends what it started and lets the
            cancellation through.
        """
        ...


@runtime_checkable
class Closes(Protocol):
    """What a runner is, too, that keeps something open between runs."""

    async def close(self) -> None:
        """End and close all of it; called once no run is under way any more."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What runners are built with.

    Attributes:
        environ: the daemon's environment; a runner hands on only what the contract lists.
        clock: the source of time.
        locate: where programs find an archived file, by its path in the archive: an absolute path, or a URL.
    """

    environ: Mapping[str, str]
    clock: Clock
    locate: Callable[[str], str] = str


def is_hook_name(name: str) -> bool:
    """Whether a hook may be called this, see `NAME_RULE`."""
    return _NAME.fullmatch(name) is not None


def find_pattern_problem(pattern: str) -> str | None:
    """What is wrong with an event pattern, naming the known ones; None when it is fine."""
    if pattern in PATTERNS:
        return None
    nearest = difflib.get_close_matches(pattern, PATTERNS, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"on: unknown event {pattern!r}{hint}; known: {', '.join(PATTERNS)}"


def covers(pattern: str, event: str) -> bool:
    """Whether an event pattern covers an event; an unknown pattern covers nothing."""
    return event in PATTERNS.get(pattern, ())


def is_for(spec: HookSpec, announcement: Announcement) -> bool:
    """Whether a hook hears of an announcement: one of its patterns and all of its filters hold."""
    return (
        any(covers(pattern, announcement.event) for pattern in spec.on)
        and (not spec.providers or announcement.provider in spec.providers)
        and (not spec.routes or announcement.route in spec.routes)
        and (not spec.accounts or announcement.account in spec.accounts)
        and all(announcement.labels.get(key) == value for key, value in spec.labels.items())
    )


def make_match(specs: Sequence[HookSpec], on_match: Callable[[str], None]) -> Callable[[Announcement], list[str]]:
    """A function that names the hooks which hear of an announcement; for `Store.fan_out`.

    Args:
        specs: the hooks, kept as they are now.
        on_match: told the name of each hook that was named; like the function itself it may be called on the
            store's thread, and again when a transaction is repeated.
    """
    kept = tuple(specs)

    def match(announcement: Announcement) -> list[str]:
        names = [spec.name for spec in kept if is_for(spec, announcement)]
        for name in names:
            on_match(name)
        return names

    return match


def event_body(job: DeliveryJob) -> dict[str, Any]:
    """What a hook is told, in its public form; one that was made up says so, with ``test``."""
    test = {"test": True} if job.is_test else {}
    return test | {
        "type": job.event,
        "seq": job.seq,
        "delivery_id": job.id,
        "at": iso(job.at),
        "task": task_json(job.record),
        "previous_status": job.previous_status,
    }


def encode_event(job: DeliveryJob) -> bytes:
    """What a hook is told, as JSON."""
    body = event_body(job)
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # lone surrogates and integers beyond 64 bits are legal JSON that an upstream may have sent
        return json.dumps(body, separators=(",", ":"), default=decode_fragment).encode()


def retry_delay_s(spec: HookSpec, attempt: int, result: RunResult, draw: float) -> float:
    """Seconds until a delivery is tried again.

    Args:
        spec: the hook, for ``retry_first_s`` and ``retry_max_s``.
        attempt: the attempt that failed, 1 or more.
        result: how it ended; its ``retry_after_s`` is never undercut (up to `RETRY_AFTER_MAX_S`).
        draw: 0 to 1; spreads the delay by ±10 %.
    """
    delay_s = growing_delay_s(attempt - 1, spec.retry_first_s, spec.retry_max_s)
    if result.blameless:
        delay_s = min(delay_s, BLAMELESS_MAX_S)
    asked_s = min(result.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    return max(jittered(delay_s, draw), asked_s)
