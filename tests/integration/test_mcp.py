"""``tracker mcp``: driven by the client of the package over standard input and output, against a real daemon."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import CallToolResult, ImageContent, ReadResourceResult, ResourceLink, TextContent

from tests.integration.test_client import SONG, TABLES, link_to
from tests.kits.daemon import NEVER_POLLS, POLLS_AT_ONCE, REPOSITORY, Setting, running_daemon
from tests.kits.server import ServerWorld
from tests.kits.waiting import WITHIN_S
from tracker.sandbox import Sandbox

IMAGE = {"model": "wan2.6-t2i", "input": {"messages": [{"role": "user", "content": [{"text": "a kite"}]}]}}
TOOLS = {"submit_media", "get_task", "wait_task", "list_tasks", "why", "download", "cancel"}
DO_NOT = "Do not call submit_media again"


@asynccontextmanager
async def agent(url: str, directory: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Client]:
    """An agent with the server as its child."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tracker", "mcp", "--url", url],
        env={
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(directory),
            "TRACKER_API_TOKEN": "token-for-tests",
            **(env or {}),
        },
        cwd=directory,
    )
    async with asyncio.timeout(WITHIN_S), Client(parameters) as client:
        yield client


def text_of(result: CallToolResult) -> str:
    """The first text of a result."""
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


def text_in(read: ReadResourceResult) -> str:
    """The text of a resource."""
    return str(getattr(read.contents[0], "text", None))


async def refused(client: Client, tool: str, **arguments: Any) -> str:  # noqa: ANN401 - JSON
    """The error of a call, which is one sentence."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert len(result.content) == 1
    text = text_of(result)
    assert "\n" not in text
    assert "Error executing" not in text
    return text


async def test_an_agent_makes_a_song_and_an_image(tmp_path: Path) -> None:
    """It is told not to submit again; outputs are links that can be read, small images come along; files are copied."""
    async with Sandbox(duration_s=0.2) as sandbox:
        setting = Setting(sandbox.base_url, poll=POLLS_AT_ONCE, tables=TABLES)
        async with running_daemon(tmp_path, setting), agent(setting.url, tmp_path) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == TOOLS
            assert "idempotency_key" in tools["submit_media"].input_schema["required"]
            assert client.instructions is not None
            assert "never submit it again" in client.instructions
            arguments = {"route": "suno.generate", "request": SONG, "idempotency_key": "k1", "labels": {"for": "ann"}}
            made = await client.call_tool("submit_media", arguments)
            task_id = made.structured_content["id"]
            assert f"{DO_NOT} for this job: it is paid for. Call wait_task with task_id {task_id}." in text_of(made)
            ended = await client.call_tool("wait_task", {"task_id": task_id})
            assert f"Task {task_id} (suno.generate) SUCCEEDED." in text_of(ended)
            links = [one for one in ended.content if isinstance(one, ResourceLink)]
            assert [str(link.uri) for link in links] == [
                f"tracker://tasks/{task_id}/outputs/{n}" for n in range(len(links))
            ]
            assert {link.mime_type for link in links} == {"audio/mpeg"}
            read = (await client.read_resource(str(links[0].uri))).contents[0]
            assert len(base64.b64decode(getattr(read, "blob", ""))) == links[0].size
            again = await client.call_tool("submit_media", arguments)
            assert again.structured_content["id"] == task_id
            assert DO_NOT in text_of(again)
            copied = await client.call_tool("download", {"task_id": task_id, "directory": str(tmp_path / "files")})
            files = [
                Path(str(one.uri).removeprefix("file://")) for one in copied.content if isinstance(one, ResourceLink)
            ]
            assert [file.stat().st_size for file in files] == [link.size for link in links]

            image = {"route": "dashscope.image", "request": IMAGE, "idempotency_key": "k2"}
            made = await client.call_tool("submit_media", image)
            ended = await client.call_tool("wait_task", {"task_id": made.structured_content["id"]})
            shown = [one for one in ended.content if isinstance(one, ImageContent)]
            assert [one.mime_type for one in shown] == ["image/png"]
            assert base64.b64decode(shown[0].data).startswith(b"\x89PNG")

            listed = await client.call_tool("list_tasks", {"labels": {"for": "ann"}, "status": "SUCCEEDED"})
            assert [item["id"] for item in listed.structured_content["items"]] == [task_id]
            assert "request" not in listed.structured_content["items"][0]
            assert text_of(await client.call_tool("list_tasks", {"q": "no such text"})) == "No task matches."
            why = await client.call_tool("why", {"task_id": task_id})
            assert why.structured_content["status"] == "SUCCEEDED"
            assert len(sandbox.state()["jobs"]) == 1, "and the image, which has no job"


async def test_a_call_that_is_repeated_after_a_lost_answer_pays_once(tmp_path: Path) -> None:
    """By the client of the daemon itself, and by an agent that starts the server anew, which has no state."""
    async with Sandbox() as sandbox:
        setting = Setting(sandbox.base_url, poll=NEVER_POLLS, is_called_back=False)
        async with running_daemon(tmp_path, setting) as api, link_to("127.0.0.1", setting.port) as link:
            arguments = {"route": "suno.generate", "request": SONG, "idempotency_key": "k1"}
            ids = set()
            for _ in range(2):
                async with agent(link.url, tmp_path) as client:
                    link.loses = 1
                    calls = (client.call_tool("submit_media", arguments) for _ in range(3))
                    ids |= {result.structured_content["id"] for result in await asyncio.gather(*calls)}
            assert len(ids) == 1
            assert len((await api.get("/v1/tasks"))["items"]) == 1
            async with agent(setting.url, tmp_path) as client:
                waited = await client.call_tool("wait_task", {"task_id": ids.pop(), "timeout_s": 0.1})
                assert f"call wait_task again with task_id {waited.structured_content['id']}. {DO_NOT}" in text_of(
                    waited
                )
                other = await refused(client, "submit_media", **{**arguments, "request": {**SONG, "prompt": "rain"}})
                assert "the idempotency key 'k1' was used with another payload" in other
            assert len(sandbox.state()["jobs"]) == 1


async def test_errors_are_one_sentence(tmp_path: Path) -> None:
    """Of arguments, of the daemon, of a token, and of a daemon that does not run."""
    async with ServerWorld(tmp_path, api_token="right") as world:
        task_id = await world.make_task()
        url = str(world.client.make_url(""))
        async with agent(url, tmp_path, {"TRACKER_API_TOKEN": "right"}) as client:
            assert "suno.generate" in text_in(await client.read_resource("tracker://routes")).splitlines()
            route = json.loads(text_in(await client.read_resource("tracker://routes/suno.generate")))
            assert "prompt" in route["example"]
            with pytest.raises(MCPError, match="did you mean suno"):
                await client.read_resource("tracker://routes/suno.generat")
            missing = await refused(client, "submit_media", route="suno.generate", request={})
            assert missing == "submit_media: idempotency_key: field required"
            long = await refused(client, "wait_task", task_id=task_id, timeout_s=46)
            assert long == "wait_task: timeout_s: input should be less than or equal to 45"
            assert (await refused(client, "get_task", task_id="x")).startswith("No task has ")
            assert "unknown route 'suno.x'" in await refused(
                client, "submit_media", route="suno.x", request={}, idempotency_key="k"
            )
            relative = await refused(client, "download", task_id=task_id, directory="files")
            assert relative == "directory: must be an absolute path, not 'files'"
            assert "The archive is off." in await refused(client, "download", task_id=task_id, directory=str(tmp_path))
            assert await refused(client, "sumbit") == "Unknown tool: sumbit"
            with pytest.raises(MCPError, match="has no archived output 7"):
                await client.read_resource(f"tracker://tasks/{task_id}/outputs/7")
            canceled = await client.call_tool("cancel", {"task_id": task_id})
            assert "FAILED (canceled)" in text_of(canceled)
            assert "has ended already" in await refused(client, "cancel", task_id=task_id)
        async with agent(url, tmp_path) as client:
            assert "set TRACKER_API_TOKEN where tracker mcp is started" in await refused(client, "list_tasks")
            await world.client.close()
            assert "start it with: tracker serve" in await refused(client, "list_tasks")


async def test_without_the_package_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    """And not a traceback."""
    program = (
        "import sys; sys.modules['mcp'] = sys.modules['mcp_types'] = None;"
        "from tracker.cli.main import main; main(['mcp', '--url', 'http://127.0.0.1:1'])"
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (78, b"")
    assert err.decode().endswith("; install it with: pip install 'task-tracker[mcp]'\n")
    assert err.count(b"\n") == 1
