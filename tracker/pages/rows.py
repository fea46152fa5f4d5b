"""One row of the list of tasks: what it says, from the public form of the task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.text import span, spans
from tracker.pages.texts import parse, reason_words, seconds_between, took

if TYPE_CHECKING:
    from datetime import datetime

Json = Any

MAX_LABELS: Final = 3
MAX_TITLE: Final = 300
MAX_THUMB_BYTES: Final = 4 * 2**20
"""A larger picture is not loaded for a tile."""
_PROMPTS: Final = ("prompt", "text", "lyrics", "title", "query", "content", "input", "messages", "contents", "parts")
_DEPTH: Final = 5
_LATE_ROOM: Final = 1.12
"""The bar ends a little after the usual time."""
_PLAYABLE: Final = frozenset({"audio", "video"})
ASSET_KINDS: Final = {"song": "audio", "video": "video", "image": "image", "text": "text"}


def title_of(task: Mapping[str, Json]) -> str:
    """What a person recognizes a task by: its prompt, a title of its outputs, or its route and id."""
    prompt = find_prompt(task["request"])
    if prompt:
        return prompt
    named = next((output["title"] for output in task["outputs"] if output["title"]), None)
    return named or f"{task['route']} {task['external_id'] or task['id']}"[:MAX_TITLE]


def find_prompt(value: Json, depth: int = 0) -> str | None:
    """The text in a request that says what is wanted."""
    if isinstance(value, str):
        return " ".join(value[: 2 * MAX_TITLE].split())[:MAX_TITLE] or None
    if depth > _DEPTH:
        return None
    if isinstance(value, Mapping):
        found = (find_prompt(value[name], depth + 1) for name in _PROMPTS if name in value)
        return next((text for text in found if text), None)
    if isinstance(value, list):
        # of a conversation the last message says what is wanted
        found = (find_prompt(item, depth + 1) for item in reversed(value[-20:]) if isinstance(item, Mapping))
        return next((text for text in found if text), None)
    return None


def bar_of(task: Mapping[str, Json], now: datetime) -> dict[str, Json] | None:
    """The progress bar: how long it has taken, and how long such tasks usually take; None before it is accepted."""
    since, expected = task["submitted_at"] or None, task["expected"]
    if task["status"] in {"SUCCEEDED", "FAILED"} or since is None:
        return None
    elapsed_s = seconds_between(since, now)
    if expected is None:
        text = f"{span(elapsed_s)} so far, usual time not known yet"
        return {"since": since, "elapsed_s": elapsed_s, "usual": None, "late": False, "text": text}
    p50_s, p90_s = expected["p50_s"], expected["p90_s"]
    full_s = max(p90_s * _LATE_ROOM, elapsed_s, 1.0)
    late = elapsed_s > p90_s
    return {
        "since": since,
        "elapsed_s": elapsed_s,
        "usual": {"p50_s": p50_s, "p90_s": p90_s, "samples": expected["samples"]},
        "late": late,
        "band_x": 100 * p50_s / full_s,
        "band_width": max(100 * (p90_s - p50_s) / full_s, 1.0),
        "fill": 100 * min(elapsed_s, p90_s if late else elapsed_s) / full_s,
        "over": 100 * (elapsed_s - p90_s) / full_s if late else 0.0,
        "text": f"{span(elapsed_s)} so far, usually {spans(p50_s, p90_s, ' to ')}",
    }


def state_of(task: Mapping[str, Json], now: datetime) -> tuple[str, str]:
    """What the row says beside and below the status."""
    match task["status"]:
        case "PENDING":
            if task["submitted_at"] is not None:
                return "accepted", "waits for the service to begin"
            return "waits to be sent", ""
        case "RUNNING":
            parts = [f"{task['stage']} ready" if task["stage"] in {"text", "first"} else task["stage"]]
            parts.append(None if task["progress"] is None else f"{task['progress']} %")
            return ", ".join(part for part in parts if part), ""
        case "FAILED":
            return reason_words(task["reason"] or "failed"), task["reason"] or ""
        case _:
            seconds = seconds_between(task["submitted_at"] or task["created_at"], task["finished_at"] or now)
            return f"in {took(seconds)}", " · ".join(_ends(task))


def _ends(task: Mapping[str, Json]) -> Iterator[str]:
    files = [output for output in task["outputs"] if output["kind"] != "text"]
    archived = sum(output["archived"] for output in files)
    if files:
        many = f"{len(files)} files"
        if archived == len(files):
            yield "Archived" if len(files) == 1 else f"{many} archived"
        elif archived:
            yield f"{archived} of {many} archived"
        else:
            yield "Not archived" if len(files) == 1 else f"{many}, not archived"
    if task["ended_by"]:
        words = {"callback": "ended by a callback", "poll": "found by a poll", "submit": "answered at once"}
        word = words.get(task["ended_by"], f"ended by {task['ended_by']}")
        yield word if files else word.capitalize()


def media_of(task: Mapping[str, Json], asset: str | None) -> dict[str, Json]:
    """The tile of a row: a picture, a play button, or the kind of media."""
    kind = ASSET_KINDS.get(asset or "", "")
    outputs = task["outputs"]
    picture = next(
        (
            output["n"]
            for output in outputs
            if output["kind"] == "image" and output["archived"] and (output["bytes"] or 0) <= MAX_THUMB_BYTES
        ),
        None,
    )
    playable = next((output["n"] for output in outputs if output["kind"] in _PLAYABLE and output["archived"]), None)
    if not kind and outputs:
        kind = outputs[0]["kind"]
    return {"kind": kind or "file", "picture": picture, "playable": playable}


def describe_row(task: Mapping[str, Json], now: datetime, asset: str | None) -> dict[str, Json]:
    """Everything that a row shows.

    Args:
        task: its public form.
        now: the current time.
        asset: what its route makes.
    """
    beside, below = state_of(task, now)
    labels = list(task["labels"].items())
    return {
        "id": task["id"],
        "title": title_of(task),
        "status": task["status"],
        "beside": beside,
        "below": below,
        "bar": bar_of(task, now),
        "media": media_of(task, asset),
        "labels": labels[:MAX_LABELS],
        "more_labels": len(labels) - MAX_LABELS,
        "route": task["route"],
        "model": task["model"],
        "created_at": task["created_at"],
        "day": parse(task["created_at"]).date(),
        "cost": task["cost"],
    }


def describe_tile(task: Mapping[str, Json], asset: str | None) -> dict[str, Json] | None:
    """A tile of the gallery; None if nothing of the task can be shown."""
    media = media_of(task, asset)
    if media["picture"] is None and media["playable"] is None:
        return None
    outputs = {output["n"]: output for output in task["outputs"]}
    shown = outputs[media["picture"] if media["playable"] is None else media["playable"]]
    return {
        "id": task["id"],
        "title": title_of(task),
        "media": media,
        "kind": shown["kind"],
        "duration_s": shown["duration_s"],
        "finished_at": task["finished_at"],
        "labels": list(task["labels"].items())[:MAX_LABELS],
    }
