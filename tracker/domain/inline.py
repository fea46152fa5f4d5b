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
_PIECE = 1 << 20


def reference_of(inline: str) -> str:
    """What names inline data in its absence: the digest of its base64 text; of a reference, itself."""
    if inline.startswith(_PREFIX):
        return inline
    digest = hashlib.sha256()
    for start in range(0, len(inline), _PIECE):  # in pieces: it may be 60 MB, and encoding holds the interpreter lock
        digest.update(inline[start : start + _PIECE].encode("ascii", "replace"))
    return _PREFIX + digest.hexdigest()


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
        replace(output, inline=_identity_of(output)) if output.inline is not None else output for output in outputs
    )


def with_identities(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """The same outputs, each that carries its data with the identity that this gives it: worked out only once."""
    return tuple(
        replace(output, known_as=_identity_of(output)) if output.known_as is None and has_data(output) else output
        for output in outputs
    )


def _identity_of(output: Output) -> str:
    known = output.known_as
    return known if known is not None and known.startswith(_PREFIX) else reference_of(output.inline or "")


def lighten(payload: str, outputs: Iterable[Output]) -> str:
    """A payload with a note in the place of each text that is the data of one of these outputs.

    Args:
        payload: JSON text.
        outputs: what was read from it; those without inline data are passed over.

    Returns:
        JSON text; as given when nothing in it is such data.
    """
    if not any_data(outputs):
        return payload
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload
    return orjson.dumps(strip_inline_data(value, outputs)).decode()


def strip_inline_data(value: Any, outputs: Iterable[Output]) -> Any:  # noqa: ANN401 - any JSON
    """The same for a decoded payload."""
    known = {_identity_of(output): n for n, output in enumerate(outputs) if has_data(output)}
    return _replaced(value, known) if known else value


def plain_base64(text: str) -> str:
    """Base64 in one spelling: no white space, the usual alphabet, padded."""
    text = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    return text + "=" * (-len(text) % 4)


def _replaced(value: Any, known: dict[str, int]) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case dict():
            return {name: _replaced(item, known) for name, item in value.items()}
        case list():
            return [_replaced(item, known) for item in value]
        case str() if len(value) >= _SHORT:
            data = value.partition(",")[2] if value.startswith("data:") else value
            n = known.get(reference_of(plain_base64(data)))
            return value if n is None else f"(output {n}: {len(data)} characters of base64, kept in its file)"
        case _:
            return value
