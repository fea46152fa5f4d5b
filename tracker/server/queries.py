"""Query parameters, each stated once: its name, what it means, its JSON schema and how it is read.

The handlers, ``/openapi.json`` and the options of the commands all take them from here, so this module imports no
web server. Owns their syntax. Must not know what is done with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.ids import looks_like_task_id
from tracker.domain.nearest import did_you_mean
from tracker.domain.report_divisions import DIVISIONS, LABEL, parse_by
from tracker.domain.statuses import Reason, Status
from tracker.errors import FieldProblem, RequestInvalid

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 50
MAX_WAIT_S: Final = 60.0
MAX_PARAMETERS: Final = 100
"""A task has at most 64 labels, so more filters match nothing; each unknown name is compared with all known ones."""
POSITION_DIGITS: Final = 18
LABEL_PREFIX: Final = "label."
MAX_SHOWN: Final = 8
"""Names that an error lists when none is near."""

Parser = Callable[[str], Any]
"""Text -> value; raises ValueError with one sentence on what is expected."""


def parse_text(text: str) -> str:
    """Any text but an empty one."""
    if not text or "\0" in text:
        raise ValueError("must be a text that is not empty")
    return text


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a request header.

    Attributes:
        schema: its JSON schema.
        location: ``query`` or ``header``.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    parse: Parser = parse_text
    location: str = "query"

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it can have, for one that has a fixed list."""
        return tuple(self.schema["enum"])


def _text(name: str, description: str, parse: Parser = parse_text, location: str = "query") -> Parameter:
    """A parameter that is a text."""
    return Parameter(name, description, {"type": "string", "minLength": 1}, parse, location)


def _choice(name: str, choices: Iterable[str], description: str) -> Parameter:
    allowed = [str(choice) for choice in choices]

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return Parameter(name, description, {"type": "string", "enum": allowed}, parse)


def parse_time(text: str) -> datetime:
    """ISO 8601; without an offset it is UTC. An unescaped ``+`` arrives as a space."""
    try:
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time in ISO 8601, for example 2026-11-20T20:42:00Z") from None


def _time(name: str, description: str) -> Parameter:
    return Parameter(name, description, {"type": "string", "format": "date-time"}, parse_time)


def _parse_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise ValueError(f"must be an integer from 1 to {MAX_LIMIT}")
    return int(text)


def _parse_task_cursor(text: str) -> str:
    if not looks_like_task_id(text):
        raise ValueError("must be the next_cursor of the previous page")
    return text


def _parse_position(text: str) -> str:
    """The cursor of a list that is paged by position: an integer that fits into the store's 64 bits."""
    if not (text.isascii() and text.isdigit() and len(text) <= POSITION_DIGITS):
        raise ValueError("must be the next_cursor of the previous page")
    return text


def parse_seq(text: str) -> int:
    """The ``seq`` of an event, or 0."""
    if not (text.isascii() and text.isdigit() and len(text) <= POSITION_DIGITS):
        raise ValueError("must be the seq of an event, or 0 for the beginning")
    return int(text)


def _parse_task_id(text: str) -> str:
    if not looks_like_task_id(text):
        raise ValueError("must be the id of a task")
    return text


def _parse_flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


def _parse_wait(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_S:
        raise ValueError(f"must be a number of seconds from 0 to {MAX_WAIT_S:g}")
    return seconds


_CURSOR: Final = "next_cursor of the previous page."
_SINCE: Final = _time("since", "Created at or after.")
_HOOK: Final = _text("hook", "Name of a hook.")
STATUS: Final = _choice("status", Status, "Status of the task.")
REASON: Final = _choice("reason", Reason, "Why the task FAILED.")
DELIVERY_STATUS: Final = _choice("status", DeliveryStatus, "Status of the delivery.")
RETRIED_STATUS: Final = _choice(
    "status", (DeliveryStatus.FAILED, DeliveryStatus.DEAD), "Only failed ones, or only dead."
)
_LABELS: Final = Parameter(
    "labels",
    f"Each label as a parameter of its own: {LABEL_PREFIX}NAME=VALUE.",
    {"type": "object", "additionalProperties": {"type": "string"}},
)
_LIMIT: Final = Parameter(
    "limit",
    "Page size.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    _parse_limit,
)
_WAIT: Final = Parameter(
    "wait",
    "Seconds: respond when the task has ended, or when they are over.",
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
    _parse_wait,
)

TASK_LIST: Final = (
    STATUS,
    _text("provider", "Provider of the route."),
    _text("route", "Full route name."),
    _text("account", "Configured account."),
    REASON,
    _LABELS,
    _text("q", "Text to search in ids, model, error, labels and request."),
    _SINCE,
    _time("until", "Created before."),
    _LIMIT,
    _text("cursor", _CURSOR, _parse_task_cursor),
)
TASK_FILTERS: Final = tuple(parameter for parameter in TASK_LIST if parameter.name not in {"limit", "cursor"})
"""Those that select tasks, without those that divide a list into pages."""
REPORT: Final = (
    _time("since", "Created at or after; by default midnight (UTC) of today."),
    _time("until", "Created before."),
    _text("by", f"What the sums are divided by, separated by commas: {', '.join(DIVISIONS)}, {LABEL}NAME.", parse_by),
)
TASK: Final = (_WAIT,)

# Status and reason of the moment never change, so a client that resumes gets what it would have got.
_FEED_FILTERS: Final = (
    _choice("status", Status, "Status of the task right after the event."),
    *(parameter for parameter in TASK_LIST if parameter.name in {"provider", "route", "account"}),
    _choice("reason", Reason, "Why the task was FAILED right after the event."),
    *(parameter for parameter in TASK_LIST if parameter.name in {"labels", "q"}),
    _time("since", "The task was created at or after."),
    _time("until", "The task was created before."),
    _text("task", "Id of the task.", _parse_task_id),
)


def _after(description: str, **more: int) -> Parameter:
    return Parameter("after", description, {"type": "integer", "minimum": 0, **more}, parse_seq)


FEED: Final = (
    *_FEED_FILTERS,
    _after("Events after this seq; last_seq of the previous page.", default=0),
    _LIMIT,
    Parameter("wait", "Seconds: respond with the next event, or when they are over.", _WAIT.schema, _parse_wait),
)
LAST_EVENT_ID: Final = _text(
    "Last-Event-ID", "As after, which it replaces; clients that resume send it.", location="header"
)
STREAM: Final = (
    *_FEED_FILTERS,
    _after("Begin after the event with this seq; by default with what comes now."),
    LAST_EVENT_ID,
)
DELIVERY_LIST: Final = (_HOOK, DELIVERY_STATUS, _SINCE, _LIMIT, _text("cursor", _CURSOR, _parse_position))
DELIVERY_AGAIN: Final = (
    Parameter("again", "true: also run one again that succeeded.", {"type": "boolean", "default": False}, _parse_flag),
)
DELIVERY_RETRY: Final = (_HOOK, RETRIED_STATUS, _SINCE)
_KEY: Final = _text("Idempotency-Key", "A repeated key never creates a second upstream job.", location="header")
RESUBMIT_HEADERS: Final = (_KEY,)
SUBMIT_HEADERS: Final = (
    _KEY,
    _text(
        "Prefer",
        "respond-async: 202 as soon as the task is stored. handling=strict: 422 for fields that no document of the "
        "route names; otherwise they are sent, and listed in the header Tracker-Warnings.",
        location="header",
    ),
)
FILE_HEADERS: Final = (
    _text("Range", "bytes=FIRST-LAST, one range.", location="header"),
    _text("If-None-Match", "304 when the file has this entity tag.", location="header"),
)
ROUTE_ACCOUNT: Final = (_text("account", "The account whose models are listed; by default that of the route.", str),)
ACCOUNT: Final = (_text("account", "An account; required when there are several.", str),)


def parse_query(given: Iterable[tuple[str, str]], parameters: Collection[Parameter]) -> dict[str, Any]:
    """Every given parameter, parsed; labels, where they are allowed, together under ``labels``.

    Raises:
        RequestInvalid: with every unknown, repeated or wrong parameter, or for more than `MAX_PARAMETERS`.
    """
    given = list(given)
    if len(given) > MAX_PARAMETERS:
        raise RequestInvalid([FieldProblem(("query",), f"has {len(given)} parameters; at most {MAX_PARAMETERS}")])
    known = {parameter.name: parameter.parse for parameter in parameters if parameter.location == "query"}
    has_labels = known.pop(_LABELS.name, None) is not None
    values: dict[str, Any] = {"labels": {}} if has_labels else {}
    texts: dict[str, list[str]] = {}
    for name, text in given:
        texts.setdefault(name, []).append(text)
    problems: list[FieldProblem] = []
    for name, (text, *more) in texts.items():
        is_label = has_labels and name.startswith(LABEL_PREFIX) and name != LABEL_PREFIX
        try:
            if not is_label and name not in known:
                raise ValueError(_unknown(name, [*known, *([f"{LABEL_PREFIX}NAME"] if has_labels else [])]))  # noqa: TRY301
            if more:
                raise ValueError("is given more than once")  # noqa: TRY301
            if is_label:
                values["labels"][name.removeprefix(LABEL_PREFIX)] = text
            else:
                values[name] = known[name](text)
        except ValueError as error:
            problems.append(FieldProblem(("query", name), str(error)))
    if problems:
        raise RequestInvalid(problems)
    return values


def _unknown(name: str, known: Collection[str]) -> str:
    if not known:
        return "is unknown: this call takes no query parameters"
    hint = did_you_mean(name, known, 1)
    return f"is unknown; known are {', '.join(known)}{'; ' if hint else ''}{hint}"


def refuse_unknown_names(filters: Mapping[str, Any], names: Mapping[str, Collection[str]]) -> None:
    """Report filters that name nothing, for a list without a hit: tasks may outlive their route or account.

    Args:
        filters: parameter -> its value.
        names: parameter -> every value that is known.

    Raises:
        RequestInvalid: with the nearest names.
    """
    problems = []
    for name, known in names.items():
        if filters.get(name) not in {None, *known}:
            hint = did_you_mean(filters[name], known) or f"known are {', '.join(sorted(known)[:MAX_SHOWN])}"
            problems.append(FieldProblem(("query", name), f"no such {name}: {filters[name]}; {hint}"))
    if problems:
        raise RequestInvalid(problems)
