"""The client of the daemon for Python programs; ``tracker/client/README.md`` has examples.

`Client` and `AsyncClient` return the records that the daemon writes its JSON from. `verify_hook` reads what HTTP hooks
send. Nothing of the daemon is imported; each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.client.asynchronous import AsyncClient
    from tracker.client.errors import (
        AnswerInvalid,
        ApiError,
        ClientError,
        Conflict,
        DownloadFailed,
        InvalidRequest,
        NotFound,
        OverBudget,
        Unauthorized,
        Unavailable,
        Unreachable,
    )
    from tracker.client.sync import Client
    from tracker.client.webhooks import verify_hook
    from tracker.domain.alarms import Alarm, AlarmEventView, AlarmKind
    from tracker.domain.lists import GapView
    from tracker.domain.records import (
        ArchiveView,
        CostView,
        DeliveryRecord,
        EventRecord,
        FeedEventView,
        HookEventView,
        OutputView,
        TaskView,
    )
    from tracker.domain.route_views import RouteDetail, RouteView
    from tracker.domain.statuses import Reason, Status
    from tracker.domain.why import WhyView
    from tracker.errors import SignatureInvalid
else:
    _ERRORS = "AnswerInvalid ApiError ClientError Conflict DownloadFailed InvalidRequest NotFound OverBudget"
    _RECORDS = "ArchiveView CostView DeliveryRecord EventRecord FeedEventView HookEventView OutputView TaskView"
    _HOMES = {
        **dict.fromkeys(("Alarm", "AlarmEventView", "AlarmKind"), "tracker.domain.alarms"),
        "AsyncClient": "tracker.client.asynchronous",
        "Client": "tracker.client.sync",
        "GapView": "tracker.domain.lists",
        "Reason": "tracker.domain.statuses",
        "RouteDetail": "tracker.domain.route_views",
        "RouteView": "tracker.domain.route_views",
        "SignatureInvalid": "tracker.errors",
        "Status": "tracker.domain.statuses",
        "WhyView": "tracker.domain.why",
        "verify_hook": "tracker.client.webhooks",
        **dict.fromkeys(f"{_ERRORS} Unauthorized Unavailable Unreachable".split(), "tracker.client.errors"),
        **dict.fromkeys(_RECORDS.split(), "tracker.domain.records"),
    }

    def __getattr__(name: str) -> object:
        """Import a public name."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


__all__ = [
    "Alarm",
    "AlarmEventView",
    "AlarmKind",
    "AnswerInvalid",
    "ApiError",
    "ArchiveView",
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "CostView",
    "DeliveryRecord",
    "DownloadFailed",
    "EventRecord",
    "FeedEventView",
    "GapView",
    "HookEventView",
    "InvalidRequest",
    "NotFound",
    "OutputView",
    "OverBudget",
    "Reason",
    "RouteDetail",
    "RouteView",
    "SignatureInvalid",
    "Status",
    "TaskView",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WhyView",
    "verify_hook",
]
