"""DashScope's error codes, the same on all of its routes.

Owns what each code means, on an answer and for a task that failed with it.

**Source**: https://help.aliyun.com/en/model-studio/error-code-start (read 2026-11).
"""

from __future__ import annotations

from tracker.domain.task import UpstreamError
from tracker.providers.reading.error_meanings import (
    AUTH,
    BROKEN,
    ENTITLEMENT,
    INVALID,
    NOT_FOUND,
    POLICY,
    QUOTA,
    RATE,
    TIMEOUT,
    Meaning,
)

CODES: dict[str, Meaning] = {
    "invalidparameter": INVALID,
    "datainspectionfailed": POLICY,
    "ipinfringementsuspect": POLICY,
    "arrearage": QUOTA,  # comes with HTTP 400
    "invalidapikey": AUTH,
    "accessdenied": ENTITLEMENT,  # also for a call without the asynchronous header
    "modelnotfound": NOT_FOUND,
    "throttling": RATE,
    "internalerror": BROKEN,
    "internalerror.timeout": TIMEOUT,
}
"""By code in lower case without underscores (one mode writes ``data_inspection_failed``); what follows a dot
narrows a code down and is given up step by step."""


def find_meaning(error: UpstreamError) -> Meaning | None:
    """The meaning of a DashScope code, known suffix or not; None for one that is not in the contract."""
    code = (error.code or "").lower().replace("_", "")
    while code:
        if code in CODES:
            return CODES[code]
        code = code.rpartition(".")[0]
    return None
