"""JSON whose members are written in a way that hides them: twice, the last one empty, or with a capital at first.

Owns what counts then. It must not know what a document means, and is asked only where nothing was found without it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from tracker.domain.lenient_json.decoder import BLANKS, Decoded, filled, nothing, taken_out, whole_number
from tracker.domain.lenient_json.large import LARGE_BYTES

Json = Any

_INNER_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def decode_respelled(decoded: Decoded, body: bytes) -> bytes | None:
    """A small document again, as strict JSON, for what nobody found in it at first.

    Of a member that comes twice the last with something in it counts, where the parser took the last. A name with a
    capital at its beginning stands beside the same one without (``TaskId`` is ``taskId`` and ``task_id``).

    Args:
        decoded: the document.
        body: what it was decoded from.

    Returns:
        None for a large document, or one that it makes no difference to.
    """
    text = decoded.text
    if text is None or len(text) > LARGE_BYTES or not isinstance(decoded.value, dict):
        return None
    # an odd body was read with care for its members; its names are left
    for source in (body, text):
        try:
            value = taken_out(_RESPELLING.decode(source.decode().strip(BLANKS)))
            break
        except (ValueError, RecursionError):
            continue
    else:
        return None
    return None if value == decoded.value else orjson.dumps(value)


def _respelled(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = filled(pairs)
    for name, value in list(members.items()):
        if name[:1].isupper():
            low = name.lower() if name.isupper() or "_" in name else name[0].lower() + name[1:]
            for other in (low, _INNER_CAPITAL.sub("_", low).lower()):
                members.setdefault(other, value)
    return members


_RESPELLING = json.JSONDecoder(
    object_pairs_hook=_respelled, strict=False, parse_int=whole_number, parse_constant=nothing
)
