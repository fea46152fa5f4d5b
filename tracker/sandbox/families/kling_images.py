"""Kling images: ``/transtreams/kling/v1/images/…``.

Owns the two image routes: how many pictures they make, and where a series stands.

Source: https://anyint.ai/docs/api-reference/media (routes); https://kling.ai/document-api/api/image
(``n`` 1..9, ``result_type``, ``series_amount`` 2..9, ``task_result.images`` and ``series_images``), seen in
copies. What a series route answers to a wrong amount is inferred.
"""

from __future__ import annotations

from dataclasses import dataclass

from tracker.sandbox.families.kling import KlingRoute, kling_error
from tracker.sandbox.jobs import Snapshot, Stage
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context
from tracker.sandbox.wire import Answer, Call, Json

_MOST = 9
_LEAST_OF_A_SERIES = 2
_USUAL_SERIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class KlingImage(KlingRoute):
    """One of the image routes.

    Attributes:
        knows_series: Whether ``result_type`` may ask for a series.
    """

    result_key: str = "images"
    knows_series: bool = False

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Besides what all Kling routes want: numbers of pictures that are within bounds."""
        rejected = KlingRoute.reject(self, call, context)
        if rejected is not None:
            return rejected
        body = call.body
        if not _is_within(body.get("n", 1), 1):
            return kling_error(400, 1201, f"n must be an integer from 1 to {_MOST}", call)
        if self.knows_series and body.get("result_type", "single") not in {"single", "series"}:
            return kling_error(400, 1201, "result_type must be single or series", call)
        if self.is_series(body) and not _is_within(body.get("series_amount", _USUAL_SERIES), _LEAST_OF_A_SERIES):
            message = f"series_amount must be an integer from {_LEAST_OF_A_SERIES} to {_MOST}"
            return kling_error(400, 1201, message, call)
        return None

    def is_series(self, request: Json) -> bool:
        """Tell whether a request asks for a series."""
        return self.knows_series and request.get("result_type") == "series"

    def outputs(self, snapshot: Snapshot, context: Context) -> list[Json]:
        """As many pictures as were asked for, numbered from 0."""
        job = snapshot.job
        request = job.request
        count = request.get("series_amount", _USUAL_SERIES) if self.is_series(request) else request.get("n", 1)
        cut = job.script.file == "cut"
        return [
            {"index": n, "url": context.files.link(job.id, Media.PNG, n, label="image", cut=cut)} for n in range(count)
        ]

    def arrange(self, request: Json, outputs: list[Json]) -> Json:
        """A series stands in ``series_images`` and leaves ``images`` empty."""
        if not self.knows_series:
            return {"images": outputs}
        if self.is_series(request):
            return {"result_type": "series", "images": [], "series_images": outputs}
        return {"result_type": "single", "images": outputs, "series_images": []}


def _is_within(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST


def _route(name: str, tail: str, *, knows_series: bool) -> KlingImage:
    path = f"/transtreams/kling/v1/images/{tail}"
    return KlingImage(
        name=name,
        path=path,
        query_path=path + "/{task_id}",
        stages=(Stage("submitted", 0.0, announced=True), Stage("processing", 0.2, announced=True)),
        knows_series=knows_series,
    )


ROUTES = (
    _route("kling.image", "generations", knows_series=False),
    _route("kling.omni-image", "omni-image", knows_series=True),
)
