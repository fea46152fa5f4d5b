"""The environment of a script: a fixed list of variables.

Owns their names and size limits. Must not copy the daemon's own environment: it holds API keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tracker.domain.archives import file_of
from tracker.domain.deliveries import AlarmJob, TaskJob

if TYPE_CHECKING:
    from tracker.domain.alarms import Alarm
    from tracker.domain.archives import ArchivedFile
    from tracker.domain.deliveries import DeliveryJob
    from tracker.domain.task import Output

INHERITED = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER"})
"""The variables of the daemon's environment that a script inherits, besides ``LC_*``."""

VALUE_MAX_BYTES = 16 * 1024
"""Linux refuses to start a program with one variable of 128 KiB (``MAX_ARG_STRLEN``, see execve(2))."""
LABELS_MAX_BYTES = 48 * 1024
"""All labels together. The floor for the whole environment with the arguments is 128 KiB (``ARG_MAX``)."""

_MAX_UTF_8 = 4
"""Bytes of a character."""
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]")


def script_environment(
    job: DeliveryJob, environ: Mapping[str, str], locate: Callable[[str], str] = str, traceparent: str | None = None
) -> dict[str, str]:
    """The environment of one run: names and values without NUL characters, small enough for any execve.

    Every variable is always set, if need be to the empty text, so that scripts can run under ``set -u``. Too long
    texts are cut; too long ids, paths and URLs are left empty. The JSON on standard input has all of them.

    Args:
        job: the delivery.
        environ: the daemon's environment, for `INHERITED`.
        locate: where an archived file is found, by its path in the archive.
        traceparent: the run's span; None: nothing is traced.
    """
    match job:
        case TaskJob():
            own = _of_task(job, locate)
        case AlarmJob():
            own = _of_alarm(job.alarm)
        case _:
            raise TypeError(f"{type(job).__name__} is not a kind of delivery")
    return {
        **inherited_environment(environ),
        **own,
        "TRACKER_EVENT": job.event,
        "TRACKER_DELIVERY_ID": job.id,
        "TRACKER_ATTEMPT": str(job.attempt),
        **({"TRACKER_TEST": "true"} if job.is_test else {}),
        **({} if traceparent is None else {"TRACEPARENT": traceparent}),
    }


def _of_task(job: TaskJob, locate: Callable[[str], str]) -> dict[str, str]:
    task, files = job.record.task, job.record.files
    first = task.outputs[0] if task.outputs else None
    return {
        **_labels(job.record.labels),
        "TRACKER_TASK_ID": task.id,
        "TRACKER_EXTERNAL_ID": _uncut(task.external_id),
        "TRACKER_PROVIDER": task.provider,
        "TRACKER_ROUTE": task.route,
        "TRACKER_STATUS": task.status.value,
        "TRACKER_REASON": "" if task.reason is None else task.reason.value,
        "TRACKER_ERROR_MESSAGE": _cut(_clean("" if task.error is None else task.error.message or "")),
        "TRACKER_OUTPUT_URL": _uncut(None if first is None or first.authenticated else first.url),
        "TRACKER_OUTPUT_PATH": _uncut(_first_path(task.outputs, files, locate)),
    }


def _of_alarm(alarm: Alarm) -> dict[str, str]:
    return {
        "TRACKER_ALARM_KIND": alarm.kind,
        "TRACKER_ALARM_SUBJECT": _uncut(alarm.subject),
        "TRACKER_ALARM_MESSAGE": _cut(_clean(alarm.message)),
        "TRACKER_ALARM_FIX": _cut(_clean(alarm.fix)),
    }


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the daemon's environment that a program inherits, see `INHERITED`."""
    return {name: _cut(value) for name, value in environ.items() if name in INHERITED or name.startswith("LC_")}


def _first_path(
    outputs: Sequence[Output], files: Mapping[str, ArchivedFile], locate: Callable[[str], str]
) -> str | None:
    """The location of the first output that is a file; None if it is not archived yet."""
    file = next((file_of(output, files) for output in outputs if output.kind != "text"), None)
    return None if file is None else locate(file.path)


def label_variable(name: str) -> str:
    """The variable that carries a label: upper case, anything but ASCII letters and digits as ``_``."""
    return "TRACKER_LABEL_" + _NOT_IN_NAMES.sub("_", name.upper())


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as variables, up to `LABELS_MAX_BYTES`; of two labels for one variable the first by name wins."""
    shown: dict[str, str] = {}
    left = LABELS_MAX_BYTES
    for name in sorted(labels):
        variable, value = label_variable(name), _cut(_clean(labels[name]))
        left -= len(variable) + len(value.encode()) + 2
        if left < 0:
            break
        shown.setdefault(variable, value)
    return shown


def _clean(text: str) -> str:
    """Without NUL, which ends a value, and without lone surrogates, which cannot be encoded."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _cut(text: str) -> str:
    """At most `VALUE_MAX_BYTES`, cut between characters."""
    if len(text) * _MAX_UTF_8 <= VALUE_MAX_BYTES:
        return text
    data = text.encode("utf-8", "surrogateescape")
    if len(data) <= VALUE_MAX_BYTES:
        return text
    return data[:VALUE_MAX_BYTES].decode("utf-8", "ignore")


def _uncut(text: str | None) -> str:
    """The text if it fits, else the empty text."""
    clean = _clean(text or "")
    return clean if _cut(clean) is clean else ""
