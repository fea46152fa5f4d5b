"""The second call of a declared provider: for the result of a job that has ended.

Must not know how a document was found; see `answers`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tracker.sandbox.interpreter import DataJobRoute, find_placeholder, name_in_path
from tracker.sandbox.jobs import FAILED, SUCCEEDED, snapshot_at
from tracker.sandbox.routes import Context, ReadRoute
from tracker.sandbox.wire import Answer, Call


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRoute(ReadRoute):
    """The call for a result.

    Attributes:
        jobs: The routes of the provider by name, with what a result has instead of what a status call answers.
        parameters: Its query parameters, with placeholders.
        key: The placeholder that names the job: ``task_id``, or a field of the answer to the status call.
        failed_http: The HTTP status of the result of a job that failed; None for the answer to an unknown id.
    """

    jobs: Mapping[str, DataJobRoute]
    parameters: Mapping[str, str]
    key: str
    failed_http: int | None

    def authorised(self, headers: Mapping[str, str], key: str) -> bool:
        """Return whether the request carries the key as the provider wants it."""
        return next(iter(self.jobs.values())).authorised(headers, key)

    def read(self, call: Call, context: Context) -> Answer:
        """Answer with the result of a job that has ended."""
        named = call.params.get(name_in_path(self.key))
        job = context.jobs.find(named or find_placeholder(self.parameters, call.query, self.key))
        route = None if job is None else self.jobs.get(job.route)
        if job is None or route is None:
            return next(iter(self.jobs.values())).unknown(call)
        snapshot = snapshot_at(job, time.monotonic() - job.born_s)
        if snapshot.stage is SUCCEEDED:
            return route.shown(snapshot, call, context)
        if snapshot.stage is FAILED and self.failed_http is not None:
            shown = route.shown(snapshot, call, context)
            return Answer(self.failed_http, shown.body)
        return route.unknown(call)
