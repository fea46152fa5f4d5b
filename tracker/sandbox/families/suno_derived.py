"""What the Suno routes share that make something from a finished song: stems, WAV, MP4, cover art.

Owns the query answer with ``successFlag`` and the one callback at the end. Two ids are in play: the song's
in the request, the job's own in the answer. Must not know what is made.

Source: https://anyint.ai/docs/api-reference/ai-music (routes);
https://docs.sunoapi.org/suno-api/get-vocal-separation-details, …/get-wav-conversion-details,
…/get-music-video-details, …/get-cover-suno-details (query answers) and the sibling ``…-callbacks`` pages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.suno import STRANGE, Failure, SunoRoute, envelope, find_missing, text_of, write_notice
from tracker.sandbox.jobs import SUCCEEDED, Job, Snapshot, Stage
from tracker.sandbox.routes import Context, Notice
from tracker.sandbox.wire import Answer, Call, Json

STAGES = (Stage("pending", 0.0), Stage("working", 0.3))
"""The second stage shows nothing new, but for cover art."""


def epoch_ms(epoch_s: float) -> int:
    """Spell a time as milliseconds since the epoch."""
    return round(epoch_s * 1000)


def iso_time(epoch_s: float) -> str:
    """Spell a time as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoDerived(SunoRoute, ABC):
    """A route that makes something from a song.

    Attributes:
        required: Text fields that must not be empty.
        failed_status: What a broken job shows.
        failed_message: And its reason.
        finished_msg: ``msg`` of the callback that announces the result.
    """

    required: tuple[str, ...] = ("callBackUrl", "taskId", "audioId")
    failed_status: str
    failed_message: str
    finished_msg: str = "success"

    @abstractmethod
    def source(self, job: Job, context: Context) -> Json:
        """Return the fields of the query answer that name what the job was made from."""

    @abstractmethod
    def respond(self, snapshot: Snapshot, context: Context) -> Json:
        """Return ``response`` of a finished job; its URLs are null while outputs are not shown."""

    @abstractmethod
    def announce(self, job: Job, response: Json | None) -> Json:
        """Return ``data`` of the callback; without a response the job has failed."""

    @abstractmethod
    def spell_time(self, epoch_s: float) -> int | str:
        """Spell a time, given in seconds since the epoch."""

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Refuse missing fields with body code 400, and what the family refuses besides."""
        mistake = find_missing(call.body, self.required)
        return self.refuse_repeat(call.body, context) if mistake is None else envelope(*mistake)

    def refuse_repeat(self, body: Json, context: Context) -> Answer | None:
        """Return the refusal of what was asked for before; by default it is simply made again."""
        del body, context
        return None

    def find_earlier(self, body: Json, context: Context) -> Job | None:
        """Return a job that this route made from the same song, unless it is bound to fail."""
        for job in context.jobs.list_jobs():
            same = all(text_of(job.request, name) == text_of(body, name) for name in ("taskId", "audioId"))
            if job.route == self.name and same and job.fate.fault is None:
                return job
        return None

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``data.successFlag`` says how it stands; there is no ``data.status``."""
        del call
        return envelope(200, "success", self.describe(snapshot, context))

    def describe(self, snapshot: Snapshot, context: Context) -> Json:
        """Return ``data`` of the query answer."""
        job = snapshot.job
        data: Json = {
            "taskId": job.id,
            **self.source(job, context),
            "callbackUrl": text_of(job.request, "callBackUrl"),
            "completeTime": None,
            "response": None,
            "successFlag": self.flag(snapshot),
            "createTime": self.spell_time(job.created_at_s),
            "errorCode": None,
            "errorMessage": None,
        }
        if snapshot.stage.name == "failed":
            failure = self.failure(job)
            data |= {"errorCode": failure.code, "errorMessage": failure.message}
        if snapshot.stage is SUCCEEDED:
            data["response"] = self.respond(snapshot, context)
            if data["successFlag"] != "CALLBACK_EXCEPTION":
                data["completeTime"] = self.spell_time(snapshot.updated_at_s)
        return data

    def notice(self, snapshot: Snapshot, context: Context) -> Notice | None:
        """One callback at the end, without ``callbackType``; always in the upstream's wrapper."""
        job = snapshot.job
        if snapshot.stage is SUCCEEDED:
            data = self.announce(job, self.respond(snapshot, context))
            return write_notice("complete", {"code": 200, "msg": self.finished_msg, "data": data}, job, context)
        failure = self.failure(job)
        data = self.announce(job, None)
        payload: Json = {"code": failure.callback_code, "msg": failure.callback_msg, "data": data}
        return write_notice("error", payload, job, context)

    def flag(self, snapshot: Snapshot) -> int | str:
        """Return ``successFlag``, for most families a word."""
        match snapshot.stage.name:
            case "succeeded":
                exception = snapshot.job.script.stage == "callback_exception"
                return "CALLBACK_EXCEPTION" if exception else "SUCCESS"
            case "failed":
                return self.failure(snapshot.job).status
            case _:
                return STRANGE if snapshot.strange else "PENDING"

    def failure(self, job: Job) -> Failure:
        """Return how this job fails."""
        match job.fate.fault:
            case GenerationFault.POLICY:
                message = "The audio contains copyrighted material"
                return Failure(self.failed_status, 400, message, 400, message)
            case GenerationFault.ERROR:
                message = "Internal Error - Please try again later"
                return Failure(self.failed_status, 500, self.failed_message, 500, message)
            case GenerationFault.INVALID:
                message = "Failed to download the source audio"
                return Failure("CREATE_TASK_FAILED", 451, message, 451, message)
            case _:
                return Failure(self.failed_status, None, None, 531, "Generation failed, credits refunded")
