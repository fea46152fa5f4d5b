"""What the templates of a table know: the request, times, drawn ids, output files, texts and tokens.

Owns the names that ``families`` documents. Must not know routes or answers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.computed import COMPUTED
from tracker.sandbox.dice import Dice, Key
from tracker.sandbox.files import OutputFiles
from tracker.sandbox.media import Media, make_media
from tracker.sandbox.routes import Context
from tracker.sandbox.speech import count_tokens, reply_to
from tracker.sandbox.templates import Scope, fill, matches, merge
from tracker.sandbox.wire import Json

Table = Mapping[str, Any]
"""What a data file says about a route."""

TIME_FORMATS: Mapping[str, Callable[[float], object]] = {
    "s": int,
    "ms": lambda at_s: round(at_s * 1000),
    "iso": lambda at_s: datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    "text": lambda at_s: datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S"),
    "local": lambda at_s: (datetime.fromtimestamp(at_s, UTC) + timedelta(hours=8)).strftime("%F %T.%f")[:-3],
}
"""How a family writes a time; ``local`` is UTC+8 without a zone."""


def write_time(table: Table, at_s: float) -> object:
    """Return a time, in seconds since the epoch, as the family writes it."""
    return TIME_FORMATS[table.get("time", "s")](at_s)


def resolve(table: Table, scope: Scope) -> Table:
    """Return the table with its matching variants laid over it."""
    for variant in table.get("variants", ()):
        if matches(variant["when"], scope):
            table = merge(table, {key: value for key, value in variant.items() if key != "when"})
    return table


def draws(dice: Dice, *subject: Key) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Return the placeholders that draw an id, such as ``$uuid.clip`` or ``$hex24.message``; the label is the key."""
    yield "uuid", lambda label: dice.draw_uuid(label, *subject)
    for digits in (24, 32, 48):
        yield f"hex{digits}", partial(_draw_hex, dice, digits, subject)
    for digits in (5, 16):
        yield f"digits{digits}", partial(_draw_digits, dice, digits, subject)


def _draw_hex(dice: Dice, digits: int, subject: tuple[Key, ...], label: str) -> str:
    return dice.draw_bytes(digits // 2, label, *subject).hex()


def _draw_digits(dice: Dice, digits: int, subject: tuple[Key, ...], label: str) -> str:
    return str(int.from_bytes(dice.draw_bytes(8, label, *subject), "big") % 10**digits).zfill(digits)


@dataclass(frozen=True, slots=True)
class _Links:
    """The URLs of what was made: ``$file.LABEL`` is one, ``files.LABEL`` are those for an ``$each``."""

    table: Table
    scope: Scope
    outputs: OutputFiles
    subject: str
    shows: bool
    cut: bool

    def url(self, label: str) -> str | None:
        """Return one URL; None while it is not shown."""
        output = self.table.get("outputs", {}).get(label)
        return None if output is None or not (self.shows or output.get("always")) else self._link(label, output, 0)

    def list(self, label: str) -> list[Json]:
        """Return ``n``, ``url`` and ``base64`` of each file with this label, none while they are not shown."""
        output = self.table["outputs"][label]
        count = fill(output.get("count", 1), self.scope) if self.shows or output.get("always") else 0
        return [
            {"n": n, "url": partial(self._link, label, output, n), "base64": partial(self._encode, output, n)}
            for n in range(count)
        ]

    def _encode(self, output: Table, n: int, _rest: str = "") -> str:
        return base64.b64encode(make_media(Media(output["media"]), self.subject, n)).decode()

    def _link(self, label: str, output: Table, n: int, _rest: str = "") -> str:
        name, cut = output.get("label", label), self.cut and output.get("cut", True)
        return self.outputs.link(self.subject, Media(output["media"]), output.get("n", 0) + n, label=name, cut=cut)


def add_work(
    table: Table,
    scope: dict[str, Any],
    context: Context,
    fault: GenerationFault | None,
    subject: str,
    *,
    shows: bool,
    cut: bool,
) -> dict[str, Any]:
    """Return what is known of a request or job, together with what the work makes.

    Args:
        table: The route's table, variants applied.
        scope: What is known already.
        context: Draws ids and makes URLs.
        fault: How the work fails.
        subject: What ids and files are derived from.
        shows: Whether outputs are shown.
        cut: Whether first downloads are cut off half-way.
    """
    text = reply_to(scope["prompt"]) if shows else ""
    asked = count_tokens([scope["request"].get(name) for name in table.get("counted", ())])
    answered = count_tokens(text)
    files = _Links(table, scope, context.files, subject, shows, cut)
    made = {
        **scope,
        **dict(draws(context.dice, subject)),
        "file": files.url,
        "files": files.list,
        "shown": [{}] if shows else [],
        "request_text": orjson.dumps(scope["body"]).decode(),
        "text": text if fault is None else None,
        "input_tokens": asked,
        "output_tokens": answered,
        "total_tokens": asked + answered,
        **table.get("values", {}),
    }
    for name, template in table.get("templates", {}).items():
        made[name] = partial(_fill_part, template, made)
    if "computed" in table:
        made |= COMPUTED[table["computed"]](made, fault, shows)
    return made


def _fill_part(template: object, scope: Scope, _rest: str) -> object:
    return fill(template, scope)
