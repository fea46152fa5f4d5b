"""Suno cover art: ``/suno/generate-cover``, not to be taken for the singing of ``/suno/upload-cover``.

Owns the integer ``successFlag``, the error code 200 of a success, and the repeat that is refused with the
existing id.

Source: https://docs.sunoapi.org/suno-api/get-cover-suno-details (0 to 3), …/cover-suno (a repeat: body code
400 with ``data.taskId``), …/cover-suno-callbacks; https://docs.kie.ai/suno-api/get-cover-details lists words
for the same field, spoken here with ``dialect=kie``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tracker.sandbox.families.suno import Failure, envelope, text_of
from tracker.sandbox.families.suno_derived import STAGES, SunoDerived, iso_time
from tracker.sandbox.jobs import SUCCEEDED, Job, Snapshot
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context
from tracker.sandbox.wire import Answer, Json

_FLAGS = {"pending": 0, "succeeded": 1, "working": 2, "failed": 3}
_STRANGE_FLAG = 9
_PICTURES = 2
_BROKEN = 501


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoCoverArt(SunoDerived):
    """The one route."""

    def refuse_repeat(self, body: Json, context: Context) -> Answer | None:
        """A song has one cover: the refusal of a second names the first, which can be queried."""
        earlier = self.find_earlier(body, context)
        if earlier is None:
            return None
        return envelope(400, "Cover already generated for this task", {"taskId": earlier.id})

    def source(self, job: Job, context: Context) -> Json:
        """The song."""
        del context
        return {"parentTaskId": text_of(job.request, "taskId")}

    def respond(self, snapshot: Snapshot, context: Context) -> Json:
        """``images``, a list of URLs."""
        job = snapshot.job
        cut = job.script.file == "cut"
        count = _PICTURES if snapshot.shows_outputs else 0
        return {"images": [context.files.link(job.id, Media.PNG, n, label="cover", cut=cut) for n in range(count)]}

    def announce(self, job: Job, response: Json | None) -> Json:
        """``taskId``, where most callbacks say ``task_id``."""
        return {"taskId": job.id, "images": response and response["images"]}

    def spell_time(self, epoch_s: float) -> str:
        """As ISO 8601."""
        return iso_time(epoch_s)

    def flag(self, snapshot: Snapshot) -> int | str:
        """A number; a word where kie.ai is spoken."""
        if snapshot.job.script.dialect == "kie":
            return SunoDerived.flag(self, snapshot)
        return _STRANGE_FLAG if snapshot.strange else _FLAGS[snapshot.stage.name]

    def failure(self, job: Job) -> Failure:
        """A broken cover is 501, in both places."""
        failure = SunoDerived.failure(self, job)
        if failure.message != self.failed_message:
            return failure
        return replace(failure, code=_BROKEN, callback_code=_BROKEN, callback_msg=self.failed_message)

    def describe(self, snapshot: Snapshot, context: Context) -> Json:
        """As its siblings, but a success has error code 200, and no message is an empty one."""
        data = SunoDerived.describe(self, snapshot, context)
        if snapshot.stage is SUCCEEDED:
            data["errorCode"] = 200
        return data | {"errorMessage": data["errorMessage"] or ""}


ROUTES = (
    SunoCoverArt(
        name="suno.generate-cover",
        path="/suno/generate-cover",
        query_path="/suno/query/cover",
        stages=STAGES,
        required=("callBackUrl", "taskId"),
        failed_status="GENERATE_COVER_FAILED",
        failed_message="Cover generation failed",
    ),
)
