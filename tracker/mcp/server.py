"""The MCP server: its tools and resources. It holds no state: every call asks the daemon.

Owns the texts for agents: what costs money, and what to call next. Errors are one sentence, as results that the model
reads.

Source: https://modelcontextprotocol.io/specification/2025-11-25/server/tools (read 2026-11).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedToolError
from mcp_types import CallToolResult, ToolAnnotations
from msgspec import json, to_builtins
from pydantic import Field, ValidationError

from tracker import __version__
from tracker.client import AsyncClient, ClientError, NotFound, Status, TaskView, Unauthorized, Unreachable
from tracker.domain.archives import ArchiveState
from tracker.mcp.contents import contents_of, describe, error_of, file_link, is_shown, output_uri, result_of, task_json

MAX_WAIT_S: Final = 45
"""Clients give up on a call after a minute."""
MAX_LISTED: Final = 50
MAX_RESOURCE_BYTES: Final = 16 * 1024 * 1024
"""A resource is sent as one line of base64."""
_ARCHIVE_S: Final = 10.0
"""How long to wait for the archive of a task that has succeeded, within the time of the call."""
_ARCHIVE_STEP_S: Final = 0.2

INSTRUCTIONS = """\
tracker runs paid, slow jobs that make songs, videos, images and texts. Submit a job once with submit_media, then call
wait_task until it has ended. The resource tracker://routes lists what can be made; tracker://routes/NAME has the fields
of a request and an example. A job costs money and takes minutes: never submit it again because it is slow. To repeat a
call of submit_media, use the same idempotency_key: it returns the same task and costs nothing. why explains a task that
is stuck or failed. download copies the files of a task."""

_DO_NOT_REPEAT = "Do not call submit_media again for this job: it is paid for."

TaskId = Annotated[str, Field(description="The id of the task, 26 characters.", min_length=1)]
Labels = Annotated[dict[str, str] | None, Field(description="Names and values of your own, for list_tasks.")]


class Server(MCPServer[Any]):
    """The server of one daemon.

    Args:
        client: of the daemon.
    """

    def __init__(self, client: AsyncClient) -> None:
        super().__init__("tracker", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR")
        tools = Tools(client)
        reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        writes = ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
        )
        stops = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)
        for tool, hints in (
            (tools.submit_media, writes),
            (tools.get_task, reads),
            (tools.wait_task, reads),
            (tools.list_tasks, reads),
            (tools.why, reads),
            (tools.download, writes),
            (tools.cancel, stops),
        ):
            self.add_tool(tool, annotations=hints, structured_output=False)
        self.resource("tracker://routes", name="routes", description="What can be submitted.")(tools.list_routes)
        self.resource(
            "tracker://routes/{route}", name="route", description="The fields of a route's requests, and an example."
        )(tools.describe_route)
        template = output_uri("{task_id}", 0).removesuffix("0") + "{number}"
        self.resource(template, name="output", description="The archived file of an output of a task.")(
            tools.read_output
        )

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult:
        """Call a tool; its errors become one sentence each."""
        try:
            result = await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            return error_of(_sentence(name, error))
        if not isinstance(result, CallToolResult):
            raise TypeError(f"{name} returned {type(result).__name__}")
        return result


def _sentence(name: str, error: ToolError) -> str:
    """What is wrong with a call."""
    if isinstance(error.__cause__, ValidationError):
        found = error.__cause__.errors(include_url=False, include_context=False, include_input=False)
        parts = (f"{'.'.join(map(str, one['loc']))}: {one['msg'][:1].lower()}{one['msg'][1:]}" for one in found)
        return f"{name}: {'; '.join(parts)}"
    return str(error.__cause__ or error)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn errors of the client into errors for the model: one sentence, with what a person can do."""
    try:
        yield
    except Unreachable as error:
        raise ToolError(f"{error}; a person has to start it with: tracker serve") from error
    except Unauthorized as error:
        fix = "a person has to set TRACKER_API_TOKEN where tracker mcp is started"
        raise ToolError(f"{error} To fix it, {fix}.") from error
    except ClientError as error:
        raise ToolError(str(error)) from error


class Tools:
    """The tools. The descriptions are for models.

    Args:
        client: of the daemon.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def submit_media(
        self,
        *,
        route: Annotated[str, Field(description="What to make, such as suno.generate.", min_length=1)],
        request: Annotated[dict[str, Any], Field(description="The provider's own body of the create request.")],
        idempotency_key: Annotated[
            str,
            Field(
                description="A text of your own for this job, such as a UUID. The same key never pays twice: repeat a "
                "call with the same key.",
                min_length=1,
                max_length=255,
            ),
        ],
        labels: Labels = None,
        account: Annotated[str | None, Field(description="The configured account; leave it out by default.")] = None,
        allow_unknown_fields: Annotated[
            bool, Field(description="Send fields of the request that no document of the route names.")
        ] = False,
    ) -> CallToolResult:
        """Submit a paid job that makes a song, a video, an image or a text; returns its task at once.

        Call it once for each job, then call wait_task with the id. It costs money.
        """
        with _failures():
            task = await self._client.submit(
                route,
                request,
                labels=labels,
                account=account,
                idempotency_key=idempotency_key,
                strict=not allow_unknown_fields,
                wait=False,
            )
            match task.status:
                case Status.FAILED:
                    then = "The same key returns this task again; another attempt needs another idempotency_key."
                case Status.SUCCEEDED:
                    then = _DO_NOT_REPEAT
                case _:
                    then = f"{_DO_NOT_REPEAT} Call wait_task with task_id {task.id}."
            return await self._result(task, then)

    async def get_task(self, task_id: TaskId) -> CallToolResult:
        """Get a task as it is now, with links to its outputs."""
        with _failures():
            return await self._result(await self._client.get(task_id))

    async def wait_task(
        self,
        task_id: TaskId,
        timeout_s: Annotated[
            float, Field(description="How long to wait, in seconds, at most 45.", ge=0, le=MAX_WAIT_S)
        ] = MAX_WAIT_S,
    ) -> CallToolResult:
        """Wait until a task has ended, for at most 45 seconds; call it again until then.

        Returns links to the outputs.
        """
        deadline = time.monotonic() + timeout_s
        with _failures():
            task = await self._client.wait(task_id, timeout_s)
            if not task.status.is_terminal:
                again = f"It has not ended: call wait_task again with task_id {task.id}. {_DO_NOT_REPEAT}"
                return await self._result(task, again)
            if task.status is Status.SUCCEEDED:
                task = await self._archived(task, min(deadline, time.monotonic() + _ARCHIVE_S))
            return await self._result(task)

    async def list_tasks(
        self,
        *,
        status: Annotated[Status | None, Field(description="Only tasks with this status.")] = None,
        route: Annotated[str | None, Field(description="Only tasks of this route.")] = None,
        labels: Labels = None,
        q: Annotated[str | None, Field(description="Text in ids, model, error, request or labels.")] = None,
        limit: Annotated[int, Field(description="How many at most.", ge=1, le=MAX_LISTED)] = 20,
    ) -> CallToolResult:
        """List tasks, newest first."""
        found: list[TaskView] = []
        with _failures():
            async for task in self._client.list(status=status, route=route, labels=labels, q=q, limit=limit):
                found.append(task)
                if len(found) == limit:
                    break
        lines = [describe(task) for task in found] or ["No task matches."]
        return result_of("\n".join(lines), {"items": [task_json(task) for task in found]})

    async def why(self, task_id: TaskId) -> CallToolResult:
        """Explain why a task is where it is, what happens next, and what a person can do."""
        with _failures():
            found = await self._client.why(task_id)
        actions = [f"{action.what}: {action.command}" for action in found.actions]
        lines = [found.summary, *(step.what for step in found.next), *found.notes, *actions]
        return result_of("\n".join(lines), to_builtins(found))

    async def download(
        self,
        task_id: TaskId,
        directory: Annotated[str, Field(description="An absolute path; it is made if it is missing.")],
    ) -> CallToolResult:
        """Copy the files of a task into a directory on this machine. Files with other content are not overwritten."""
        path = Path(directory)
        if not path.is_absolute():
            raise ToolError(f"directory: must be an absolute path, not {directory!r}")
        with _failures():
            files = await self._client.download(task_id, path, timeout_s=MAX_WAIT_S)
            task = await self._client.get(task_id)
        outputs = [output for output in task.outputs if output.archived]
        by_name = dict(zip(files, outputs, strict=False))
        text = "\n".join(f"Copied to {file}" for file in files)
        content = [file_link(file, by_name.get(file)) for file in files]
        return result_of(text, {"files": list(map(str, files))}, content)

    async def cancel(self, task_id: TaskId) -> CallToolResult:
        """Stop following a task. The service does not learn of it, and may charge for the job all the same."""
        with _failures():
            return await self._result(await self._client.cancel(task_id))

    async def list_routes(self) -> str:
        """The names of the routes, one a line."""
        try:
            return "\n".join(route.route for route in await self._client.routes())
        except ClientError as error:
            raise ResourceError(str(error)) from error

    async def describe_route(self, route: str) -> str:
        """The fields of a route's requests, its models and an example, as JSON."""
        try:
            return json.encode(await self._client.route(route)).decode()
        except ClientError as error:
            raise ResourceError(str(error)) from error

    async def read_output(self, task_id: str, number: str) -> bytes:
        """The archived file of an output."""
        try:
            task = await self._client.get(task_id)
            output = next((one for one in task.outputs if str(one.n) == number), None)
            if output is None or not output.archived:
                raise ResourceError(f"task {task_id} has no archived output {number}")
            if (output.bytes or 0) > MAX_RESOURCE_BYTES:
                limit = MAX_RESOURCE_BYTES >> 20
                raise ResourceError(f"output {number} is larger than {limit} MiB: copy it with the tool download")
            return await self._client.read_output(task_id, output.n)
        except ClientError as error:
            raise ResourceError(str(error)) from error

    async def _result(self, task: TaskView, then: str = "") -> CallToolResult:
        """A task with its outputs, and what to do next."""
        images = {}
        for output in filter(is_shown, task.outputs):
            with suppress(NotFound):  # it was deleted meanwhile
                images[output.n] = await self._client.read_output(task.id, output.n)
        text = f"{describe(task)} {then}".strip()
        return result_of(text, task_json(task), contents_of(task, images))

    async def _archived(self, task: TaskView, deadline: float) -> TaskView:
        """The task once its files are archived or given up, at most until the deadline."""
        while any(not isinstance(output.text, str) and not output.archived for output in task.outputs):
            items = await self._client.archive(task.id)
            if all(item.state in {ArchiveState.STORED, ArchiveState.DEAD} or item.error for item in items):
                return await self._client.get(task.id)
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(_ARCHIVE_STEP_S)
        return task
