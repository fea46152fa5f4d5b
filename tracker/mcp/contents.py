"""What tools return: sentences for the model, the task as JSON, outputs as links, and small images. Pure.

Source: https://modelcontextprotocol.io/specification/2025-11-25/server/tools (read 2026-11).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from msgspec import to_builtins

from tracker.client import OutputView, Status, TaskView

INLINE_BYTES: Final = 256 * 1024
"""Images up to this size come with the result."""
SHOWN_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""Images that models see."""
_LEFT_OUT: Final = ("request", "result", "usage")
"""They can be large, and are of no use to an agent."""

Json = Any


def result_of(text: str, structured: Json, content: Iterable[ContentBlock] = ()) -> CallToolResult:
    """A result."""
    return CallToolResult(content=[TextContent(text=text), *content], structured_content=structured)


def error_of(text: str) -> CallToolResult:
    """An error, which the model reads."""
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def task_json(task: TaskView) -> dict[str, Json]:
    """A task without what can be large."""
    found = to_builtins(task)
    return {name: value for name, value in found.items() if name not in _LEFT_OUT}


def describe(task: TaskView) -> str:
    """One sentence about the state of a task."""
    named = f"Task {task.id} ({task.route})"
    match task.status:
        case Status.SUCCEEDED:
            return f"{named} SUCCEEDED. {task.user_message}"
        case Status.FAILED:
            message = f" Message of the service: {task.error.message}" if task.error and task.error.message else ""
            return f"{named} FAILED ({task.reason}). {task.user_message}{message}"
        case _:
            progress = f" at {task.progress} %" if task.progress is not None else ""
            expected = f" It usually takes {task.expected.p50_s:.0f} s." if task.expected else ""
            return f"{named} is {task.status}{progress}. {task.user_message}{expected}"


def output_uri(task_id: str, number: int) -> str:
    """The address of an archived output, which this server can read."""
    return f"tracker://tasks/{task_id}/outputs/{number}"


def contents_of(task: TaskView, images: Mapping[int, bytes]) -> list[ContentBlock]:
    """The outputs of a task: texts, links to files, and images.

    Args:
        task: the task.
        images: number of an output -> its content, for small images.
    """
    found: list[ContentBlock] = []
    for output in task.outputs:
        if isinstance(output.text, str):
            found.append(TextContent(text=output.text))
        elif (uri := output_uri(task.id, output.n) if output.archived else output.url) is not None:
            found.append(_link(output, uri))
        if output.n in images:
            data = base64.b64encode(images[output.n]).decode()
            found.append(ImageContent(data=data, mime_type=output.mime or ""))
    return found


def is_shown(output: OutputView) -> bool:
    """Whether an output is an image that comes with the result."""
    return output.archived and output.mime in SHOWN_TYPES and (output.bytes or 0) <= INLINE_BYTES


def file_link(path: Path, output: OutputView | None) -> ResourceLink:
    """A link to a copy on this machine."""
    mime = None if output is None else output.mime
    size = None if output is None else output.bytes
    return ResourceLink(uri=path.absolute().as_uri(), name=path.name, mime_type=mime, size=size)


def _link(output: OutputView, uri: str) -> ResourceLink:
    name = Path(output.path).name if output.path else f"output {output.n}"
    expiry = "" if output.archived else " The URL expires."
    return ResourceLink(
        uri=uri,
        name=name,
        title=output.title,
        description=f"Output {output.n}: {output.kind}.{expiry}",
        mime_type=output.mime,
        size=output.bytes,
    )
