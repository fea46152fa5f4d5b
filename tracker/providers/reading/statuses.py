"""What the statuses of upstreams mean, in any spelling, and what a reading becomes by them.

Owns the statuses that are documented somewhere, and the rule that an unknown one is never a failure: the task is still
running. A provider's own table comes first. Must not know in which field a status is.

**Source** (all read 2026-11): https://developers.openai.com/api/reference/resources/videos (OpenAI);
https://www.volcengine.com/docs/82379/1521309 (Volcengine Ark); https://docs.newapi.pro/api/query-video and the task
statuses of https://github.com/QuantumNous/new-api (``NOT_START`` to ``FAILURE``); https://docs.dev.runwayml.com/api
(Runway); https://docs.lumalabs.ai/reference/getgeneration (Luma); https://platform.vidu.com/docs (Vidu);
https://platform.minimaxi.com/document/video_generation (MiniMax);
https://replicate.com/docs/topics/predictions/lifecycle (Replicate); https://docs.fal.ai/model-endpoints/queue (fal);
https://docs.bfl.ai/quick_start/generating_images (``Ready``, ``Request Moderated``);
https://docs.kie.ai/market/common/get-task-detail (``waiting``, ``generating``, ``success``, ``fail``);
https://novita.ai/docs/api-reference/model-apis-task-result (``TASK_STATUS_SUCCEED``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from msgspec.structs import replace

from tracker.domain.observation import Reading, Trouble
from tracker.domain.task import Status

_PENDING = (
    "queued queueing queuing in_queue enqueued pending created submitted submitting not_start not_started waiting wait"
    " scheduled accepted received preparing prepare starting throttled suspended init initialized initializing"
)
_RUNNING = (
    "in_progress inprogress in_process processing process running generating generate dreaming rendering started"
    " working active executing"
)
_SUCCEEDED = "completed complete succeeded succeed success successful successed finished finish done ready"
_FAILED = (
    "failed fail failure error errored cancelled canceled cancel expired rejected aborted timed_out"
    " timeout timedout time_out terminated request_moderated content_moderated"
)
KNOWN: Mapping[str, Status] = {
    name: status
    for names, status in (
        (_PENDING, Status.PENDING),
        (_RUNNING, Status.RUNNING),
        (_SUCCEEDED, Status.SUCCEEDED),
        (_FAILED, Status.FAILED),
    )
    for name in names.split()
}
"""By status as `spelled` writes it."""
_BREAK = re.compile(r"(?<=[a-z])(?=[A-Z])|[\s_-]+")
_PREFIX = re.compile(r"(?:task_status|job_state|status|state)_(?=[a-z])")


@lru_cache(maxsize=256)
def spelled(said: str) -> str:
    """A status in one spelling: lower case, ``_`` between its parts, without a prefix like ``task_status_``."""
    return _PREFIX.sub("", _BREAK.sub("_", said.strip()).lower(), count=1)


def find_status(said: str, own: Mapping[str, Status] = KNOWN) -> Status | None:
    """What a status means; None for an unknown one.

    Args:
        said: as the upstream wrote it.
        own: the provider's own statuses, by their one spelling; they come first.
    """
    status = own.get(said)
    if status is None:
        same = spelled(said)
        status = own.get(same) or KNOWN.get(same)
    return status


Complete = Callable[[Reading], Reading]
"""Adds to a reading what its status calls for."""


def _as_it_is(reading: Reading) -> Reading:
    return reading


def read_by_status(
    reading: Reading,
    find: Callable[[str], Status | None],
    *,
    succeeded: Complete,
    failed: Complete,
    unfinished: Complete = _as_it_is,
    missing: str = "no status",
) -> Reading:
    """Complete a reading by what its upstream status means; an unknown one is never a failure.

    Args:
        reading: the task's id, and its ``upstream_status``.
        find: the meaning of a status.
        succeeded: adds the outputs.
        failed: makes a failure of it, with its error.
        unfinished: adds progress to a task that is pending or running.
        missing: the detail where there is no status.
    """
    if reading.upstream_status is None:
        return replace(reading, trouble=Trouble.UNREADABLE, detail=missing)
    status = find(reading.upstream_status)
    match status:
        case None:
            return replace(reading, trouble=Trouble.UNKNOWN_STATUS)
        case Status.SUCCEEDED:
            return succeeded(replace(reading, status=status))
        case Status.FAILED:
            return failed(reading)
        case _:
            return unfinished(replace(reading, status=status))
