"""``tracker submit --batch``: many requests from a file, checked together, sent in order, never twice."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kits.daemon import ApiClient, Json, Ran, Setting, run_tracker, running_daemon
from tracker.sandbox import Sandbox

SONG = {"customMode": False, "instrumental": True, "model": "V5"}


def song(n: int, **fields: Json) -> dict[str, Json]:
    """The n-th line."""
    return {"route": "suno.generate", "request": {**SONG, "prompt": f"n{n} rain"}, **fields}


def write(directory: Path, *lines: Mapping[str, Json] | str, name: str = "songs.jsonl") -> Path:
    """A file of requests."""
    path = directory / name
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[ApiClient, Sandbox]]:
    """A daemon and its gateway, whose jobs end soon."""
    async with Sandbox(duration_s=0.1) as gateway, running_daemon(directory, Setting(gateway.base_url)) as api:
        yield api, gateway


async def batch(directory: Path, api: ApiClient | str, *arguments: str | Path, stdin: bytes | None = None) -> Ran:
    """Run the command."""
    url = api if isinstance(api, str) else api.tracker.url
    env = {"TRACKER_URL": url, "TRACKER_API_TOKEN": "fake"}
    return await run_tracker("submit", *map(str, arguments), directory=directory, env=env, stdin=stdin)


def prompts(gateway: Sandbox) -> list[str]:
    """The numbers of the songs that the gateway was sent, in order."""
    return [create["prompt"].split()[0] for create in gateway.state()["creates"]]


async def count_tasks(api: ApiClient) -> int:
    """How many tasks there are."""
    return len((await api.get("/v1/tasks?limit=500"))["items"])


async def test_a_batch_prints_an_id_for_each_line(tmp_path: Path) -> None:
    """In the order of the lines, with what they say and what the command line adds; a second run sends nothing."""
    lines = [song(n) for n in range(5)]
    del lines[1]["route"]
    lines[2] |= {"labels": {"user": "42"}, "account": "default", "idempotency_key": "mine"}
    file = write(tmp_path, lines[0], "", *lines[1:])
    async with running(tmp_path) as (api, gateway):
        ran = await batch(tmp_path, api, "suno.generate", "--batch", file, "--label", "run=1")
        assert (ran.code, ran.err) == (0, "")
        tasks = [await api.get(f"/v1/tasks/{task_id}") for task_id in ran.out.split()]
        assert [task["request"]["prompt"] for task in tasks] == [line["request"]["prompt"] for line in lines]
        assert [task["labels"] for task in tasks[:3]] == [{"run": "1"}, {"run": "1"}, {"run": "1", "user": "42"}]
        again = await batch(tmp_path, api, "suno.generate", "--batch", file, "--label", "run=1", "--json")
        assert [task["id"] for task in again.json["items"]] == ran.out.split()
        assert again.err == "5 of 5 requests were submitted before; not sent again\n"
        waited = await batch(tmp_path, api, "suno.generate", "--batch", file, "--label", "run=1", "--wait")
        assert (waited.code, waited.out) == (0, ran.out)
        assert waited.err.endswith("5 tasks: 5 succeeded\n")
        assert sorted(prompts(gateway)) == [f"n{n}" for n in range(5)]


async def test_a_batch_from_standard_input(tmp_path: Path) -> None:
    """The same requests are the same batch, from a file or not."""
    file = write(tmp_path, song(1), song(2))
    async with running(tmp_path) as (api, _):
        first = await batch(tmp_path, api, "--batch", "-", stdin=file.read_bytes())
        assert (first.code, len(first.out.split())) == (0, 2)
        assert (await batch(tmp_path, api, "--batch", file)).out == first.out
        wrong = await batch(tmp_path, api, "--batch", "-", stdin=b"[]")
        assert (wrong.code, wrong.err.startswith("standard input, line 1: must be a JSON object")) == (2, True)


async def test_a_changed_file_is_a_new_batch(tmp_path: Path) -> None:
    """The help says so. Line ends and a byte order mark are no change."""
    async with running(tmp_path) as (api, _):
        first = await batch(tmp_path, api, "--batch", write(tmp_path, song(1), song(2)))
        same = tmp_path / "same.jsonl"
        same.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "songs.jsonl").read_bytes().replace(b"\n", b"\r\n"))
        again = await batch(tmp_path, api, "--batch", same)
        assert again.out == first.out
        await batch(tmp_path, api, "--batch", write(tmp_path, song(1), song(2), song(3)))
        assert await count_tasks(api) == 5
        text = (await batch(tmp_path, api, "--help")).out
        assert "sends nothing twice" in " ".join(text.split())


async def test_every_mistake_is_listed_and_nothing_is_sent(tmp_path: Path) -> None:
    """Those of the file alone first; then those that the daemon finds in requests, routes, accounts and labels."""
    wrong = {
        "{": "is not JSON: ",
        "[1]": "must be a JSON object, for example ",
        '{"request": {}}': "route: is missing; write it into the line, or after: tracker submit",
        '{"route": "suno.generate"}': "request: is missing",
        '{"route": "suno.generate", "request": []}': "request: must be a JSON object",
        '{"route": 1, "request": {}}': "route: must be a text",
        '{"route": "suno.generate", "request": {}, "lables": {}}': "lables: unknown key; did you mean labels?",
        json.dumps(song(8, idempotency_key="k")): None,
        json.dumps(song(9, idempotency_key="k")): "idempotency_key: line 8 has the same; change one",
        "[" * 100_000: "is nested too deeply",
    }
    file = write(tmp_path, *wrong)
    ran = await batch(tmp_path, "http://127.0.0.1:9", "--batch", file)
    expected = [(n, message) for n, message in enumerate(wrong.values(), 1) if message is not None]
    *found, last = ran.err.splitlines()
    assert (ran.code, ran.out, last) == (2, "", "nothing was sent")
    for line, (n, message) in zip(found, expected, strict=True):
        assert line.startswith(f"{file}, line {n}: {message}")
    async with running(tmp_path) as (api, gateway):
        refused: list[dict[str, Json]] = [
            song(1),
            song(2, route="suno.genrate"),
            song(3, account="nobody"),
            song(4, labels={"a": 1}),
            {"route": "suno.generate", "request": {"model": "V5"}},
            song(6, idempotency_key="\n"),
        ]
        ran = await batch(tmp_path, api, "--batch", write(tmp_path, *refused))
        *found, last = ran.err.splitlines()
        assert (ran.code, ran.out, last) == (2, "", "nothing was sent")
        assert {line.split(": ")[0].rpartition(" ")[2] for line in found} == {"2", "3", "4", "5", "6"}
        assert "line 2: route: unknown route 'suno.genrate'; did you mean suno.generate" in ran.err
        assert (await count_tasks(api), prompts(gateway)) == (0, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no requests; write one JSON object per line"),
        (b"\xef\xbb\xbf\n \r\n", "has no requests; write one JSON object per line"),
        ('{"route": "a"}\n'.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (b'{"a": "\xff"}', "line 1, byte 7: is not UTF-8 text; save the file as UTF-8"),
        (None, "cannot be read (No such file or directory)"),
    ],
    ids=["empty", "blank", "UTF-16", "Latin-1", "missing"],
)
async def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    """One clear line."""
    file = tmp_path / "songs.jsonl"
    if content is not None:
        file.write_bytes(content)
    ran = await batch(tmp_path, "http://127.0.0.1:9", "--batch", file)
    assert (ran.code, ran.out, ran.err) == (2, "", f"{file}: {message}\n")


async def test_a_line_that_no_daemon_takes(tmp_path: Path) -> None:
    """It is refused by its size before anything reads it."""
    file = write(tmp_path, song(1), '{"route": "' + "x" * (32 << 20) + '"}')
    ran = await batch(tmp_path, "http://127.0.0.1:9", "--batch", file)
    assert ran.code == 2
    assert ran.err.startswith(f"{file}, line 2: is larger than 32 MiB; a daemon takes no such request\n")


async def test_options_that_a_batch_does_not_take(tmp_path: Path) -> None:
    """They would hold for one request only; without a batch a route is required."""
    file = write(tmp_path, song(1))
    for more in (("-d", "{}"), ("--idempotency-key", "k")):
        ran = await batch(tmp_path, "http://127.0.0.1:9", "--batch", file, *more)
        assert ran.code == 2
        assert "leave out --data and --idempotency-key" in ran.err
    ran = await batch(tmp_path, "http://127.0.0.1:9")
    assert (ran.code, "Missing argument 'ROUTE'." in ran.err) == (2, True)


async def test_unknown_fields_of_a_batch(tmp_path: Path) -> None:
    """Warned about with their line, and sent; refused with --strict."""
    line = song(2)
    line["request"]["instrumentl"] = True
    file = write(tmp_path, song(1), line)
    async with running(tmp_path) as (api, _):
        ran = await batch(tmp_path, api, "--batch", file, "--strict")
        assert (ran.code, await count_tasks(api)) == (2, 0)
        assert ran.err.startswith(f"{file}, line 2: request.instrumentl: ")
        ran = await batch(tmp_path, api, "--batch", file)
        assert (ran.code, await count_tasks(api)) == (0, 2)
        assert ran.err.startswith(f"warning: {file}, line 2: request.instrumentl: ")


async def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    """Of a batch and of one request, over HTTP too; a known key shows its task."""
    async with running(tmp_path) as (api, gateway):
        ran = await batch(tmp_path, api, "--batch", write(tmp_path, song(1), song(2)), "--dry-run")
        assert (ran.code, ran.out, ran.err) == (0, "", "2 requests checked, all valid; nothing was sent\n")
        data = json.dumps(song(1)["request"])
        ran = await batch(tmp_path, api, "suno.generate", "-d", data, "--dry-run")
        assert (ran.code, ran.out, ran.err) == (0, "", "the request is valid; nothing was sent\n")
        data = json.dumps({**song(1)["request"], "durration": 5})
        ran = await batch(tmp_path, api, "suno.generate", "-d", data, "--dry-run")
        assert (ran.code, ran.out) == (0, "")
        assert ran.err.startswith("warning: durration: no document of this route names this field")
        ran = await batch(tmp_path, api, "suno.generate", "-d", data, "--dry-run", "--strict")
        assert ran.code == 2
        ran = await batch(tmp_path, api, "suno.generate", "-d", "{}", "--dry-run")
        assert ran.code == 2
        assert (await count_tasks(api), prompts(gateway)) == (0, [])
        task = await api.submit("suno.generate", song(1)["request"], idempotency_key="k")
        async with api.session.post("/v1/tasks", json={**song(1), "idempotency_key": "k", "dry_run": True}) as answer:
            assert (answer.status, (await answer.json())["id"]) == (200, task["id"])
        async with api.session.post("/v1/tasks", json={**song(2), "idempotency_key": "k", "dry_run": True}) as answer:
            assert answer.status == 422


async def test_failures_count_in_the_end(tmp_path: Path) -> None:
    """The counts, a line for each failure, and the exit code of ``wait``."""
    failing = song(2)
    failing["request"]["prompt"] += " [sandbox: fail=policy]"
    async with running(tmp_path) as (api, _):
        ran = await batch(tmp_path, api, "--batch", write(tmp_path, song(1), failing), "--wait", "--json")
        assert [task["status"] for task in ran.json["items"]] == ["SUCCEEDED", "FAILED"]
        assert ran.code == 1
        *_, failure, counts = ran.err.splitlines()
        assert failure.startswith(f"{ran.json['items'][1]['id']} failed: policy_rejected")
        assert counts == "2 tasks: 1 succeeded, 1 failed"
        held = song(3)
        held["request"]["prompt"] += " [sandbox: stage=hold]"
        file = write(tmp_path, held)
        ran = await batch(tmp_path, api, "--batch", file, "--wait", "--timeout", "0")
        assert ran.code == 124
        again = f"tracker submit --batch {shlex.quote(str(file))} --wait --timeout 0.0"
        assert ran.err.endswith(f"1 task: 1 not finished\nthe tasks continue; to wait again: {again}\n")
