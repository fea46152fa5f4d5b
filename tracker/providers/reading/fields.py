"""Typed access to decoded JSON that is not validated yet.

Owns what counts as an id, a code, a message, a URL and a duration, for all providers. Must not know a provider's field
names. ``find_*`` returns None for a value that is absent or null; a wrong type that makes the payload meaningless
raises `PayloadInvalid` with the path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tracker.domain.media_types import media_type_of
from tracker.domain.task import ExternalId, Output
from tracker.errors import PayloadInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracker.providers.route import Json

NUL_SIGN = "\u2400"
"""Replaces NUL in a stored id."""
_MAX_CODE_LENGTH = 200
_MAX_MESSAGE_LENGTH = 2000
_MAX_URL_LENGTH = 65536
_MAX_INT_BITS = 4096
_JSON_BLANKS = " \t\r\n"
_URL = re.compile(r"https?://[^/?#\s]+([/?#].*)?", re.IGNORECASE)
_PLAIN_URL = re.compile(r"https?://[\w.:-]+/[\w./?=%&~+:@!$,*()-]*", re.ASCII)
"""A URL that needs no repair; without ``;``, which ends the entities of other encoders."""
_AROUND_URLS = " \t\r\n\"'`<>\ufeff\u200b\u200c\u200d\u2060\u00a0\u3000"
_BREAKS = str.maketrans("", "", "\t\r\n")
_BARE_AND = re.compile(r"&(?!amp;)")
_URL_FIELDS = (
    "url", "uri", "src", "link", "resource", "download_url", "downloadUrl", "file_url", "fileUrl", "signed_url",
    "signedUrl",
)  # fmt: skip
"""Fields with the URL in an object that replaces a URL."""
_STATUS_FIELDS = ("status", "state", "code", "name", "value")
"""Fields with the status in an object that replaces a status."""
_DEPTH = 8
_SEPARATORS = ",;| \t\r\n"
_BEFORE_URL = re.compile(rf"(?<=[{_SEPARATORS}])(?=https?://)", re.IGNORECASE)


def require_object(value: Json, path: str) -> Mapping[str, Json]:
    """The value as a JSON object; ``path`` names it in the message.

    Raises:
        PayloadInvalid: it is something else.
    """
    if not isinstance(value, dict):
        raise PayloadInvalid(f"{path}: an object is expected, not {kind_of(value)}")
    return value


def find_object(holder: Mapping[str, Json], key: str) -> Mapping[str, Json] | None:
    """The object under a key; None for anything else."""
    value = holder.get(key)
    return value if isinstance(value, dict) else None


def list_objects(value: Json, path: str) -> tuple[Mapping[str, Json], ...]:
    """The objects in a list, none for null; items of other types are skipped.

    Raises:
        PayloadInvalid: it is neither a list nor null.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise PayloadInvalid(f"{path}: a list is expected, not {kind_of(value)}")
    return tuple([item for item in value if isinstance(item, dict)])


class Lists:
    """Several lists, some of them malformed perhaps: a paid result that can be read is not lost for another list."""

    def __init__(self) -> None:
        self._fault: PayloadInvalid | None = None

    def objects(self, value: Json, path: str) -> tuple[Mapping[str, Json], ...]:
        """As `list_objects`; the fault of a malformed list is remembered, and its objects are none."""
        try:
            return list_objects(value, path)
        except PayloadInvalid as fault:
            self._fault = self._fault or fault
            return ()

    def check(self, found: Sequence[object]) -> None:
        """Raise the first fault if nothing was found, in the lists or elsewhere.

        Raises:
            PayloadInvalid: nothing was found, and a list was malformed.
        """
        if self._fault is not None and not found:
            raise self._fault


def require_status(holder: Mapping[str, Json], *keys: str, path: str) -> str | None:
    """The first status under the keys, trimmed, also inside an object; None if absent.

    Raises:
        PayloadInvalid: a status is there, but none is text.
    """
    fault: PayloadInvalid | None = None
    for key in keys:
        value = holder.get(key)
        if value is None:
            continue
        if isinstance(value, dict):
            value = _status_in(value)
        if not isinstance(value, str):
            fault = fault or PayloadInvalid(f"{path}{key}: text is expected, not {kind_of(value)}")
        elif text := value.strip():
            return text[:_MAX_CODE_LENGTH]
    if fault is not None:
        raise fault
    return None


def _status_in(value: Mapping[str, Json]) -> Json:
    """The status in an object that replaces one; the object itself where it has none."""
    return next((inner for name in _STATUS_FIELDS if isinstance(inner := value.get(name), str)), value)


def find_id(holder: Mapping[str, Json], *keys: str, path: str) -> ExternalId | None:
    """The first task id under the keys; None if absent.

    Args:
        holder: the object to look in.
        keys: field names, most likely first.
        path: of the object with its trailing dot, for the message.

    Raises:
        PayloadInvalid: a value is there, but none can be an id.
    """
    fault: PayloadInvalid | None = None
    for key in keys:
        value = holder.get(key)
        if value is None:
            continue
        try:
            found = parse_id(value, f"{path}{key}")
        except PayloadInvalid as invalid:
            fault = fault or invalid
        else:
            if found is not None:
                return found
    if fault is not None:
        raise fault
    return None


def parse_id(value: Json, path: str) -> ExternalId | None:
    """A task id as it is stored: any text of any length, trimmed; a number becomes text.

    An id proves that a job was accepted, so no id is refused for its form. Characters that no database stores are
    replaced: NUL by U+2400, which `requests.written_id` reverts; a lone surrogate by U+FFFD, as the upstream's own
    storage does.

    Raises:
        PayloadInvalid: not text and not a whole number.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _MAX_INT_BITS:
            return ExternalId(str(value))
        raise PayloadInvalid(f"{path}: a task id is expected, not {kind_of(value)}")
    text = value.strip(_JSON_BLANKS)
    if not text:
        return None
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return ExternalId(text.replace("\0", NUL_SIGN))


def find_code(value: Json) -> str | None:
    """An error code, a number or a string, as text; None for anything else."""
    if isinstance(value, str):
        return find_text(value, _MAX_CODE_LENGTH)
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**15:
        value = int(value)
    if isinstance(value, int) and value.bit_length() <= _MAX_INT_BITS:
        return str(value)
    return None


def find_text(value: Json, limit: int = _MAX_MESSAGE_LENGTH) -> str | None:
    """A text, trimmed and cut to a limit; None when it is empty or not a text."""
    if not isinstance(value, str):
        return None
    return value.strip()[:limit] or None


def find_url(value: Json) -> str | None:
    r"""An absolute http(s) URL, also alone in a list or in an object; None for anything else.

    Only characters that cannot belong to a URL are repaired: blanks inside are escaped; line breaks, quotes around it
    and the entities of other encoders (``&amp;``, ``\/``, ``\u0026``) are removed. ``//`` at the start means ``https``.

    **Source**: empty URLs mean files that are not ready yet,
    https://docs.sunoapi.org/suno-api/get-music-generation-details (read 2026-11); https://url.spec.whatwg.org, section
    4.4, for line breaks.
    """
    if not value:  # the usual cases first: nothing, or a plain URL
        return None
    if isinstance(value, str) and len(value) <= _MAX_URL_LENGTH and _PLAIN_URL.fullmatch(value) is not None:
        return value
    value = sole(value)
    if not isinstance(value, str) or len(value) > 2 * _MAX_URL_LENGTH:
        return None
    text = value.strip(_AROUND_URLS).translate(_BREAKS)
    if "\\" in text:
        text = text.replace("\\/", "/").replace("\\u0026", "&")
    if "&amp;" in text and _BARE_AND.search(text) is None:
        text = text.replace("&amp;", "&")
    if text.startswith("//"):
        text = f"https:{text}"
    if not text.isprintable() or _URL.fullmatch(text) is None:
        return None
    url = text.replace(" ", "%20")
    return url if len(url) <= _MAX_URL_LENGTH else None


def sole(value: Json) -> Json:
    """The single item of lists, or the URL field of an object; any other value as it is."""
    for _ in range(_DEPTH):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif isinstance(value, dict):
            value = next((inner for name in _URL_FIELDS if (inner := value.get(name))), None)
        else:
            break
    return value


def flat(value: Json, depth: int = _DEPTH) -> Iterable[Json]:
    """The items of a list and of the lists in it; any other value as a single item."""
    if not isinstance(value, list):
        return (value,)
    return [inner for item in value for inner in flat(item, depth - 1)] if depth else ()


def urls_apart(value: Json) -> Iterable[Json]:
    """The URLs in one text, separated by commas or blanks; any other value as it is."""
    if not isinstance(value, str) or value.lstrip()[:4].lower() != "http":
        return (value,)
    *pieces, last = _BEFORE_URL.split(value)
    return [*(piece.strip(_SEPARATORS) for piece in pieces), last]


def find_seconds(value: Json) -> float | None:
    """A duration in seconds from a number or a numeric text; None for anything else, or below zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def find_percent(value: Json) -> int | None:
    """Progress in percent, 0 to 100; None for anything else.

    A number or text up to 100 is percent, with or without ``%``. Between 0 and 1 it is a fraction (0.45 is 45 %). 1 is
    one percent, since a finished task has a status for that; ``"0.4%"`` is not a fraction.

    **Source**: https://developers.openai.com/api/reference/resources/videos (0 to 100);
    https://docs.newapi.pro/api/query-video (``"45%"``); https://docs.dev.runwayml.com/api (0 to 1; read 2026-11).
    """
    text = value.strip() if isinstance(value, str) else None
    number = find_seconds(value if text is None else text.removesuffix("%").rstrip())
    if number is None:
        return None
    is_fraction = 0 < number < 1 and not (text or "").endswith("%")
    return min(int(number * 100 + 1e-9) if is_fraction else int(number), 100)


def mime_of(url: str, otherwise: str | None = None) -> str | None:
    """The media type by a URL's suffix, otherwise what the provider usually delivers."""
    path = url.partition("?")[0].partition("#")[0]
    return media_type_of(path.rpartition(".")[2]) or otherwise


def distinct(outputs: Iterable[Output]) -> tuple[Output, ...]:
    """Outputs in order, each URL, text and file once."""
    first: dict[tuple[str | None, ...], Output] = {}
    for output in outputs:
        first.setdefault((output.url, output.text, output.inline), output)
    return tuple(first.values())


def kind_of(value: Json) -> str:
    """The type of a JSON value, for messages; never the value itself."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case _:
            return "a list"
