"""Outputs that came as base64 inside an answer: how they are named, and how copies of their data are left out.

Owns the reference that stands in place of the data. The data itself is kept once, with the task's outputs, until
the archive has it in a file; events name it by its reference. Must not decode or write anything.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracker.domain.task import Output

_PREFIX = "sha256:"
"""No letter of base64: a reference is never taken for data."""
_SHORT = 256
"""Characters; shorter texts are left as they are, they cost nothing."""
_URL_SAFE = str.maketrans("-_", "+/")


def reference_of(inline: str) -> str:
    """What names inline data in its absence: the digest of its base64 text; of a reference, itself."""
    if inline.startswith(_PREFIX):
        return inline
    return _PREFIX + hashlib.sha256(inline.encode("ascii", "replace")).hexdigest()


def has_data(output: Output) -> bool:
    """Whether an output carries its data itself, not only the reference to it."""
    return output.inline is not None and not output.inline.startswith(_PREFIX)


def any_data(outputs: Iterable[Output]) -> bool:
    """Whether one of the outputs carries its data itself; asked for every callback, and hardly ever so."""
    for output in outputs:  # noqa: SIM110 - a generator costs three times as much
        if output.inline is not None and has_data(output):
            return True
    return False


def without_data(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """The same outputs, each with a reference in the place of its data."""
    if not any_data(outputs):
        return outputs
    return tuple(
        replace(output, inline=reference_of(output.inline)) if output.inline is not None else output
        for output in outputs
    )


def lighten(payload: str, outputs: Iterable[Output]) -> str:
    """A payload with a note in the place of each text that is the data of one of these outputs.

    Args:
        payload: JSON text.
        outputs: what was read from it; those without inline data are passed over.

    Returns:
        JSON text; as given when nothing in it is such data.
    """
    known = {_bare(output.inline): n for n, output in enumerate(outputs) if output.inline and has_data(output)}
    if not known:
        return payload
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload
    return orjson.dumps(_replaced(value, known)).decode()


def _replaced(value: Any, known: dict[str, int]) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case dict():
            return {name: _replaced(item, known) for name, item in value.items()}
        case list():
            return [_replaced(item, known) for item in value]
        case str() if len(value) >= _SHORT:
            data = value.partition(",")[2] if value.startswith("data:") else value
            n = known.get(_bare(data))
            return value if n is None else f"(output {n}: {len(data)} characters of base64, kept in its file)"
        case _:
            return value


def _bare(text: str) -> str:
    """Base64 in one spelling: no white space, no padding, the usual alphabet."""
    return "".join(text.split()).rstrip("=").translate(_URL_SAFE)
