"""What status words mean, whoever of the makers behind a gateway says them, in any spelling.

Owns the words that are documented somewhere. A family's own table comes first; a word that is in neither is "still
running". It must not know where a status stands.

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
from collections.abc import Mapping
from functools import lru_cache

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
WORDS: Mapping[str, Status] = {
    word: status
    for words, status in (
        (_PENDING, Status.PENDING),
        (_RUNNING, Status.RUNNING),
        (_SUCCEEDED, Status.SUCCEEDED),
        (_FAILED, Status.FAILED),
    )
    for word in words.split()
}
"""By word as `spelled` writes it."""
_BREAK = re.compile(r"(?<=[a-z])(?=[A-Z])|[\s_-]+")
_PREFIX = re.compile(r"(?:task_status|job_state|status|state)_(?=[a-z])")


@lru_cache(maxsize=256)
def spelled(word: str) -> str:
    """A status word in one spelling: lower case, ``_`` between its parts, without a prefix that says only "status"."""
    return _PREFIX.sub("", _BREAK.sub("_", word.strip()).lower(), count=1)


def find_status(word: str, own: Mapping[str, Status] = WORDS) -> Status | None:
    """What a status word means; None for an unknown one.

    Args:
        word: as the upstream wrote it.
        own: the family's own words, by their one spelling; they come first.
    """
    status = own.get(word)
    if status is None:
        same = spelled(word)
        status = own.get(same) or WORDS.get(same)
    return status
