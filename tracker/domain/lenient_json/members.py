"""JSON with unusual members: duplicates of which the last is empty, or capitalized names.

Owns which of them count. It must not know what a document means, and is used only if nothing was found without it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from tracker.domain.lenient_json.decoder import (
    BLANKS,
    Decoded,
    merge_members,
    parse_constant,
    parse_integer,
    unwrapped,
    without_surrogates,
)
from tracker.domain.lenient_json.large import LARGE_BYTES

Json = Any

_INNER_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def decode_respelled(decoded: Decoded, body: bytes) -> bytes | None:
    """Decode a small document again, with usual member names, as strict JSON; None if nothing changes.

    Of a duplicate member the last non-empty one counts. A capitalized name is added in lower case as well (``TaskId``
    as ``taskId`` and ``task_id``).
    """
    text = decoded.text
    if text is None or len(text) > LARGE_BYTES or not isinstance(decoded.value, dict):
        return None
    for source in (body, text):
        try:
            value = unwrapped(_RESPELLING.decode(without_surrogates(source.decode().strip(BLANKS))))
            break
        except (ValueError, RecursionError):
            continue
    else:
        return None
    return None if value == decoded.value else orjson.dumps(value)


def _respelled(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = merge_members(pairs)
    for name, value in list(members.items()):
        if name[:1].isupper():
            low = name.lower() if name.isupper() or "_" in name else name[0].lower() + name[1:]
            for other in (low, _INNER_CAPITAL.sub("_", low).lower()):
                members.setdefault(other, value)
    return members


_RESPELLING = json.JSONDecoder(
    object_pairs_hook=_respelled, strict=False, parse_int=parse_integer, parse_constant=parse_constant
)
