"""The model of a request: aliases such as ``@video``, and fallbacks for an unavailable model.

A fallback is tried only when the model before it was certainly not accepted, so that no job is paid twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracker.domain.observation import Reading, Submission
from tracker.domain.task import Reason

MODEL_FIELDS = ("model", "model_name")
"""Where requests name their model. Source: contracts of the families; Kling requires ``model_name`` and recommends
``model`` beside it, https://anyint.ai/docs/api-reference/kling-video (read 2026-11)."""

_ELSEWHERE = frozenset({Reason.ENTITLEMENT, Reason.QUOTA_EXHAUSTED, Reason.RATE_LIMITED, Reason.UPSTREAM_UNAVAILABLE})
"""Refusals that another model may avoid."""


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """The target of an alias: a model, and models to try after it, in order."""

    id: str
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One model that an account can use.

    Attributes:
        family: the list that names it.
        created_at: as the upstream writes it.
    """

    id: str
    family: str
    display_name: str | None = None
    type: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class ModelList:
    """The models of an account as they were last fetched.

    Attributes:
        synced_at: when the oldest of its lists was fetched; None: none was.
    """

    models: tuple[Model, ...]
    synced_at: datetime | None


class UnknownAliasError(Exception):
    """The environment does not define the alias of a request."""


def resolve_models(
    request: Mapping[str, Any], aliases: Mapping[str, ModelTarget]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Replace aliases with models.

    Args:
        request: the provider body; not changed.
        aliases: the targets of the environment's aliases, by name without ``@``.

    Returns:
        The body with models, and the fallbacks of its alias, if any.

    Raises:
        UnknownAliasError: an alias is not defined; the message names it and the known ones.
    """
    resolved = dict(request)
    fallbacks: tuple[str, ...] = ()
    for name in MODEL_FIELDS:
        value = request.get(name)
        if not isinstance(value, str) or not value.startswith("@"):
            continue
        target = aliases.get(value[1:])
        if target is None:
            known = ", ".join(f"@{alias}" for alias in sorted(aliases)) or "none"
            raise UnknownAliasError(f"unknown alias {value!r} in this environment; known: {known}")
        resolved[name] = target.id
        fallbacks = target.fallback
    return resolved, fallbacks


def model_of(request: Mapping[str, Any]) -> str | None:
    """The model that a request names, None when it names none."""
    return next((value for name in MODEL_FIELDS if isinstance(value := request.get(name), str)), None)


def with_model(request: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    """The same request for another model."""
    if model is None or model == model_of(request):
        return request
    return {**request, **{name: model for name in MODEL_FIELDS if isinstance(request.get(name), str)}}


def fall_back(reading: Reading, model: str | None, fallbacks: tuple[str, ...]) -> Reading:
    """Turn the refusal of one model into an attempt with the next.

    Args:
        reading: the upstream's answer to the create.
        model: the refused model.
        fallbacks: the models to try after the first, in order.

    Returns:
        The reading, unchanged or replaced by one that sends the create again at once with the next model.
    """
    tried = fallbacks.index(model) + 1 if model in fallbacks else 0
    if tried >= len(fallbacks) or not _may_help(reading):
        return reading
    code = reading.error and reading.error.code
    why = " ".join(part for part in (reading.reason or "not accepted", code) if part)
    return Reading(
        submission=Submission.DEFERRED,
        reason=reading.reason,
        error=reading.error,
        retry_after_s=0.0,
        next_model=fallbacks[tried],
        detail=f"model {model} was refused ({why}); trying {fallbacks[tried]} instead",
    )


def _may_help(reading: Reading) -> bool:
    if reading.submission not in {Submission.REFUSED, Submission.DEFERRED}:
        return False
    code = (reading.error.code or "") if reading.error else ""
    # an unknown model is reported as an invalid request: ModelNotFound, model_not_found, Kling 1203
    unknown_model = "model" in code.lower() or code == "1203"
    return reading.reason in _ELSEWHERE or (reading.reason is Reason.INVALID_REQUEST and unknown_model)
