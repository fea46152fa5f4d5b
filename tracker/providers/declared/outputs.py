"""Reads the outputs of a finished task with the rules of a provider file.

Must not know a real provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.task import Output
from tracker.providers.declared.expressions import search
from tracker.providers.declared.tables import OutputTable
from tracker.providers.reading.fields import find_seconds, find_url, flat, kind_of, mime_of, urls_apart
from tracker.providers.reading.outputs import find_data_url_output, find_text_output

if TYPE_CHECKING:
    from tracker.providers.route import Json

_KNOWN_KINDS = frozenset({"image", "audio", "video"})
"""Kinds that a URL's suffix shows where the declared one is ``file``."""


def outputs_of(rule: OutputTable, body: Mapping[str, Json], key_header: str | None) -> Iterable[Output]:
    """The outputs that one rule finds: each URL separately, the pieces of a text joined.

    Args:
        rule: the rule.
        body: the reply.
        key_header: the header with the account's key, for outputs that need it; see `Output`.
    """
    if rule.text is not None:
        pieces = [piece for piece in flat(search(rule.text, body, "outputs.text")) if isinstance(piece, str)]
        text = find_text_output("".join(pieces))
        return () if text is None else (replace(text, kind=rule.kind, mime=rule.mime or text.mime),)
    values = flat(search(rule.url, body, "outputs.url"))
    found = [output for value in values for one in urls_apart(value) if (output := _file_of(rule, one))]
    if rule.authenticated:
        found = [
            replace(output, authenticated=True, key_header=key_header) if output.url else output for output in found
        ]
    lengths = [find_seconds(value) for value in flat(search(rule.duration, body, "outputs.duration"))]
    if len(lengths) != len(found):  # one for all, or not one for each
        lengths = (lengths or [None])[:1] * len(found)
    return [replace(output, duration_s=length) for output, length in zip(found, lengths, strict=True)]


def why_no_output(rule: OutputTable, body: Mapping[str, Json]) -> str:
    """Why a rule found no output, for its author; never the value itself."""
    key, path = ("outputs.text", rule.text) if rule.url is None else ("outputs.url", rule.url)
    where = f"{key} ({(path or '')[:200]})"
    values = [value for value in flat(search(path, body, key)) if value not in (None, "")]
    if not values:
        return f"{where} found nothing"
    value = values[0]
    if rule.url is None or not isinstance(value, str):
        return f"{where} found {kind_of(value)}, not {'a text' if rule.url is None else 'a URL'}"
    text = value.strip()
    if text[:1] in {"{", "["}:
        return f"{where} found JSON in a text, not a URL; read it with from_json(…)"
    if text.startswith("/"):
        return f"{where} found a path, not a URL; join it with the host: join('', ['https://…', …])"
    return f"{where} found a text that is not a URL"


def _file_of(rule: OutputTable, value: Json) -> Output | None:
    url = find_url(value)
    if url is not None:
        mime = mime_of(url, rule.mime)
        known = (mime or "").partition("/")[0]
        return Output(kind=known if rule.kind == "file" and known in _KNOWN_KINDS else rule.kind, url=url, mime=mime)
    return find_data_url_output(value, kind=rule.kind)
