"""DashScope's error codes, the same on all of its routes.

Owns what each code means, in a reply and for a failed task.

**Source**: https://help.aliyun.com/en/model-studio/error-code-start (read 2026-11).
"""

from __future__ import annotations

from tracker.domain.task import UpstreamError
from tracker.providers.reading import error_meanings as meanings
from tracker.providers.reading.error_meanings import Meaning

CODES: dict[str, Meaning] = {
    "invalidparameter": meanings.INVALID,
    "datainspectionfailed": meanings.POLICY,
    "ipinfringementsuspect": meanings.POLICY,
    "arrearage": meanings.QUOTA,  # comes with HTTP 400
    "invalidapikey": meanings.AUTH,
    "accessdenied": meanings.ENTITLEMENT,  # also for a call without the asynchronous header
    "modelnotfound": meanings.NOT_FOUND,
    "throttling": meanings.RATE,
    "internalerror": meanings.BROKEN,
    "internalerror.timeout": meanings.TIMEOUT,
}
"""By code in lower case without underscores (one mode writes ``data_inspection_failed``); parts after a
dot are dropped one by one."""


def find_meaning(error: UpstreamError) -> Meaning | None:
    """The meaning of a DashScope code, known suffix or not; None for one that is not in the contract."""
    code = (error.code or "").lower().replace("_", "")
    while code:
        if code in CODES:
            return CODES[code]
        code = code.rpartition(".")[0]
    return None
