"""Query parameters: read strictly, every mistake told at once, unknown names answered with the known ones.

Owns their syntax. Must not know what is done with them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.ids import looks_like_task_id
from tracker.domain.task import Reason, Status
from tracker.errors import FieldProblem
from tracker.server.responses import bad_input
from tracker.store.values import TaskFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 50
MAX_WAIT_S: Final = 60.0
POSITION_DIGITS: Final = 18
LABEL_PREFIX: Final = "label."

Parser = Callable[[str], Any]
"""Text -> value; raises ValueError with one sentence on what is expected."""


def parse_query(request: web.Request, parsers: Mapping[str, Parser], *, labels: bool = False) -> dict[str, Any]:
    """Every given parameter, parsed; labels, where they are allowed, together under ``labels``.

    Raises:
        Problem: 422 with every unknown, repeated or wrong parameter.
    """
    values: dict[str, Any] = {"labels": {}} if labels else {}
    if not request.query_string:
        return values
    problems: list[FieldProblem] = []
    for name in dict.fromkeys(request.query):
        texts = request.query.getall(name)
        is_label = labels and name.startswith(LABEL_PREFIX) and name != LABEL_PREFIX
        loc = ("query", name)
        if not is_label and name not in parsers:
            problems.append(FieldProblem(loc, _unknown(name, parsers, labels=labels)))
        elif len(texts) > 1:
            problems.append(FieldProblem(loc, "is given more than once"))
        elif is_label:
            values["labels"][name.removeprefix(LABEL_PREFIX)] = texts[0]
        else:
            try:
                values[name] = parsers[name](texts[0])
            except ValueError as error:
                problems.append(FieldProblem(loc, str(error)))
    if problems:
        raise bad_input(problems)
    return values


def parse_task_filter(request: web.Request) -> TaskFilter:
    """Which tasks a list request asks for.

    Raises:
        Problem: 422 with every wrong parameter.
    """
    return TaskFilter(**parse_query(request, LIST_PARSERS, labels=True))


def _unknown(name: str, known: Iterable[str], *, labels: bool) -> str:
    names = [*known, *(["label.NAME"] if labels else [])]
    if not names:
        return "is unknown: this call takes no query parameters"
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"is unknown; known are {', '.join(names)}{hint}"


def parse_one_of(choices: Iterable[str]) -> Parser:
    """A parser of one of these texts."""
    allowed = tuple(choices)

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is one of {', '.join(allowed)}")
        return text

    return parse


def parse_text(text: str) -> str:
    """Any text but an empty one."""
    if not text or "\0" in text:
        raise ValueError("is a text that is not empty")
    return text


def parse_limit(text: str) -> int:
    """The size of a page."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise ValueError(f"is a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _cursor(text: str) -> str:
    if not looks_like_task_id(text):
        raise ValueError("is the next_cursor of the page before")
    return text


def parse_position(text: str) -> str:
    """The cursor of a list that is paged by position: a whole number that fits into the store's 64 bits."""
    if not (text.isascii() and text.isdigit() and len(text) <= POSITION_DIGITS):
        raise ValueError("is the next_cursor of the page before")
    return text


def parse_moment(text: str) -> datetime:
    """ISO 8601; without an offset it is UTC. A ``+`` that nobody escaped arrives as a blank."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is a moment in ISO 8601, for example 2026-11-20T20:42:00Z") from None


def _wait(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_S:
        raise ValueError(f"is a number of seconds from 0 to {MAX_WAIT_S:g}")
    return seconds


LIST_PARSERS: Final[Mapping[str, Parser]] = {
    "status": parse_one_of(Status),
    "provider": parse_text,
    "route": parse_text,
    "account": parse_text,
    "reason": parse_one_of(Reason),
    "q": parse_text,
    "since": parse_moment,
    "until": parse_moment,
    "limit": parse_limit,
    "cursor": _cursor,
}
WAIT_PARSERS: Final[Mapping[str, Parser]] = {"wait": _wait}
