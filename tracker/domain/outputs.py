"""Outputs from one word of the upstream to the next: which are the same, which are new, and which must not be lost.

Owns their identity. Must not know statuses, nor where files are kept.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from tracker.domain.inline import reference_of
from tracker.domain.task import Output

# Names of query parameters that sign a URL or date its signature: S3 and those like it, Google, OSS, TOS, COS,
# CloudFront, Azure, and what CDNs use.
_SIGNING = re.compile(
    r"(?i)x-(?:amz|goog|oss|tos|cos)-.*|q-.*|expires?|exp|signature|sign?|policy|key-pair-id|token|security-token"
    r"|ossaccesskeyid|awsaccesskeyid|googleaccessid|auth_key|s[eprtv]|spr|sk[a-z]{1,3}|ts|timestamp|t"
)


def output_identity(output: Output) -> str:
    """What makes an output the same one when its temporary URL was signed anew: the URL without its query."""
    if output.known_as is not None:
        return output.known_as
    if output.url is not None:
        return output.url.partition("?")[0]
    return output.text or (reference_of(output.inline) if output.inline else "")


def told_apart(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """The outputs of one answer, each with an identity of its own.

    Some upstreams hand every file out at one address and name it in the query (``…/download?item=2``). Where that
    happens, the query counts for these outputs, but for what signs it and is different each time.
    """
    if len(outputs) < 2:  # noqa: PLR2004 - nearly always: one has nobody to be told apart from
        return outputs
    identities = [output_identity(output) for output in outputs]
    if len(set(identities)) == len(identities):
        return outputs
    unsigned = [_unsigned(output.url or "") for output in outputs]
    return tuple(
        replace(output, known_as=output.url if unsigned.count(name) > 1 else name)
        if output.url is not None and output.known_as is None and identities.count(identity) > 1
        else output
        for output, identity, name in zip(outputs, identities, unsigned, strict=True)
    )


def _unsigned(url: str) -> str:
    base, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and not _SIGNING.fullmatch(part.partition("=")[0])]
    return f"{base}?{'&'.join(kept)}" if kept else base


def more_of(known: tuple[Output, ...], told: tuple[Output, ...]) -> tuple[Output, ...]:
    """What a longer list of outputs has beyond the known ones, which keep their places."""
    return _beyond(known, told)


def with_known(told: tuple[Output, ...], known: tuple[Output, ...]) -> tuple[Output, ...]:
    """The outputs that an end names; where it names fewer than were told on the way, with those: none is lost.

    What the end leaves unsaid of an output (its title, length or type) stays as it was said before.
    """
    return described(known, told, told) + _beyond(told, known)


def described(older: tuple[Output, ...], newer: tuple[Output, ...], wanted: tuple[Output, ...]) -> tuple[Output, ...]:
    """The wanted outputs with the latest title, length and type that an answer gives for each.

    Args:
        older: outputs of earlier answers.
        newer: outputs of the answer at hand; what they say counts more.
        wanted: one of the two; their URLs and identities stay.

    Returns:
        The same tuple when nothing changes.
    """
    if not older or not newer:
        return wanted
    before = {output_identity(output): output for output in older}
    after = {output_identity(output): output for output in newer}
    changed = tuple(_described(output, before, after) for output in wanted)
    return wanted if changed == wanted else changed


def _described(output: Output, before: dict[str, Output], after: dict[str, Output]) -> Output:
    identity = output_identity(output)
    old, new = before.get(identity), after.get(identity)
    if old is None or new is None or old.kind != new.kind:
        return output
    return replace(
        output,
        title=new.title or old.title,
        duration_s=old.duration_s if new.duration_s is None else new.duration_s,
        mime=new.mime or old.mime,
    )


def _beyond(shorter: tuple[Output, ...], longer: tuple[Output, ...]) -> tuple[Output, ...]:
    if len(longer) <= len(shorter):
        return ()
    names = set(map(output_identity, shorter))
    more = tuple(output for output in longer if output_identity(output) not in names)
    # none has a name of the others where the upstream signs in the path: then the places tell
    return longer[len(shorter) :] if len(more) == len(longer) else more
