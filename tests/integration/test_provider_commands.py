"""``tracker providers``: shipped files are listed and written, and any file is tried without a daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tracker.cli.provider_commands import providers
from tracker.daemon.provider_files import list_shipped

REFUSED = {"task_id": "", "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
DONE = {"task_id": "106", "status": "Success", "file_id": "205", "base_resp": {"status_code": 0}}
FILE = {"file": {"download_url": "https://cdn.example.com/a.mp4"}}


def run(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(providers, arguments, standalone_mode=False)


def write(directory: Path, name: str, content: object) -> str:
    """Write a reply; its path."""
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def tried(directory: Path, provider: str, *arguments: str) -> list[dict[str, Any]]:
    """What ``try --json`` prints."""
    result = run("try", provider, *arguments, "--json")
    found: list[dict[str, Any]] = json.loads(result.output)["items"]
    return found


def test_shipped_files_are_listed_with_their_routes() -> None:
    """By name, as ``init`` takes it."""
    items = json.loads(run("list", "--json").output)["items"]
    assert [item["name"] for item in items] == list(list_shipped())
    assert {"name", "routes", "source"} == set(items[0])
    assert "fal.queue" in run("list").output


def test_a_shipped_file_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into ``providers.d``, to a path or to standard output; an existing file stays unless forced."""
    monkeypatch.chdir(tmp_path)
    text = list_shipped()["fal"].read_text(encoding="utf-8")
    assert run("init", "fal", "-").output == text
    assert run("init", "fal").exception is None
    assert Path("providers.d/fal.toml").read_text(encoding="utf-8") == text
    Path("providers.d/fal.toml").write_text("mine")
    assert "exists; choose another path, or overwrite it with --force" in str(run("init", "fal").exception)
    assert Path("providers.d/fal.toml").read_text(encoding="utf-8") == "mine"
    assert run("init", "fal", "providers.d/fal.toml", "--force").exception is None
    assert Path("providers.d/fal.toml").read_text(encoding="utf-8") == text
    assert "no shipped provider is named 'fall'; there are: ark, fal" in str(run("init", "fall").exception)


def test_replies_are_tried_without_a_daemon(tmp_path: Path) -> None:
    """A refusal with HTTP 200, a status with the second call that follows, and that call's reply."""
    create, done, file = write(tmp_path, "c", REFUSED), write(tmp_path, "q", DONE), write(tmp_path, "r", FILE)
    refused, waiting = tried(tmp_path, "minimax", "--create", create, "--query", done)
    assert (refused["outcome"], refused["reason"], refused["error"]["code"]) == ("refused", "quota_exhausted", "1008")
    assert (waiting["status"], waiting["outputs"]) == ("SUCCEEDED", [])
    assert waiting["second_call"] == "GET /v1/files/retrieve?file_id=205"
    (finished,) = tried(tmp_path, "minimax", "--query", done, "--result", file)
    assert [output["url"] for output in finished["outputs"]] == ["https://cdn.example.com/a.mp4"]
    text = run("try", "minimax", "--create", create, "--query", done, "--query", done, "--result", file).output
    assert f"create {create} (HTTP 200): refused: the task fails\n  reason      quota_exhausted\n" in text
    assert "  error       insufficient balance (code 1008)\n" in text
    assert "  output 0    video: https://cdn.example.com/a.mp4\n" in text
    assert "  then        GET /v1/files/retrieve?file_id=205\n" in text


def test_everything_that_is_read_is_printed(tmp_path: Path) -> None:
    """Progress, lengths, costs, keys and waits."""
    running = write(tmp_path, "p", {"id": "t", "status": "RUNNING", "progress": 0.5})
    assert "  progress    50 %\n" in run("try", "runway", "--query", running).output
    ark = write(
        tmp_path, "a", {"id": "t", "status": "succeeded", "duration": 5, "content": {"video_url": "https://a/b.mp4"}}
    )
    assert "  output 0    video, 5 s: https://a/b.mp4\n" in run("try", "ark", "--query", ark).output
    paid = {"id": "t", "status": "completed", "unsigned_urls": ["https://openrouter.ai/x"], "usage": {"cost": 0.5}}
    text = run("try", "openrouter", "--query", write(tmp_path, "o", paid)).output
    assert "https://openrouter.ai/x (needs the key)\n  cost        0.5 USD\n" in text
    busy = write(tmp_path, "b", {"error": {"code": 429, "message": "slow"}})
    assert "not accepted: sent again later" in run("try", "openrouter", "--create", f"429:{busy}").output


@pytest.mark.parametrize(
    ("option", "body", "line"),
    [
        ("--create", "<html>", "create {file} (HTTP 200): cannot be read: HTTP 200 with a body that is not JSON"),
        ("--create", {"foo": 1}, "create {file} (HTTP 200): cannot be read: HTTP 200 with no task id in it"),
        ("--query", "", "query {file} (HTTP 200): cannot be read: an empty body in the reply"),
        ("--query", '{"task_id": "1", "sta', "query {file} (HTTP 200): cannot be read: truncated JSON in the reply"),
        (
            "--query",
            {"task_id": "1", "status": "Odd"},
            "query {file} (HTTP 200): unknown status 'Odd': add it to [statuses]",
        ),
        ("--query", {"task_id": "1"}, "query {file} (HTTP 200): cannot be read: nothing at task.status (status)"),
        ("--callback", {"foo": 1}, "callback {file}: cannot be read: task_id: no task id; it would be answered 400"),
        ("--callback", "{", "callback {file}: cannot be read: a body that is not JSON"),
    ],
)
def test_an_answer_that_cannot_be_read_is_one_line(tmp_path: Path, option: str, body: object, line: str) -> None:
    """With what is missing in it, and exit 1."""
    file = write(tmp_path, "answer.json", body)
    result = CliRunner().invoke(providers, ["try", "minimax", option, file])
    (_, said) = result.output.splitlines()
    assert said.startswith(line.format(file=file)), said
    assert result.exit_code == 1


def test_the_create_call_for_a_request_is_shown(tmp_path: Path) -> None:
    """Path, the header of the key, callback URL and body; a missing field is named."""
    request = write(tmp_path, "r", {"model": "fal-ai/minimax/video-01", "prompt": "a sea"})
    (sent,) = tried(tmp_path, "fal", "--request", request)
    assert sent["call"].startswith("POST /fal-ai/minimax/video-01?fal_webhook=https://tracker.example.com/callbacks/")
    assert (sent["key"], sent["body"]) == ("Authorization: Key {key}", '{"prompt":"a sea"}')
    assert "request: instances: required" in str(run("try", "veo", "--request", request).exception)
    assert "not JSON" in str(run("try", "veo", "--request", write(tmp_path, "n", "[")).exception)


def test_mistakes_of_usage_are_named(tmp_path: Path) -> None:
    """An unknown file or route, a wrong file, a result without its status."""
    assert "nope: no such file; no shipped provider is named 'nope'" in str(run("try", "nope").exception)
    assert "no route 'x'; there are: luma.video, luma.image" in str(run("try", "luma", "--route", "x").exception)
    wrong = write(tmp_path, "wrong.toml", 'name = "x"')
    assert f"{wrong}:1: source: is missing" in str(run("try", wrong).exception)
    assert "--result needs the --query before it" in str(run("try", "fal", "--result", "r").exception)
    assert "missing.json: cannot be read (No such file" in str(run("try", "fal", "--query", "missing.json").exception)
