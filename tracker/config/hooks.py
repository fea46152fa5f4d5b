"""``[[hooks]]``: what runs when a task changes.

Owns the keys of a hook and what they may hold. Must not run anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tracker.config.fields import (
    Count,
    EnvName,
    HookUrl,
    Name,
    Names,
    PositiveDuration,
    ResolvedPath,
    Section,
    resolve_path,
)
from tracker.config.sections import Mistake
from tracker.domain.hook_events import PATTERNS

KINDS = ("run", "url", "plugin", "notify")
"""What a hook may be; each names one of them."""


class HookSpec(Section):
    """One hook.

    Attributes:
        name: its name in deliveries; unique.
        on: the events that it hears, by patterns.
        run: program and arguments; no shell. A relative path with a slash starts beside the file.
        worker: that program stays, and is told one event per line.
        url: an HTTP endpoint, which gets events signed with the secret.
        secret_env, secret_file: what to sign with, one or several ``whsec_…`` separated by blanks; for ``notify``
            what ``{secret}`` in it stands for.
        plugin: a Python plug-in, by the name of its entry point.
        notify: an apprise address.
        allow_private_addresses: the endpoint may be in a private network or on this machine.
        provider, route, account: hear only tasks of one of these; empty: of any.
        labels: hear only tasks that carry all of these.
        timeout_s: how long one attempt may take.
        retry_first_s, retry_max_s: bounds of the growing delay between attempts.
        concurrency: attempts of this hook that may run side by side.
    """

    name: Name
    on: Annotated[Names, Field(min_length=1)]
    run: Annotated[Names, Field(min_length=1)] | None = None
    worker: bool = False
    url: HookUrl | None = None
    secret_env: EnvName | None = None
    secret_file: ResolvedPath | None = None
    plugin: Annotated[str, Field(min_length=1)] | None = None
    notify: Annotated[str, Field(min_length=1)] | None = None
    provider: Names = ()
    route: Names = ()
    account: Names = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    timeout_s: PositiveDuration = 60.0
    max_attempts: Count = 12
    retry_first_s: PositiveDuration = 2.0
    retry_max_s: PositiveDuration = 3600.0
    concurrency: Count = 4
    allow_private_addresses: bool = False

    @field_validator("on")
    @classmethod
    def _known_events(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        for event in events:
            if event not in PATTERNS:
                near = difflib.get_close_matches(event, PATTERNS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(PATTERNS)}"
                raise ValueError(f"there is no event {event!r}; {hint}")
        return events

    @field_validator("run")
    @classmethod
    def _command_path(cls, run: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if not run:
            return run
        if not run[0].strip():
            raise ValueError('names no program; write for example run = ["/usr/local/bin/publish.sh"]')
        program = str(resolve_path(Path(run[0]), info)) if "/" in run[0] else run[0]
        return (program, *run[1:])

    @model_validator(mode="after")
    def _runs_one_thing(self) -> Self:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if not kinds:
            raise Mistake(
                f'says not what to run; add run = ["/path/to/script"], or one of {", ".join(KINDS[1:])}', "run"
            )
        if len(kinds) > 1:
            raise Mistake(f"a hook is one thing, and this names {' and '.join(kinds)}; make it several hooks", kinds[1])
        if self.worker and self.run is None:
            raise Mistake("only a program can stay; remove it, or use run", "worker")
        if self.secret_env is not None and self.secret_file is not None:
            raise Mistake("two secrets are named; keep secret_env or secret_file", "secret_file")
        if self.url is not None and self.secret_env is None and self.secret_file is None:
            raise Mistake("requests are signed, which needs a secret; set secret_env or secret_file", "secret_env")
        if self.retry_max_s < self.retry_first_s:
            raise Mistake(
                f"retry_max_s ({self.retry_max_s:g}) is less than retry_first_s ({self.retry_first_s:g}); raise it",
                "retry_max_s",
            )
        return self
