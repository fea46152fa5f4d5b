"""Outputs: their identity, how a later answer merges with what is known, and inline base64 data.

Inline data is stored once, apart from the task, until the archive has it in a file; everywhere else a reference (its
digest) replaces it. Must not know statuses, decode data, or know where files are stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import orjson
from msgspec.structs import replace

from tracker.domain.task import Output

# Query parameters that sign a URL or date its signature: S3 and compatible stores, Google, OSS, TOS, COS, CloudFront,
# Azure, and CDNs.
_SIGNING = re.compile(
    r"(?i)x-(?:amz|goog|oss|tos|cos)-.*|q-.*|expires?|exp|signature|sign?|policy|key-pair-id|token|security-token"
    r"|ossaccesskeyid|awsaccesskeyid|googleaccessid|auth_key|s[eprtv]|spr|sk[a-z]{1,3}|ts|timestamp|t"
)
_PREFIX = "sha256:"
"""``:`` does not occur in base64: a reference is never mistaken for data."""
_SHORT = 256
"""Characters; shorter texts stay in payloads, they cost nothing."""
_PIECE = 1 << 20


# -- identity ------------------------------------------------------------------------------------------------


def output_identity(output: Output) -> str:
    """The identity of an output, the same when its temporary URL gets a new signature: the URL without its query."""
    if output.identity_override is not None:
        return output.identity_override
    if output.url is not None:
        return output.url.partition("?")[0]
    return output.text or (reference_of(output.inline) if output.inline else "")


def disambiguate(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Give each output of one answer a unique identity.

    Some upstreams serve every file at one address and name it in the query (``…/download?item=2``). For such outputs
    the query counts, without the parameters that sign it and differ each time.
    """
    if len(outputs) < 2:  # noqa: PLR2004 - the usual case: a single output needs no disambiguation
        return outputs
    identities = [output_identity(output) for output in outputs]
    if len(set(identities)) == len(identities):
        return outputs
    unsigned = [_unsigned(output.url or "") for output in outputs]
    return tuple(
        replace(output, identity_override=output.url if unsigned.count(name) > 1 else name)
        if output.url is not None and output.identity_override is None and identities.count(identity) > 1
        else output
        for output, identity, name in zip(outputs, identities, unsigned, strict=True)
    )


def is_signing(parameter: str) -> bool:
    """Whether a query parameter with this name signs a URL, or dates its signature."""
    return _SIGNING.fullmatch(parameter) is not None


def _unsigned(url: str) -> str:
    base, _, query = url.partition("?")
    parameters = [part for part in query.split("&") if part and not is_signing(part.partition("=")[0])]
    return f"{base}?{'&'.join(parameters)}" if parameters else base


# -- merging -------------------------------------------------------------------------------------------------


def new_outputs(known: tuple[Output, ...], latest: tuple[Output, ...]) -> tuple[Output, ...]:
    """The outputs that a longer list has beyond the known ones, which stay at their positions."""
    if len(latest) <= len(known):
        return ()
    identities = set(map(output_identity, known))
    new = tuple(output for output in latest if output_identity(output) not in identities)
    # where the upstream signs in the path no identity matches: then the position decides
    return latest[len(known) :] if len(new) == len(latest) else new


def merge_known(final: tuple[Output, ...], known: tuple[Output, ...]) -> tuple[Output, ...]:
    """The outputs of a final answer, plus those that only earlier answers named: none is lost.

    A title, length or type that the final answer leaves out stays as known.
    """
    return described(known, final, final) + new_outputs(final, known)


def described(older: tuple[Output, ...], newer: tuple[Output, ...], wanted: tuple[Output, ...]) -> tuple[Output, ...]:
    """The wanted outputs with the latest title, length and type of each.

    Args:
        older: outputs of earlier answers.
        newer: outputs of the current answer; its values win.
        wanted: one of the two; their URLs and identities stay.

    Returns:
        The same tuple when nothing changes.
    """
    if not older or not newer or older == newer:
        return wanted
    before = {output_identity(output): output for output in older}
    after = {output_identity(output): output for output in newer}
    changed = tuple([_described(output, before, after) for output in wanted])
    return wanted if changed == wanted else changed


def _described(output: Output, before: dict[str, Output], after: dict[str, Output]) -> Output:
    identity = output_identity(output)
    old, new = before.get(identity), after.get(identity)
    if old is None or new is None or old.kind != new.kind:
        return output
    title, mime = new.title or old.title, new.mime or old.mime
    duration_s = old.duration_s if new.duration_s is None else new.duration_s
    if (title, duration_s, mime) == (output.title, output.duration_s, output.mime):
        return output
    return replace(output, title=title, duration_s=duration_s, mime=mime)


# -- inline data ---------------------------------------------------------------------------------------------


def reference_of(inline: str) -> str:
    """The reference to inline data: the digest of its base64 text; a reference is returned unchanged."""
    if inline.startswith(_PREFIX):
        return inline
    digest = hashlib.sha256()
    for start in range(0, len(inline), _PIECE):  # in pieces: it may be 60 MB, and encoding holds the interpreter lock
        digest.update(inline[start : start + _PIECE].encode("ascii", "replace"))
    return _PREFIX + digest.hexdigest()


def has_inline_data(output: Output) -> bool:
    """Whether an output carries its data itself, not only the reference to it."""
    return output.inline is not None and not output.inline.startswith(_PREFIX)


def any_inline_data(outputs: Iterable[Output]) -> bool:
    """Whether one of the outputs carries its data itself; checked for every callback, rarely true."""
    for output in outputs:  # noqa: SIM110 - a generator costs three times as much
        if output.inline is not None and has_inline_data(output):
            return True
    return False


def strip_inline_data(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """The same outputs, with a reference instead of inline data."""
    if not any_inline_data(outputs):
        return outputs
    return tuple(
        replace(output, inline=_inline_identity(output)) if output.inline is not None else output for output in outputs
    )


def identify_inline_data(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """The same outputs, with the identity of each that carries its data set: it is computed only once."""
    return tuple(
        replace(output, identity_override=_inline_identity(output))
        if output.identity_override is None and has_inline_data(output)
        else output
        for output in outputs
    )


def _inline_identity(output: Output) -> str:
    known = output.identity_override
    return known if known is not None and known.startswith(_PREFIX) else reference_of(output.inline or "")


def strip_payload_text(payload: str, outputs: Iterable[Output]) -> str:
    """A JSON payload with a note instead of each text that is the data of one of these outputs.

    Returns:
        JSON text; unchanged when it holds no such data.
    """
    if not any_inline_data(outputs):
        return payload
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload
    return orjson.dumps(strip_payload_data(value, outputs)).decode()


def strip_payload_data(value: Any, outputs: Iterable[Output]) -> Any:  # noqa: ANN401 - any JSON
    """The same for a decoded payload."""
    known = {_inline_identity(output): n for n, output in enumerate(outputs) if has_inline_data(output)}
    return _replaced(value, known) if known else value


def plain_base64(text: str) -> str:
    """Base64 in one spelling: no white space, the standard alphabet, padded."""
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
            return value if n is None else f"(output {n}: {len(data)} characters of base64, stored in its file)"
        case _:
            return value
