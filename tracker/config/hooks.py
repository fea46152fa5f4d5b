"""``[[hooks]]``: what runs when a task changes, and for which tasks.

Owns the keys that every hook has. Each kind of hook adds its own, see `tracker.hooks.kinds`; the reader of the
configuration gets the table with all of them (`Context.hook_table`). Must not run anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Protocol, Self, cast

from pydantic import (
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from tracker.config.fields import Count, EnvName, Name, Names, PositiveDuration, ResolvedPath, Section, context_of
from tracker.config.sections import Mistake
from tracker.domain.hook_events import PATTERNS


class Action(Protocol):
    """What a hook does, made by its kind of the kind's keys. A frozen value."""

    @property
    def kind(self) -> str:
        """Name of the kind in `tracker.hooks.kinds.registry`."""
        ...


class HookSpec(Section):
    """One hook: its table in the configuration, and the action that its kind made of it.

    Attributes:
        name: unique among all hooks; deliveries and their ids (which go into URLs and HTTP headers) carry it.
        on: the events it subscribes to, by `tracker.domain.hook_events.PATTERNS`.
        secret_env, secret_file: a secret that the kind uses, see there.
        provider, route, account: only tasks of one of these; empty: all tasks.
        labels: only tasks that have all of these labels.
        timeout_s: the limit of one attempt.
        max_attempts: after so many failed attempts a delivery is dead.
        retry_first_s, retry_max_s: the delay after the first failed attempt, and its bound; it doubles in between.
        concurrency: attempts of this hook that may run side by side.
    """

    name: Name
    on: Annotated[Names, Field(min_length=1)]
    secret_env: EnvName | None = None
    secret_file: ResolvedPath | None = None
    provider: Names = ()
    route: Names = ()
    account: Names = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    timeout_s: PositiveDuration = 60.0
    max_attempts: Count = 12
    retry_first_s: PositiveDuration = 2.0
    retry_max_s: PositiveDuration = 3600.0
    concurrency: Count = 4

    _action: Action = PrivateAttr()

    @property
    def action(self) -> Action:
        """What it does; set by `with_action`."""
        values = self.__pydantic_private__  # pydantic's own look-up is slow, and each run makes several
        assert values is not None  # noqa: S101 - every model with private attributes has them
        return cast("Action", values["_action"])

    def with_action(self, action: Action) -> Self:
        """The same hook, ready to run."""
        spec = self.model_copy()
        spec._action = action  # noqa: SLF001 - its own
        return spec

    def sensitive(self) -> dict[str, str]:
        """The keys whose values may hold a secret: those that their kind declares with ``repr=False``."""
        keys = [key for key, field in type(self).model_fields.items() if not field.repr]
        return {key: value for key in keys if (value := getattr(self, key))}

    @field_validator("on")
    @classmethod
    def _known_events(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        for event in events:
            if event not in PATTERNS:
                near = difflib.get_close_matches(event, PATTERNS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(PATTERNS)}"
                raise ValueError(f"unknown event {event!r}; {hint}")
        return events

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.secret_env is not None and self.secret_file is not None:
            raise Mistake("two secrets are set; remove secret_env or secret_file", "secret_file")
        if self.retry_max_s < self.retry_first_s:
            raise Mistake(
                f"retry_max_s ({self.retry_max_s:g}) is less than retry_first_s ({self.retry_first_s:g}); raise it",
                "retry_max_s",
            )
        return self


def _with_the_keys_of_kinds(table: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> HookSpec:  # noqa: ANN401 - not checked yet
    hook_table = context_of(info).hook_table
    return cast(
        "HookSpec", check(table) if hook_table is None else hook_table().model_validate(table, context=info.context)
    )


AnyHook = Annotated[SerializeAsAny[HookSpec], WrapValidator(_with_the_keys_of_kinds)]
"""A hook of any kind."""
