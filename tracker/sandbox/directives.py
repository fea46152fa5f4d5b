"""Directives: faults that a request asks for in its prompt.

Owns the grammar and the list of directives. Must not carry any of them out.

A prompt may hold, anywhere, one or more of ``[sandbox: name=value; name=value,value]``. Where a request has
no prompt, any string in its body may. A prompt with a
directive is exempt from every rate of ``Chaos`` (latency excepted): only the directives decide. A
directive that is not in this list is answered with HTTP 400 and ``error.code`` = ``sandbox_directive``,
because a test with a misspelt directive would otherwise prove nothing.

create: what happens to the create request
    ``policy``, ``quota``, ``500``, ``502``, ``error_body``: refused, every time
    ``rate_limited``, ``throttled``, ``503``, ``maintenance``: refused the first time, then accepted
    ``refused``: the connection is cut before the request is processed; ``hang``: never answered
    ``cut``: the job is made, then the connection is cut; ``garbled``: the job is made, the answer unreadable
fail: the job fails, with ``policy``, ``error``, ``invalid``, ``silent`` or ``canceled``
callback: one or several of ``duplicate``, ``lost``, ``late``, ``early``, ``reordered``; ``forged``: signed
    wrongly, where callbacks are signed
poll: ``flaky``: every second poll fails, each time in another way; ``gone``: the id is never found
url: ``missing``: success without an output, for ever; ``late``: the output is shown one duration later
stage: ``hold``: never finishes; ``strange``: while it runs, a status that no document names;
    ``callback_exception``: Suno's CALLBACK_EXCEPTION instead of SUCCESS, outputs present
dialect: ``wrapped``: Suno callbacks in their upstream wrapper; ``bare``: without it;
    ``kie``: Suno with the field names of kie.ai; ``new``: Kling's newer field names, and ``metadata.url`` in
    OpenAI-style videos
file: ``cut``: the first download of each output ends half-way
duration: seconds until the job finishes, such as ``duration=2.5``
calm: no value; nothing special happens, and no chaos touches this request
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracker.sandbox.chaos import CreateFault, GenerationFault


@dataclass(frozen=True, slots=True)
class Directive:
    """One entry of the list that help texts print.

    Attributes:
        name: The text before the equals sign.
        values: The values it takes; empty for a flag or a free value.
        meaning: One plain sentence.
        many: Whether several values may be given, separated by commas.
        example: How it is written.
    """

    name: str
    values: tuple[str, ...]
    meaning: str
    example: str
    many: bool = False


DIRECTIVES: tuple[Directive, ...] = (
    Directive(
        "create",
        tuple(fault.value for fault in CreateFault),
        "What happens to the create request; rate_limited, throttled, 503 and maintenance only once.",
        "create=rate_limited",
    ),
    Directive(
        "fail",
        tuple(fault.value for fault in GenerationFault),
        "The job is accepted and fails at its end.",
        "fail=policy",
    ),
    Directive(
        "callback",
        ("duplicate", "lost", "late", "early", "reordered", "forged"),
        "How the callbacks arrive.",
        "callback=duplicate,early",
        many=True,
    ),
    Directive("poll", ("flaky", "gone"), "Every second poll fails, or the id is never found.", "poll=flaky"),
    Directive("url", ("missing", "late"), "Success without an output, for ever or for a while.", "url=missing"),
    Directive(
        "stage",
        ("hold", "strange", "callback_exception"),
        "Never finishes, shows an undocumented status, or ends in Suno's CALLBACK_EXCEPTION.",
        "stage=hold",
    ),
    Directive("dialect", ("wrapped", "bare", "kie", "new"), "Which spelling of the answers to use.", "dialect=wrapped"),
    Directive("file", ("cut",), "The first download of each output ends half-way.", "file=cut"),
    Directive("duration", (), "Seconds until the job finishes.", "duration=2.5"),
    Directive("calm", (), "No chaos touches this request.", "calm"),
)

_BY_NAME = {directive.name: directive for directive in DIRECTIVES}
MARK = "[sandbox:"
"""What every block of directives starts with."""

_BLOCK = re.compile(r"\[sandbox:([^\]]*)\]")
_MAX_DURATION_S = 86_400.0


class DirectiveInvalid(ValueError):
    """A prompt holds a directive that is not in the list."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a prompt asks for. Empty for a prompt without directives."""

    scripted: bool = False
    create: CreateFault | None = None
    fail: GenerationFault | None = None
    callback: frozenset[str] = frozenset()
    poll: str | None = None
    url: str | None = None
    stage: str | None = None
    dialect: str | None = None
    file: str | None = None
    duration_s: float | None = None


def _check_values(directive: Directive, text: str) -> list[str]:
    values = [value.strip() for value in text.split(",")] if directive.many else [text]
    for value in values:
        if value not in directive.values:
            raise DirectiveInvalid(
                f"sandbox directive {directive.name}={value!r}: expected {', '.join(directive.values)}"
            )
    return values


def _read_duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_DURATION_S:
        raise DirectiveInvalid(f"sandbox directive duration={text!r}: expected seconds, 0..86400")
    return seconds


def parse_directives(prompt: str) -> Script:
    """Read the directives of a prompt.

    Args:
        prompt: The prompt as the client sent it.

    Returns:
        The script; ``scripted`` is False when the prompt holds no directive.

    Raises:
        DirectiveInvalid: An unknown name or value.
    """
    found: dict[str, list[str]] = {}
    duration_s: float | None = None
    blocks = _BLOCK.findall(prompt)
    for block in blocks:
        for part in filter(None, (piece.strip() for piece in block.split(";"))):
            name, _, value = (half.strip() for half in part.partition("="))
            directive = _BY_NAME.get(name)
            if directive is None:
                raise DirectiveInvalid(f"unknown sandbox directive {name!r}; known: {', '.join(_BY_NAME)}")
            if name == "duration":
                duration_s = _read_duration(value)
            elif name == "calm":
                if value:
                    raise DirectiveInvalid("sandbox directive calm takes no value")
            else:
                found[name] = _check_values(directive, value)

    def one(name: str) -> str | None:
        return found[name][0] if name in found else None

    create, fail = one("create"), one("fail")
    return Script(
        scripted=bool(blocks),
        create=CreateFault(create) if create else None,
        fail=GenerationFault(fail) if fail else None,
        callback=frozenset(found.get("callback", ())),
        poll=one("poll"),
        url=one("url"),
        stage=one("stage"),
        dialect=one("dialect"),
        file=one("file"),
        duration_s=duration_s,
    )
