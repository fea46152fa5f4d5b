"""Decode text files: UTF-8 with or without a byte order mark, any line endings; small helpers for sentences.

Owns the errors about files that are not UTF-8. Must not know what a text means, nor quote it: it may be a secret.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""The byte order mark, as a character."""
_UTF_8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""**Source**: https://www.unicode.org/faq/utf_bom.html. PowerShell's ``>`` writes UTF-16."""
_QUOTES = frozenset("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb")


class NotText(ValueError):
    """A file is not UTF-8 text; the message is ``what is wrong; how to fix it``."""


def read_text(path: Path) -> str:
    """The text of a file; raises `NotText` if it is not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return decode_text(path.read_bytes())
    return decode_text(path.read_bytes()) if "\0" in text else text


def decode_text(raw: bytes) -> str:
    """Decode UTF-8 without a byte order mark, with line feeds only; raises `NotText`, also for NUL bytes."""
    for mark, name in _OTHER_MARKS.items():
        if raw.startswith(mark):
            raise NotText(f"is {name} text; save it as UTF-8")
    raw = raw.removeprefix(_UTF_8_MARK)
    nul = raw.find(b"\0")
    if nul >= 0:
        if nul < 2 and raw[nul + 2 : nul + 3] == b"\0":  # noqa: PLR2004 - every second byte
            raise NotText("is UTF-16 text; save it as UTF-8")
        raise NotText(f"line {_line_of(raw, nul)}: contains a NUL byte; remove it")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        where = f"line {_line_of(raw, error.start)}, byte {error.start}"
        raise NotText(f"{where}: is not UTF-8 text; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_secret(text: str) -> str:
    """A secret without surrounding byte order marks, blanks and line ends."""
    return text.strip().strip(MARK).strip()


def name_odd_character(text: str) -> str | None:
    """Name the first invisible character or typographic quote of a text; None without one."""
    for character in text:
        if character in _QUOTES or (not character.isprintable() and character not in "\n\t"):
            return f"U+{ord(character):04X} {unicodedata.name(character, 'a control character')}"
    return None


def _line_of(raw: bytes, position: int) -> int:
    return raw.count(b"\n", 0, position) + 1


def sentence(error: Exception) -> str:
    """Make the message of an error a sentence: with a capital letter and a full stop."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def size(number: int) -> str:
    """Bytes in a fitting unit, rounded down: ``12 KiB``, ``40 MiB``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= factor:
            return f"{number // factor} {unit}"
    return count(number, "byte")


def duration(seconds: float) -> str:
    """A setting in its largest whole unit: ``90 s``, ``15 min``, ``1 day``."""
    for unit, factor in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= factor and seconds % factor == 0:
            return count(int(seconds // factor), unit) if unit == "day" else f"{seconds // factor:.0f} {unit}"
    return f"{seconds:g} s"


def about(seconds: float) -> str:
    """A measured time, rounded: ``12 s``, ``3 min``, ``5 h``, ``2 days``."""
    for unit, factor in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.0f} {unit}"
    return f"{seconds:.0f} s"


def span(seconds: float) -> str:
    """A length of time as on a clock: ``0:42``, ``1:40``, ``1:02:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spans(shortest: float, longest: float, between: str) -> str:
    """Two lengths of time: ``1:40-2:30``; one where they look the same."""
    one, other = span(shortest), span(longest)
    return one if one == other else f"{one}{between}{other}"


def count(number: int, thing: str) -> str:
    """``1 poll``, ``2 polls``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
