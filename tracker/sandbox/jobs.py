"""Jobs: their records, and the stage of each at a given time.

Owns the life cycle. A job's stage is a pure function of its record and the clock, so polls need no timer and never
disagree. Must not know any family's status words: a stage has a name, and the family maps it to a status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tracker.sandbox.directives import Script
from tracker.sandbox.fate import JobFate
from tracker.sandbox.wire import Json


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a job's life.

    Attributes:
        name: What the family calls it.
        at: When it begins, as a part of the job's duration, 0..1.
        announced: Whether families with callbacks send one when it begins.
        needs_output: Whether it shows a part of the output; jobs that will fail skip it.
    """

    name: str
    at: float
    announced: bool = False
    needs_output: bool = False


SUCCEEDED = Stage("succeeded", 1.0, announced=True)
FAILED = Stage("failed", 1.0, announced=True)


@dataclass(slots=True)
class Job:
    """One accepted, paid job.

    Attributes:
        id: The task id that the client was given.
        route: The name of the route that made it.
        query_path: The path template of the one route that can query it.
        nth: The ordinal number of its create request on its route, from 1.
        request: The create request's body.
        prompt: Its prompt, directives included.
        script: The directives of its prompt.
        fate: How it goes.
        stages: Its stages before the final one, the first at 0.
        born_s: When it was made, on the monotonic clock, seconds.
        created_at_s: The same time, seconds since the epoch.
        callback_url: Where its callbacks go, or None.
        polls: How often it was asked for.
    """

    id: str
    route: str
    query_path: str
    nth: int
    request: Json
    prompt: str
    script: Script
    fate: JobFate
    stages: tuple[Stage, ...]
    born_s: float
    created_at_s: float
    callback_url: str | None = None
    polls: int = 0

    def timeline(self) -> tuple[Stage, ...]:
        """The stages this job goes through, the final one last unless it never finishes."""
        failing = self.fate.fault is not None
        steps = tuple(stage for stage in self.stages if not (failing and stage.needs_output))
        if self.fate.holds:
            return steps
        return (*steps, FAILED if failing else SUCCEEDED)

    def begins_after_s(self, stage: Stage) -> float:
        """How long after the create this stage begins, seconds."""
        return stage.at * self.fate.duration_s


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job at one stage, as the families describe it.

    Attributes:
        job: The job.
        stage: The stage it is in.
        updated_at_s: When that stage began, seconds since the epoch.
        shows_outputs: Whether finished outputs have URLs by now.
        progress: How much of the job's time has passed, percent; 100 does not mean that it has finished.
    """

    job: Job
    stage: Stage
    updated_at_s: float
    shows_outputs: bool
    progress: int = 0

    @property
    def strange(self) -> bool:
        """Whether an undocumented status is to be shown."""
        return self.job.fate.strange and self.stage.name not in {"succeeded", "failed"} and self.stage.at > 0


def snapshot_at(job: Job, elapsed_s: float) -> Snapshot:
    """Return the job at this time after its creation, seconds."""
    stage = job.timeline()[0]
    for later in job.timeline():
        if job.begins_after_s(later) <= elapsed_s:
            stage = later
    return snapshot_in(job, stage, elapsed_s)


def snapshot_in(job: Job, stage: Stage, elapsed_s: float) -> Snapshot:
    """Return the job in this stage, at this time after its creation, seconds."""
    fate = job.fate
    late = fate.url_late and elapsed_s < 2 * fate.duration_s
    shows = stage is SUCCEEDED or stage.needs_output
    passed = elapsed_s / fate.duration_s if fate.duration_s else 1.0
    return Snapshot(
        job,
        stage,
        job.created_at_s + job.begins_after_s(stage),
        shows_outputs=shows and not (fate.url_missing or late),
        progress=round(100 * min(max(passed, stage.at), 1.0)),
    )


@dataclass(slots=True)
class JobTable:
    """Every job of this run, by id."""

    _jobs: dict[str, Job] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        """Add a new job."""
        self._jobs[job.id] = job

    def find(self, job_id: str) -> Job | None:
        """Return the job with this id, of any route."""
        return self._jobs.get(job_id)

    def remove(self, job_id: str) -> None:
        """Remove one job."""
        self._jobs.pop(job_id, None)

    def list_jobs(self) -> Iterator[Job]:
        """Return all jobs, oldest first."""
        return iter(self._jobs.values())

    def clear(self) -> None:
        """Remove every job."""
        self._jobs.clear()
