"""The command line with a small real HTTP server, with the database file, and with neither."""

import asyncio
import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

import tracker.config.sources
from tests.kits.processes import find_free_port
from tracker import __version__
from tracker.cli.main import COMMANDS, cli, run
from tracker.cli.render import prompt_of
from tracker.daemon.provider_files import list_shipped
from tracker.domain.judge import judge
from tracker.domain.observation import Observation, Reading, Source, Submission
from tracker.domain.records import SEARCH_CUT
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import ExternalId, SubmitState, TaskId
from tracker.domain.transitions import HELD
from tracker.sandbox import Chaos
from tracker.sandbox.directives import DIRECTIVES
from tracker.store.sqlite import SqliteStore, read_instance
from tracker.store.values import NewTask

ID = "01JD0000000000000000000000"
TASK: dict[str, Any] = {
    "id": ID,
    "route": "suno.generate",
    "provider": "suno",
    "account": "default",
    "external_id": "x-1",
    "status": "RUNNING",
    "stage": "first",
    "progress": 50,
    "reason": None,
    "error": None,
    "retryable": None,
    "user_message": "Your song is being made.",
    "outputs": [],
    "labels": {"user": "42"},
    "model": "V5",
    "created_at": "2026-11-20T20:42:00.123Z",
    "submitted_at": None,
    "started_at": None,
    "finished_at": None,
    "next_poll_at": None,
    "polls": 3,
    "callbacks": 1,
}
DONE = TASK | {
    "status": "SUCCEEDED",
    "progress": 100,
    "outputs": [
        {"n": 0, "kind": "audio", "url": "https://files.example/a.mp3"},
        {"n": 1, "kind": "text", "url": None, "text": "la la"},
        {"n": 2, "kind": "file", "url": None},
    ],
}
FAILED = TASK | {
    "status": "FAILED",
    "reason": "policy_rejected",
    "error": {"code": "E\x1b[31m7", "message": "not that", "http_status": 200},
}
NOT_FOUND = {"type": "urn:x", "title": "Not Found", "status": 404, "detail": "no task has this id"}


class Daemon:
    """A server with prepared answers, on a thread of its own.

    Attributes:
        answers: ``METHOD path`` -> (status, JSON) in order; the last one repeats.
        requests: what came: (method, path with query, headers, JSON body).
    """

    def __init__(self, socket_path: Path | None = None) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.url = ""
        self._socket_path = socket_path
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def on(self, call: str, *answers: tuple[int, Any]) -> "Daemon":
        """Prepare answers to a call."""
        self.answers[call] = list(answers)
        return self

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        if self._socket_path is not None:
            await web.UnixSite(runner, str(self._socket_path)).start()
            self.url = f"unix:{self._socket_path}"
        else:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, dict(request.headers), body))
        answers = self.answers.get(f"{request.method} {request.path}", [(404, NOT_FOUND)])
        status, value = answers.pop(0) if len(answers) > 1 else answers[0]
        if value is None:
            assert request.transport is not None
            request.transport.close()
        headers = {"Location": "http://127.0.0.1:9/elsewhere"} if status == 302 else {}
        return web.Response(status=status, text=json.dumps(value), headers=headers, content_type="application/json")


@pytest.fixture(autouse=True)
def _isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the configuration, tokens and state of this machine from commands."""
    for name in list(os.environ):
        if name.startswith("TRACKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TRACKER_SERVER__LISTEN", f"127.0.0.1:{find_free_port()}")
    monkeypatch.setattr(tracker.config.sources, "SYSTEM_FILE", tmp_path / "etc" / "tracker.toml")


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A server that commands find by TRACKER_URL."""
    with Daemon() as running:
        monkeypatch.setenv("TRACKER_URL", running.url)
        yield running


def tracker_(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(cli, list(arguments), input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "\x1b" not in result.output
    return result


def process(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as users do."""
    return subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def on_terminal(*arguments: str) -> str:
    """The output of a command on a terminal as wide as COLUMNS, without colours."""
    terminal, tty = os.openpty()
    try:
        running = subprocess.Popen([sys.executable, "-m", "tracker", *arguments], stdout=tty, stderr=subprocess.DEVNULL)
    finally:
        os.close(tty)
    shown = b""
    with running, contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    assert running.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


# -- the command itself --------------------------------------------------------------------------------------


def test_every_command_has_a_help_text() -> None:
    """Each command can be imported, and the overview names it."""
    overview = tracker_("--help").output
    for name, (_module, _attribute, text) in COMMANDS.items():
        assert f"{name} " in overview
        assert text in overview
        assert tracker_(name, "--help").exit_code == 0


def test_the_targets_of_make_are_aligned() -> None:
    """Every explanation starts in the same column, also after the longest name."""
    root = Path(__file__).parents[2]
    shown = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    rows = [row for row in shown.splitlines() if row.startswith("  make ")]
    starts = {row.index(row.split(maxsplit=2)[2]) for row in rows}
    assert (len(rows) > 5, len(starts)) == (True, 1), shown


def test_commands_of_the_daemon_start_fast(tmp_path: Path) -> None:
    """A command that asks the daemon imports no hooks, no server and no database driver."""
    file = tmp_path / "tracker.toml"
    file.write_text(f'[store]\npath = "{tmp_path}/none.db"\n[server]\nlisten = "127.0.0.1:9"\n')
    code = (
        f"import sys; from tracker.cli.main import run; assert run(['list', '--config', {str(file)!r}]) == 69;"
        "assert not {'aiohttp', 'aiosqlite', 'rich', 'structlog', 'tracker.hooks'} & sys.modules.keys(), 'heavy import'"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_version_and_misspelt_commands() -> None:
    """The version is printed; a misspelt command names the nearest one."""
    assert tracker_("--version").stdout == f"tracker, version {__version__}\n"
    result = tracker_("lst")
    assert result.exit_code == 2
    assert "Did you mean list?" in result.stderr


# -- submit and track ----------------------------------------------------------------------------------------


def test_submit_prints_the_id(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Route, request, labels, account, key and token are sent; standard output has only the id."""
    monkeypatch.setenv("TRACKER_API_TOKEN", "fake-token")
    daemon.on("POST /v1/tasks", (201, TASK))
    result = tracker_(
        *("submit", "suno.generate", "-d", '{"prompt": "é"}', "--label", "user=42", "--label", "a=b=c"),
        *("--account", "team", "--idempotency-key", "k1"),
    )
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    ((_method, _path, headers, body),) = daemon.requests
    assert body == {
        "route": "suno.generate",
        "request": {"prompt": "é"},
        "labels": {"user": "42", "a": "b=c"},
        "account": "team",
    }
    assert headers["Idempotency-Key"] == "k1"
    assert headers["Authorization"] == "Bearer fake-token"


def test_submit_reads_files_and_standard_input(daemon: Daemon, tmp_path: Path) -> None:
    """``-d @file`` and ``-d -``; every submit has its own key."""
    daemon.on("POST /v1/tasks", (201, TASK))
    (tmp_path / "r.json").write_text('{"a": 1}', encoding="utf-8-sig")  # as editors of Windows do
    assert tracker_("submit", "r.r", "-d", f"@{tmp_path}/r.json").exit_code == 0
    assert tracker_("submit", "r.r", "-d", "-", stdin='{"a": 2}').exit_code == 0
    assert tracker_("submit", "r.r", "-d", "@-", stdin='{"a": 2}').exit_code == 0, "as with curl"
    assert [body["request"] for _m, _p, _h, body in daemon.requests] == [{"a": 1}, {"a": 2}, {"a": 2}]
    keys = {headers["Idempotency-Key"] for _m, _p, headers, _b in daemon.requests}
    assert len(keys) == 3
    (tmp_path / "r.json").write_text('{"a": 1}', encoding="utf-16")  # as PowerShell's > does
    refused = tracker_("submit", "r.r", "-d", f"@{tmp_path}/r.json")
    assert (refused.exit_code, refused.stderr) == (2, f"{tmp_path}/r.json: is UTF-16 text; save it as UTF-8\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "--data: is not JSON"),
        ("[1]", "--data: must be a JSON object"),
        ("@/absent", "/absent: cannot be read (No such file or directory)"),
    ],
)
def test_submit_refuses_a_bad_request_before_it_is_sent(daemon: Daemon, data: str, message: str) -> None:
    """Usage errors exit 2, and no request is sent."""
    result = tracker_("submit", "r.r", "-d", data)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert daemon.requests == []


def test_submit_of_a_task_that_fails_at_once(daemon: Daemon) -> None:
    """The id and the error are printed, without the provider's control characters."""
    daemon.on("POST /v1/tasks", (201, FAILED))
    result = tracker_("submit", "suno.generate")
    assert (result.exit_code, result.stdout) == (1, f"{ID}\n")
    assert result.stderr == f"{ID} failed: policy_rejected (E [31m7 not that)\n"


def test_submit_of_a_task_that_was_not_accepted_yet(daemon: Daemon) -> None:
    """The id is on standard output, the reason on standard error; without a reason the task is created all the same."""
    daemon.on("POST /v1/tasks", (202, TASK | {"status": "PENDING", "external_id": None}))
    result = tracker_("submit", "suno.generate")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{ID}\n", "")
    daemon.on(f"GET /v1/tasks/{ID}/why", (200, {"summary": "The service has rejected the key of account default."}))
    result = tracker_("submit", "suno.generate")
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    assert result.stderr == "The service has rejected the key of account default.\n"
    daemon.requests.clear()
    assert tracker_("submit", "suno.generate", "--json").stderr == ""
    assert [path for _, path, *_ in daemon.requests] == ["/v1/tasks"]


def test_submit_without_a_response(daemon: Daemon) -> None:
    """The error names the idempotency key that makes a repetition safe."""
    daemon.on("POST /v1/tasks", (200, None))
    result = tracker_("submit", "suno.generate")
    assert result.exit_code == 69
    key = daemon.requests[0][2]["Idempotency-Key"]
    assert f"run the same command again with --idempotency-key {key}" in result.stderr


def test_submit_and_wait(daemon: Daemon) -> None:
    """Standard output has only the outputs; progress goes to standard error."""
    daemon.on("POST /v1/tasks", (201, TASK)).on(f"GET /v1/tasks/{ID}", (200, TASK), (200, DONE))
    result = tracker_("submit", "suno.generate", "--wait")
    assert (result.exit_code, result.stdout) == (0, "https://files.example/a.mp3\nla la\n")
    assert result.stderr == (
        f"{ID} RUNNING first 50 %\n{ID} SUCCEEDED first 100 %\noutput 2 has no public URL: tracker show {ID}\n"
    )


def test_submit_and_wait_for_a_failure_or_a_timeout(daemon: Daemon) -> None:
    """Exit 1 when it failed, 124 when the time is up."""
    daemon.on("POST /v1/tasks", (201, TASK)).on(f"GET /v1/tasks/{ID}", (200, FAILED))
    failed = tracker_("submit", "suno.generate", "--wait")
    assert (failed.exit_code, failed.stdout) == (1, "")
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK))
    late = tracker_("submit", "suno.generate", "--wait", "--timeout", "0")
    assert late.exit_code == 124
    assert f"the task continues: tracker wait {ID}" in late.stderr


def test_waiting_polls_often_enough_to_show_progress(daemon: Daemon) -> None:
    """A long poll answers only at the end: a longer one would miss the stages."""
    daemon.on("POST /v1/tasks", (201, TASK | {"progress": None, "stage": None, "status": "PENDING"}))
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK | {"stage": "text"}), (200, TASK), (200, DONE))
    assert tracker_("submit", "suno.generate", "--wait").stderr.count(ID) == 4
    asked = [path for _, path, *_ in daemon.requests if "wait=" in path]
    assert asked == [f"/v1/tasks/{ID}?wait=2.000"] * 2


def test_a_text_output_is_printed_with_its_line_breaks(daemon: Daemon) -> None:
    """Lyrics are printed with their lines; control characters are escaped."""
    text = {"n": 0, "kind": "text", "url": None, "text": "[Verse]\r\nla\tla\n\n\x1b[31mla\rla"}
    daemon.on("POST /v1/tasks", (201, TASK))
    daemon.on(f"GET /v1/tasks/{ID}", (200, DONE | {"outputs": [text]}))
    assert tracker_("submit", "suno.generate-lyrics", "--wait").stdout == "[Verse]\nla\tla\n\n [31mla la\n"


def test_track(daemon: Daemon) -> None:
    """A task created elsewhere is registered."""
    daemon.on("POST /v1/tasks", (200, TASK))
    assert tracker_("track", "suno.generate", "x-1", "--label", "a=b").stdout == f"{ID}\n"
    assert daemon.requests[0][3] == {"route": "suno.generate", "external_id": "x-1", "labels": {"a": "b"}}


# -- reading -------------------------------------------------------------------------------------------------


def test_list(daemon: Daemon) -> None:
    """Filters become the query; rows are aligned plain text; JSON is the response of the daemon."""
    page = {"items": [TASK, FAILED], "next_cursor": "c1"}
    daemon.on("GET /v1/tasks", (200, page))
    result = tracker_("list", "--status", "running", "--label", "user=42", "--since", "2026-11-20", "--limit", "2")
    assert result.exit_code == 0
    header, first, second = result.stdout.splitlines()
    assert header.split()[:5] == ["ID", "STATUS", "ROUTE", "AGE", "PROGRESS"]
    assert re.match(rf"{ID}  RUNNING  suno.generate  \d+ (?:h|days)  first 50 %", first)
    assert "policy_rejected" in second
    assert result.stderr == (
        "more: tracker list --cursor c1 --status RUNNING --label user=42 --since 2026-11-20T00:00:00+00:00 --limit 2\n"
    )
    assert daemon.requests[0][1] == (
        "/v1/tasks?status=RUNNING&since=2026-11-20T00%3A00%3A00%2B00%3A00&limit=2&label.user=42"
    )
    assert json.loads(tracker_("list", "--json").stdout) == page


def test_list_shows_by_what_a_task_is_recognised(daemon: Daemon) -> None:
    """Reason, labels and prompt have columns; one that is empty for all is left out."""
    late = FAILED | {"request": {"input": {"prompt": "a kite\nover the sea, " + "far " * 20}}, "labels": {}}
    daemon.on("GET /v1/tasks", (200, {"items": [TASK, late], "next_cursor": None}))
    header, first, second = tracker_("list").stdout.splitlines()
    assert header.split() == [
        "ID",
        "STATUS",
        "ROUTE",
        "AGE",
        "PROGRESS",
        "REASON",
        "LABELS",
        "PROMPT",
        "EXTERNAL",
        "ID",
    ]
    assert "user=42" in first
    assert "policy_rejected" in second
    assert "a kite over the sea, far far far far fa…" in second
    daemon.on("GET /v1/tasks", (200, {"items": [TASK], "next_cursor": None}))
    assert tracker_("list").stdout.splitlines()[0].split()[:6] == ["ID", "STATUS", "ROUTE", "AGE", "PROGRESS", "LABELS"]


@pytest.mark.parametrize(
    ("request_body", "prompt"),
    [
        ({"prompt": "a", "title": "b"}, "a"),
        ({"title": "b"}, "b"),
        ({"input": {"img_url": "x", "prompt": "c"}}, "c"),
        ({"messages": [{"role": "user", "content": "first"}, {"role": "user", "content": "last"}]}, "last"),
        ({"contents": [{"parts": [{"text": "d"}]}]}, "d"),
        ({"taskId": "1"}, ""),
        (None, ""),
    ],
)
def test_the_prompt_of_a_request(request_body: object, prompt: str) -> None:
    """Found wherever a provider has it."""
    assert prompt_of(request_body) == prompt


@pytest.mark.parametrize(
    ("written", "ago"),
    [("30s", 30), ("45 min", 2700), ("2h", 7200), ("7D", 604800), ("1w", 604800)],
)
def test_a_time_may_be_an_age(daemon: Daemon, written: str, ago: int) -> None:
    """``2h`` is two hours ago."""
    daemon.on("GET /v1/tasks", (200, {"items": [], "next_cursor": None}))
    before = datetime.now(UTC)
    assert tracker_("list", "--since", written).exit_code == 0
    since = datetime.fromisoformat(parse_qs(urlsplit(daemon.requests[-1][1]).query)["since"][0])
    assert timedelta(seconds=ago - 1) <= before - since + timedelta(seconds=0.001) <= timedelta(seconds=ago + 60)


def test_a_time_may_be_a_day(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """``today`` and ``yesterday`` begin at midnight where the user is."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        daemon.on("GET /v1/tasks", (200, {"items": [], "next_cursor": None}))
        assert tracker_("list", "--since", "yesterday", "--until", "Today").exit_code == 0
        query = parse_qs(urlsplit(daemon.requests[-1][1]).query)
        first, last = (datetime.fromisoformat(query[name][0]) for name in ("since", "until"))
        assert (last - first, last.isoformat()[10:]) == (timedelta(days=1), "T00:00:00+09:00")
        wrong = tracker_("list", "--since", "tomorrow")
        assert wrong.exit_code == 2
        assert "'tomorrow' must be 30min, 2h or 7d (ago), today, yesterday, or a time like 2026-11-20" in wrong.stderr
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_the_terminal(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """A narrow terminal cuts nothing off: ids can be copied, and every column is shown."""
    monkeypatch.setenv("COLUMNS", str(width))
    time = "2026-11-20T20:42:00.123Z"
    delivery: dict[str, Any] = {
        "id": f"dlv_123_0_{'h' * 20}",
        "status": "dead",
        "event": "task.succeeded",
        "task_id": ID,
    }
    delivery |= {"attempts": 12, "created_at": time, "next_attempt_at": time, "error": "HTTP 500 " * 10}
    route = {"route": "kling.omni-video", "mode": "task", "callback": True, "create": f"POST /{'c' * 60}"}
    daemon.on("GET /v1/deliveries", (200, {"items": [delivery], "next_cursor": None}))
    daemon.on("GET /v1/routes", (200, {"items": [route | {"query": f"GET /{'q' * 60}"}]}))
    daemon.on("GET /v1/tasks", (200, {"items": [TASK | {"route": "r" * 22}], "next_cursor": None}))
    listed, routes, deliveries = (on_terminal(*line.split()) for line in ("list", "routes", "deliveries list"))
    for shown in (listed, routes, deliveries):
        assert max(map(len, shown.splitlines())) <= width
        assert "…" not in shown
    assert re.search(r"\d (?:h|days)\s", listed), "the age and its unit stay together"
    assert all(word in routes for word in ("MODE", "task", "CALLBACK", "yes", "c" * 60, "q" * 60))
    assert all(word in deliveries for word in (ID, delivery["id"], "ATTEMPTS", "12", "NEXT", "DETAIL"))
    assert deliveries.count("HTTP") == 10


def test_show_events_why(daemon: Daemon) -> None:
    """A task, its history and its explanation; each also as JSON."""
    event = {
        "seq": 8, "task_id": ID, "at": "2026-11-20T20:42:01.000Z", "source": "callback", "stage": "first",
        "outcome": "applied", "from": "PENDING", "to": "RUNNING", "detail": "RUNNING, stage first", "payload": {},
    }  # fmt: skip
    again = {"source": "submit", "said": "not accepted; it is sent again later", "outcome": "applied"}
    explanation = {
        "id": ID,
        "status": "RUNNING",
        "summary": "The service is working on it.",
        "heard": [
            *({"at": f"2026-11-20T20:4{n}:00.000Z", **again} for n in range(3)),
            {"at": "2026-11-20T20:43:02.000Z", "source": "callback", "said": "late", "outcome": "stale"},
            {
                "at": "2026-11-20T20:44:02.000Z",
                "source": "clock",
                "said": "archived: 1 file saved",
                "outcome": "applied",
            },
        ],
        "refused": [
            {
                "at": "2026-11-20T20:43:02.000Z",
                "what": "callback: late",
                "why": "it is older than what is already known",
            }
        ],
        "next": [
            {"at": "2026-11-20T20:43:00.000Z", "what": "asks again"},
            {"at": None, "what": "a callback"},
        ],
        "ends_by": "2026-11-21T20:42:00.000Z",
        "notes": [f"a note since 2026-11-20T20:42:00.000Z{' and more' * 12}"],
        "details": ["a count"],
        "actions": [{"what": "stop it", "command": f"tracker cancel {ID}"}],
    }
    daemon.on(f"GET /v1/tasks/{ID}", (200, FAILED)).on(f"GET /v1/tasks/{ID}/events", (200, {"items": [event]}))
    daemon.on(f"GET /v1/tasks/{ID}/why", (200, explanation))
    shown = tracker_("show", ID).stdout
    assert "reason        policy_rejected" in shown
    assert "error         not that (the service's code E [31m7, HTTP 200)" in shown
    assert "label user    42" in shown
    assert "RUNNING, stage first" in tracker_("events", ID).stdout
    account = tracker_("why", ID).stdout
    for text in (
        "The service is working on it.",
        "History",
        "submit    not accepted; it is sent again later (3 times, last at ",
        "callback  late (not applied)",
        "archive   archived: 1 file saved",
        "Next",
        "any time  a callback",
        "  a note since 2026-11-2",
        f"You can:\n  stop it:\n    tracker cancel {ID}\n",
    ):
        assert text in account
    assert account.count("it is sent again later") == 1
    assert "a count" not in account
    assert "and more\n  a count\n" in tracker_("why", ID, "--verbose").stdout
    shown = on_terminal("why", ID)
    assert re.search(r"^  a note since 2026-11-2\d \d\d:\d\d:00 \(\d+ \w+ ago\)", shown, re.MULTILINE), (
        "local, and relative"
    )
    assert max(map(len, shown.splitlines())) <= 80
    assert f"\n    tracker cancel {ID}\n" in shown, "a command stays in one line"
    assert json.loads(tracker_("show", ID, "--json").stdout) == FAILED
    assert json.loads(tracker_("events", ID, "--json").stdout) == {"items": [event]}
    assert json.loads(tracker_("why", ID, "--json").stdout) == explanation


def test_why_names_the_alarm_of_a_held_create_once(daemon: Daemon) -> None:
    """The summary says why it is held, so the history does not repeat it."""
    cause = 'the service has rejected the key of account default since 2026-11-20T20:42:00.000Z: "no such key"'
    heard = {"at": "2026-11-20T20:42:00.000Z", "source": "submit", "said": f"{HELD}{cause}", "outcome": "applied"}
    explanation = {
        "id": ID,
        "status": "PENDING",
        "summary": f"The tracker holds the request back: {cause}. Nothing was started or charged.",
        "heard": [heard, {**heard, "said": f"{HELD}something else"}],
        **{name: [] for name in ("refused", "next", "notes", "details", "actions")},
        "ends_by": None,
    }
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK)).on(f"GET /v1/tasks/{ID}/why", (200, explanation))
    shown = tracker_("why", ID).stdout
    assert shown.count("no such key") == 1
    assert re.search(r"submit +held until its account is accepted\n", shown)
    assert "held until its account is accepted: something else" in shown


def test_show_compares_a_task_with_others(daemon: Daemon) -> None:
    """How long such tasks usually take; a late one with its latest end, which the explanation knows."""
    expected = {"p50_s": 100.0, "p90_s": 150.0, "samples": 12, "ready_at": None}
    begun = datetime.now(UTC) - timedelta(seconds=72)
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK | {"submitted_at": begun.isoformat(), "expected": expected}))
    assert re.search(r"\nexpected +usually 1:40-2:30, this one 1:1\d so far\n", tracker_("show", ID).stdout)
    begun -= timedelta(seconds=120)
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK | {"submitted_at": begun.isoformat(), "expected": expected}))
    daemon.on(f"GET /v1/tasks/{ID}/why", (200, {"ends_by": datetime.now(UTC).isoformat()}))
    late = r"this one 3:1\d so far: longer than nine of ten; it ends by [\d:]{8} at the latest\n"
    assert re.search(late, tracker_("show", ID).stdout)


STATS: dict[str, Any] = {
    "tasks": {"PENDING": 1, "RUNNING": 2, "SUCCEEDED": 30, "FAILED": 4},
    "reasons": {"expired": 1, "policy_rejected": 3},
    "deliveries": {"pending": 1, "running": 0, "succeeded": 9, "failed": 1, "dead": 1},
    "archives": {"pending": 1, "running": 1, "stored": 60, "dead": 2},
    "due_polls": 3,
    "oldest_due_poll_at": None,
    "oldest_pending_at": None,
    "oldest_running_at": "2026-11-20T20:42:00.123Z",
    "waiting_for_slot": {"default": 46, "luma": 1},
}


def test_status_on_one_screen(daemon: Daemon) -> None:
    """Version, store, accounts, tasks, hooks, archive and troubles; exit 1 while the daemon is not ready."""
    facts = {
        "version": "1.2.3",
        "pid": 7,
        "started_at": "2026-11-20T20:42:00.123Z",
        "store": "/var/lib/tracker/tracker.db",
        "disk_free_bytes": 3 * 2**30,
        "accounts": [
            {"name": "default", "base_url": "https://gateway.example", "has_key": True, "alarm": None},
            {"name": "luma", "base_url": "https://luma.example", "has_key": False, "alarm": None},
            {"name": "red", "base_url": "https://red.example", "has_key": True, "alarm": "The key is rejected."},
        ],
    }
    hook = {"name": "crm", "state": "failing", "last_error": "HTTP 500", "deliveries": STATS["deliveries"]}
    facts["alarms"] = [{"kind": "disk_low", "message": "The disk is nearly full.", "fix": "Free some space."}]
    ready = {"ready": True, "reasons": ["The disk is nearly full."], "instance": "i", "alarms": 1}
    problem = {"title": "Service Unavailable", "status": 503, "ready": False, "reasons": ["The writer is stuck."]}
    daemon.on("GET /v1/doctor", (200, facts)).on("GET /v1/stats", (200, STATS))
    daemon.on("GET /v1/hooks", (200, {"items": [hook], "ignored": []})).on("GET /readyz", (200, ready), (503, problem))
    shown = tracker_("status")
    assert shown.exit_code == 0
    first, *lines = shown.stdout.splitlines()
    assert re.fullmatch(r"tracker 1\.2\.3 is ready \(since 2026-11-2\d \d\d:\d\d:00, pid 7\)", first)
    assert lines[:4] == [
        "Store     /var/lib/tracker/tracker.db, 3 GiB free on its disk",
        "Accounts  default  https://gateway.example  has a key",
        "          luma     https://luma.example     has no key, so it sends nothing",
        "          red      https://red.example      refused, see Troubles",
    ]
    assert re.fullmatch(r"Tasks     1 pending, 2 running \(the oldest for \d+ days\), 30 succeeded, 4 failed", lines[4])
    assert lines[5:] == [
        "          waiting for a free slot: 46 of account default, 1 of account luma",
        "          failed: 3 policy_rejected, 1 expired",
        "Polls     3 due",
        "Hooks     crm  failing  9 delivered, 1 waiting, 2 given up; last error: HTTP 500",
        "Archive   2 waiting, 60 saved, 2 given up",
        "Troubles  The disk is nearly full.",
        "            Free some space.",
    ]
    unready = tracker_("status")
    assert unready.exit_code == 1
    assert "is not ready" in unready.stdout
    assert unready.stdout.endswith("Troubles  The writer is stuck.\n")
    assert json.loads(tracker_("status", "--json").stdout)["daemon"] == facts


def test_routes_with_and_without_a_daemon(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's routes, or those of this installation."""
    item = {"route": "x.y", "mode": "task", "callback": True, "create": "POST /x", "query": None}
    daemon.on("GET /v1/routes", (200, {"items": [item]}))
    assert tracker_("routes").stdout.splitlines()[1].split() == ["x.y", "task", "yes", "POST", "/x", "-"]
    monkeypatch.delenv("TRACKER_URL")
    own = tracker_("routes", "--json")
    assert "suno.generate" in [item["route"] for item in json.loads(own.stdout)["items"]]
    assert own.stderr.startswith("no daemon answers at http://127.0.0.1:")


# -- acting --------------------------------------------------------------------------------------------------


def test_wait_for_several(daemon: Daemon) -> None:
    """All must end; one failure is a failure."""
    other = "01JD0000000000000000000001"
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK), (200, DONE))
    daemon.on(f"GET /v1/tasks/{other}", (200, FAILED | {"id": other}))
    result = tracker_("wait", ID, other)
    assert result.exit_code == 1
    assert result.stdout == f"{ID} SUCCEEDED first 100 %\n{other} FAILED policy_rejected\n"
    assert tracker_("wait", ID).exit_code == 0
    assert tracker_("wait", "absent").stderr == "no task has this id\n"
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK))
    late = tracker_("wait", ID, "--timeout", "0.05", "--json")
    assert (late.exit_code, json.loads(late.stdout)["status"]) == (124, "RUNNING")
    late = tracker_("wait", ID, "--timeout", "0.05")
    assert late.stdout == "", "the progress has shown it"
    assert late.stderr == f"{ID} RUNNING first 50 %\nnot finished after 0 s; the task continues: tracker wait {ID}\n"


def test_resubmit_asks_where_both_may_be_charged(daemon: Daemon) -> None:
    """Nothing is asked after a refusal; without a terminal --yes is the answer."""
    refused = FAILED | {"external_id": None}
    again = TASK | {"id": "01JD0000000000000000000001", "retry_of": ID}
    daemon.on(f"GET /v1/tasks/{ID}", (200, refused)).on(f"POST /v1/tasks/{ID}/resubmit", (201, again))
    for command in ("resubmit", "retry"):
        assert tracker_(command, ID).stdout == f"{again['id']}\n"
    assert daemon.requests[-1][3] == {"confirm": True}
    assert "Idempotency-Key" not in daemon.requests[-1][2]
    for first, charge in (
        (FAILED, "the first job failed (policy_rejected) after the service may have accepted it"),
        (refused | {"reason": "submit_unknown"}, "the first job failed (submit_unknown) after"),
        (TASK, "the first job has not ended"),
        (DONE, "the first job succeeded"),
    ):
        daemon.on(f"GET /v1/tasks/{ID}", (200, first))
        count = len(daemon.requests)
        stopped = tracker_("resubmit", ID)
        assert (stopped.exit_code, len(daemon.requests)) == (2, count + 1)
        assert charge in stopped.stderr
        assert "add --yes" in stopped.stderr
        assert tracker_("resubmit", ID, "--yes", "--idempotency-key", "k").exit_code == 0
        assert daemon.requests[-1][2]["Idempotency-Key"] == "k"


@pytest.mark.parametrize(("answer", "code", "sent"), [("y", 0, 1), ("n", 1, 0)])
def test_resubmit_asks_on_a_terminal(daemon: Daemon, answer: str, code: int, sent: int) -> None:
    """One question, with the reason; no means that nothing is sent."""
    daemon.on(f"GET /v1/tasks/{ID}", (200, DONE)).on(f"POST /v1/tasks/{ID}/resubmit", (201, TASK))
    terminal, tty = os.openpty()
    command = [sys.executable, "-m", "tracker", "resubmit", ID]
    with subprocess.Popen(command, stdin=tty, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        os.write(terminal, f"{answer}\n".encode())
        _, asked = running.communicate(timeout=60)
    os.close(tty)
    os.close(terminal)
    assert running.returncode == code
    assert asked.startswith("the first job succeeded, so both may be charged. Send the request again? [y/N]: ")
    assert ("nothing was sent" in asked) is (answer == "n")
    assert [method for method, *_ in daemon.requests].count("POST") == sent


def test_adopt(daemon: Daemon) -> None:
    """The id goes to the daemon; its refusal is one line."""
    daemon.on(f"POST /v1/tasks/{ID}/adopt", (200, TASK), (409, NOT_FOUND | {"title": "Conflict", "detail": "no."}))
    assert tracker_("adopt", ID, "up-7").stdout == f"{ID} RUNNING first 50 %\n"
    assert daemon.requests[-1][3] == {"external_id": "up-7"}
    assert tracker_("adopt", ID, "up-8").stderr == "no.\n"


def test_wait_continues_after_a_restart_of_the_daemon(daemon: Daemon) -> None:
    """The command waits while the daemon restarts."""
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK), (200, None), (200, DONE))
    result = tracker_("wait", ID)
    assert result.exit_code == 0
    assert "does not answer; waiting for it" in result.stderr


def test_a_delivery_with_what_its_hook_printed(daemon: Daemon) -> None:
    """Each field, and the output line by line; one that succeeded runs again on request only."""
    time = "2026-11-20T20:42:00.123Z"
    item: dict[str, Any] = {"id": "dlv_1", "task_id": ID, "hook": "crm", "status": "failed", "attempts": 1}
    item |= {"error": "exit 100", "output": "looking\x1b[31m up\nno such user\n", "finished_at": time}
    first = {"attempt": 1, "outcome": "retry", "started_at": time, "took_s": 0.0123, "error": "exit 1"}
    old = {"attempt": 1, "outcome": "succeeded", "started_at": None, "took_s": None, "error": None, "output": None}
    item["attempt_history"] = [first | {"output": "try\x1b[31m again\nlater\n"}, old]
    daemon.on("GET /v1/deliveries/dlv_1", (200, item))
    shown = tracker_("deliveries", "show", "dlv_1").stdout
    assert "hook         crm\n" in shown
    assert re.search(r"\n1 +retry +2026-11-2\d \d\d:\d\d:00 +0\.0123 s +exit 1 +later *\n1 +succeeded +- +- *\n", shown)
    assert shown.endswith("\nOutput\n  looking [31m up\n  no such user\n")
    assert json.loads(tracker_("deliveries", "show", "dlv_1", "--json").stdout) == item
    daemon.on(
        "POST /v1/deliveries/dlv_1/retry", (200, item | {"status": "succeeded"}), (200, item | {"status": "pending"})
    )
    done = tracker_("deliveries", "retry", "dlv_1")
    assert re.fullmatch(r"dlv_1 succeeded at .*:\d\d:00; --again runs it once more\n", done.stderr)
    assert tracker_("deliveries", "retry", "--again", "dlv_1").stdout == "dlv_1 pending\n"
    assert daemon.requests[-1][1] == "/v1/deliveries/dlv_1/retry?again=true"
    assert tracker_("deliveries", "retry", "--again", "--hook", "crm").exit_code == 2


def test_the_next_page_of_deliveries_has_the_same_options(daemon: Daemon, tmp_path: Path) -> None:
    """The suggested command repeats filters, limit and configuration, quoted for the shell."""
    file = tmp_path / "my tracker.toml"
    file.touch()
    time = "2026-11-20T20:42:00.123Z"
    item = {"id": "dlv_1", "status": "dead", "event": "task.failed", "task_id": ID, "attempts": 1, "error": None}
    item |= {"created_at": time, "next_attempt_at": None}
    daemon.on("GET /v1/deliveries", (200, {"items": [item], "next_cursor": "c 1"}))
    result = tracker_("deliveries", "list", "--status", "dead", "--limit", "1", "--hook", "h", "--config", str(file))
    (line,) = result.stderr.splitlines()
    assert line.startswith("more: tracker deliveries list ")
    offered = shlex.split(line.removeprefix("more: tracker deliveries list "))
    assert sorted(zip(offered[::2], offered[1::2], strict=True)) == [
        ("--config", str(file)),
        *(("--cursor", "c 1"), ("--hook", "h"), ("--limit", "1"), ("--status", "dead")),
    ]


def test_an_inline_file_is_waited_for(daemon: Daemon) -> None:
    """It has no URL, so its archived copy is the only way to it."""
    inline = {"n": 0, "kind": "image", "url": None, "archived": False, "path": None}
    stored = inline | {"archived": True, "path": f"{ID}/0-image.png"}
    item = {"n": 0, "state": "pending", "error": None}
    done = DONE | {"outputs": [inline, {"n": 1, "kind": "text", "url": None, "text": "la"}]}
    daemon.on("POST /v1/tasks", (201, done))
    daemon.on(f"GET /v1/tasks/{ID}/archive", (200, {"items": [item]}), (200, {"items": [item | {"state": "stored"}]}))
    daemon.on(f"GET /v1/tasks/{ID}", (200, done | {"outputs": [stored, *done["outputs"][1:]]}))
    result = tracker_("submit", "gemini.generate", "--wait", "-d", "{}")
    assert (result.exit_code, result.stdout) == (0, f"{daemon.url}/v1/tasks/{ID}/outputs/0\nla\n")


@pytest.mark.parametrize("command", [("submit", "suno.generate"), ("resubmit", ID, "--yes")])
def test_an_empty_idempotency_key_sends_nothing(daemon: Daemon, command: tuple[str, ...]) -> None:
    """As with an unset variable in a script, whose repetitions would all be paid."""
    result = tracker_(*command, "--idempotency-key", " ")
    assert (result.exit_code, daemon.requests) == (2, [])
    assert "'--idempotency-key': is empty; is the variable in it set?" in result.stderr


def test_only_the_ids_of_a_list(daemon: Daemon) -> None:
    """One per line for scripts; the command for the rest is on standard error, with the same flag."""
    daemon.on("GET /v1/tasks", (200, {"items": [TASK, TASK | {"id": ID[:-1] + "1"}], "next_cursor": ID}))
    result = tracker_("list", "--ids", "--q", "user=")
    assert (result.stdout, result.exit_code) == (f"{ID}\n{ID[:-1]}1\n", 0)
    assert result.stderr == f"more: tracker list --cursor {ID} --q user= --ids\n"
    daemon.on("GET /v1/tasks", (200, {"items": [], "next_cursor": None}))
    result = tracker_("list", "--ids")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)
    assert tracker_("list", "--ids", "--json").exit_code == 2


def test_a_part_of_a_label_is_searched_with_q(daemon: Daemon) -> None:
    """Whoever writes a pattern, or a label without a value, is told how to search for it."""
    daemon.on("GET /v1/tasks", (200, {"items": [], "next_cursor": None}))
    result = tracker_("list", "--label", "customer=anna*")
    assert result.stderr == "no tasks\n--label matches whole values; for a part: --q customer=anna\n"
    result = tracker_("list", "--label", "customer")
    assert (result.exit_code, "(--q customer searches all labels)" in result.stderr) == (2, True)


def test_a_search_that_was_cut_says_so(daemon: Daemon) -> None:
    """The sentence of the answer, and the command that continues, on standard error, also for an empty page."""
    cut = {"next_cursor": ID, "notice": SEARCH_CUT}
    for items, first in (([TASK], ""), ([], "no tasks\n")):
        daemon.on("GET /v1/tasks", (200, {"items": items, **cut}))
        result = tracker_("list", "--q", "rain")
        assert result.exit_code == 0
        assert result.stderr == f"{first}{SEARCH_CUT}\nmore: tracker list --cursor {ID} --q rain\n"
    daemon.on("GET /v1/deliveries", (200, {"items": [], "next_cursor": "7", "notice": SEARCH_CUT}))
    stderr = tracker_("deliveries", "list", "--hook", "publish").stderr
    assert stderr == f"no deliveries\n{SEARCH_CUT}\nmore: tracker deliveries list --cursor 7 --hook publish\n"


def test_an_abbreviated_id_is_found_beyond_a_cut(daemon: Daemon) -> None:
    """An id by the times that its prefix allows, an upstream id on any page."""
    nothing: dict[str, Any] = {"items": [], "next_cursor": None}
    cut = {"items": [], "next_cursor": ID, "notice": SEARCH_CUT}
    found = {"items": [TASK], "next_cursor": None}
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK))
    daemon.on("GET /v1/tasks", (200, cut), (200, found))
    result = tracker_("show", ID[:10].lower(), "--json")
    assert (json.loads(result.stdout or "null"), result.stderr) == (TASK, "")
    first, second = (parse_qs(urlsplit(path).query) for _, path, *_ in daemon.requests[:2])
    since, until = (datetime.fromisoformat(first[name][0]) for name in ("since", "until"))
    assert until - since == timedelta(milliseconds=1)
    assert second == {**first, "cursor": [ID]}
    daemon.requests.clear()
    found = {"items": [TASK | {"external_id": "5c79aa10be"}], "next_cursor": None}
    daemon.on("GET /v1/tasks", (200, nothing), (200, cut), (200, found))
    assert json.loads(tracker_("show", "5c79aa10be", "--json").stdout) == TASK


@pytest.mark.parametrize("given", ["f5d18dd22762a2bb8015fe48bc748931", "f5d18dd2", "42"])
def test_an_upstream_id_of_any_length_is_found(daemon: Daemon, given: str) -> None:
    """Also one that is longer than a task id, the beginning of one, and a short one."""
    whole = given if given == "42" else "f5d18dd22762a2bb8015fe48bc748931"
    other = TASK | {"id": ID[:-1] + "1", "external_id": f"z{whole}"}
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK))
    daemon.on("GET /v1/tasks", (200, {"items": [other, TASK | {"external_id": whole}], "next_cursor": None}))
    assert json.loads(tracker_("show", given, "--json").stdout) == TASK


def test_a_prefix_that_is_too_short(daemon: Daemon) -> None:
    """One line says how long it must be."""
    daemon.on("GET /v1/tasks", (200, {"items": [TASK], "next_cursor": None}))
    result = tracker_("show", ID[:4])
    assert result.stderr == "01JD: no task has this id; a shortened id has at least 6 characters\n"
    assert result.exit_code == 1


def test_actions_on_many_tasks(daemon: Daemon) -> None:
    """The options of the list select tasks; a cancel without a terminal needs --yes."""
    counted, acted = {"matched": 3, "done": 0}, {"matched": 3, "done": 2}
    daemon.on("POST /v1/tasks/actions", (200, acted))
    result = tracker_("poll", "--status", "failed", "--reason", "expired", "--label", "user=42")
    assert (result.exit_code, result.stdout) == (0, "3 tasks match; 2 polled\n")
    filters = {"status": "FAILED", "reason": "expired", "label.user": "42"}
    assert daemon.requests[-1][3] == {"action": "poll", "filter": filters, "dry_run": False}
    daemon.on("POST /v1/tasks/actions", (200, counted))
    result = tracker_("cancel", "--q", "kite")
    assert (result.exit_code, result.stderr) == (2, "3 tasks would be canceled; to cancel, add --yes\n")
    assert daemon.requests[-1][3] == {"action": "cancel", "filter": {"q": "kite"}, "dry_run": True}
    result = tracker_("cancel", "--q", "kite", "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "3 tasks match; nothing was done\n")
    daemon.on("POST /v1/tasks/actions", (200, {"matched": 1, "done": 1}))
    result = tracker_("cancel", "--q", "kite", "--yes")
    assert (result.stdout, daemon.requests[-1][3]["dry_run"]) == ("1 task matches; 1 canceled\n", False)
    result = tracker_("deliveries", "retry", "--route", "suno.generate", "--label", "user=42", "--json")
    assert json.loads(result.stdout) == {"matched": 1, "done": 1}
    filters = {"route": "suno.generate", "label.user": "42"}
    assert daemon.requests[-1][3] == {"action": "retry-deliveries", "filter": filters, "dry_run": False}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["poll"], "name one task by its ID, or select many by options such as --route or --label"),
        (["cancel", ID, "--route", "x"], "name one task by its ID, or select many by options"),
        (["cancel", ID, "--dry-run"], "--dry-run counts what options select; leave out the ID"),
        (["deliveries", "retry"], "name deliveries by id, or select them with --hook, --status or --since, or by"),
        (["deliveries", "retry", "--hook", "a", "--route", "x"], "name deliveries by id, or select them with"),
        (["deliveries", "retry", "--hook", "a", "--dry-run"], "--dry-run counts the deliveries of tasks"),
    ],
)
def test_an_action_without_a_clear_target(daemon: Daemon, arguments: list[str], text: str) -> None:
    """Nothing is sent; one line says what to name."""
    result = tracker_(*arguments)
    assert (result.exit_code, result.stderr.startswith(text)) == (2, True), result.stderr
    assert daemon.requests == []


def test_a_retry_for_a_misspelt_hook(daemon: Daemon) -> None:
    """The error names the nearest hook; a hook without failed deliveries is not an error."""
    daemon.on("POST /v1/deliveries/retry", (200, {"retried": 0}))
    daemon.on("GET /v1/hooks", (200, {"items": [{"name": "publish"}]}))
    misspelt = tracker_("deliveries", "retry", "--hook", "publsh")
    assert (misspelt.exit_code, misspelt.stderr) == (2, "no hook is named 'publsh'; did you mean publish?\n")
    nothing = tracker_("deliveries", "retry", "--hook", "publish")
    assert (nothing.exit_code, nothing.stdout) == (0, "0 deliveries retried\n")
    daemon.on("POST /v1/deliveries/retry", (200, {"retried": 1}))
    assert tracker_("deliveries", "retry", "--hook", "publish").stdout == "1 delivery retried\n"


def test_poll_and_cancel(daemon: Daemon) -> None:
    """Each prints the new state of the task; an error is one line and exit 1."""
    daemon.on(f"POST /v1/tasks/{ID}/poll", (200, TASK))
    conflict = {"title": "Conflict", "status": 409, "detail": "The task has ended already."}
    daemon.on(f"POST /v1/tasks/{ID}/cancel", (409, conflict))
    assert tracker_("poll", ID).stdout == f"{ID} RUNNING first 50 %\n"
    assert json.loads(tracker_("poll", ID, "--json").stdout) == TASK
    refused = tracker_("cancel", ID)
    assert (refused.exit_code, refused.stderr) == (1, "The task has ended already.\n")


@pytest.mark.parametrize(
    ("status", "problem", "code", "lines"),
    [
        (
            422,
            {
                "title": "Unprocessable Entity",
                "detail": "x",
                "errors": [{"loc": ["request", "model"], "msg": "required"}, {"loc": ["query", "q"], "msg": "long"}],
            },
            2,
            ["request.model: required", "--q: long"],
        ),
        (
            401,
            {"title": "Unauthorized", "detail": "token"},
            78,
            ["requires an API token: set TRACKER_API_TOKEN, or run as root"],
        ),
        (
            403,
            {"type": "urn:tracker:problem:scope", "title": "Forbidden", "detail": "The token a has the scope read."},
            78,
            ["The token a has the scope read. Set TRACKER_API_TOKEN to a token with that scope."],
        ),
        (409, {"title": "Conflict"}, 1, ["Conflict"]),
        (503, {"title": "Service Unavailable", "detail": "disk"}, 69, ["disk"]),
        (302, {}, 1, ["answered 302, which is not an answer of a tracker; check the address"]),
    ],
)
def test_refusals_are_one_line_each(
    daemon: Daemon, status: int, problem: dict[str, object], code: int, lines: list[str]
) -> None:
    """Problem details become lines; redirects are not followed."""
    daemon.on("POST /v1/tasks", (status, problem))
    result = tracker_("submit", "suno.generate")
    assert (result.exit_code, result.stdout) == (code, "")
    for line, expected in zip(result.stderr.splitlines(), lines, strict=True):
        assert line.endswith(expected)
    assert len(daemon.requests) == 1


def test_a_unix_socket(tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured socket is found without a URL."""
    path = short_path / "t.sock"
    monkeypatch.setenv("TRACKER_SERVER__LISTEN", f"unix:{path}")
    with Daemon(path) as running:
        store = tmp_path / "state" / "tracker" / "tracker.db"
        asyncio.run(_make_store(store))
        ready = {"ready": True, "reasons": [], "instance": read_instance(store), "alarms": 0}
        running.on("GET /readyz", (200, ready)).on(f"GET /v1/tasks/{ID}", (200, TASK))
        with store.with_name("tracker.db.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as the daemon that serves the file does
            assert json.loads(tracker_("show", ID, "--json").stdout) == TASK


async def _make_store(path: Path) -> None:
    store = SqliteStore(path, lambda: datetime.now(UTC))
    await store.open()
    await store.close()


# -- without a daemon ----------------------------------------------------------------------------------------


def test_no_daemon_and_no_file() -> None:
    """Neither a daemon nor a file: one line and exit 69."""
    for arguments in (("list",), ("wait", ID), ("cancel", ID)):
        result = tracker_(*arguments)
        assert result.exit_code == 69
        assert "(connection refused); start one with: tracker serve" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_reading_commands_read_the_file(tmp_path: Path) -> None:
    """list, show, events and why read the file and report that once on standard error."""
    path = tmp_path / "state" / "tracker" / "tracker.db"
    asyncio.run(fill(path))
    for arguments, text in [
        (("list", "--label", "user=42"), "suno.generate"),
        (("show", ID), "external_id   x-1"),
        (("events", ID), "accepted as x-1"),
        (("why", ID), "No daemon is running"),
    ]:
        result = tracker_(*arguments)
        assert result.exit_code == 0, result.output
        assert text in result.stdout
        assert result.stderr.endswith(f"; reading {path}\n")
    assert json.loads(tracker_("list", "--label", "user=7", "--json").stdout) == {"items": [], "next_cursor": None}
    assert json.loads(tracker_("list", "--since", "2099-01-01", "--json").stdout)["items"] == []
    stopped = tracker_("status")
    assert stopped.exit_code == 1
    assert stopped.stdout.startswith("tracker is not running\nTasks     1 pending (the oldest for ")
    assert "Troubles  The daemon is not running. Start it with: tracker serve" in stopped.stdout
    with path.with_name("tracker.db.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the daemon that serves the file does
        silent = tracker_("status")
    assert silent.exit_code == 1
    assert silent.stdout.startswith("tracker is not reachable\n")
    assert "Troubles  Process 4711 uses the store, but no daemon of it answers at http://127.0.0.1:" in silent.stdout
    missing = tracker_("show", "01JD0000000000000000000009")
    assert missing.exit_code == 1
    assert "No task has the id" in missing.stderr
    assert tracker_("wait", ID).exit_code == 69
    assert tracker_("list", "--url", "http://192.0.2.1:1:1").exit_code == 2


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    """A foreign file is one line and exit 78."""
    path = tmp_path / "state" / "tracker" / "tracker.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 5000)
    result = tracker_("list")
    assert result.exit_code == 78
    assert len(result.stderr.splitlines()) == 2


async def fill(path: Path) -> None:
    """Make a store with one accepted task."""
    path.parent.mkdir(parents=True)
    now = datetime(2026, 11, 20, 20, 42, tzinfo=UTC)
    store = SqliteStore(path, lambda: now)
    await store.open()
    try:
        await store.create_task(
            NewTask(
                id=TaskId(ID),
                route="suno.generate",
                provider="suno",
                account="default",
                asset="song",
                created_at=now,
                due_at=now,
                submit_state=SubmitState.QUEUED,
                request='{"prompt": "x"}',
                labels={"user": "42"},
            )
        )
        accepted = Reading(submission=Submission.ACCEPTED, external_id=ExternalId("x-1"))
        await store.apply(
            Observation(TaskId(ID), Source.SUBMIT, now, accepted, attempt=1),
            lambda task, history, seen: judge(task, history, seen, PollTiming(PollPolicy(), 5.0)),
        )
    finally:
        await store.close()


# -- configuration -------------------------------------------------------------------------------------------


def test_config_init_check_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A documented file is written once, is valid, and is shown with the effective values but no secret."""
    monkeypatch.delenv("TRACKER_SERVER__LISTEN")
    monkeypatch.setenv("ANYINT_API_KEY", "fake-key-never-shown")
    file = tmp_path / "t.toml"
    assert tracker_("config", "init", str(file)).exit_code == 0
    again = tracker_("config", "init", str(file))
    assert (again.exit_code, "exists" in again.stderr) == (1, True)
    assert tracker_("config", "init", "-").stdout == file.read_text(encoding="utf-8")
    checked = tracker_("config", "check", "--config", str(file))
    assert (checked.exit_code, checked.output) == (0, f"{file}: ok\n")
    shown = tracker_("config", "show", "--config", str(file))
    assert "# secret accounts.default.api_key: set" in shown.stdout
    assert "# secret server.api_token: not set" in shown.stdout
    assert "fake-key" not in shown.output
    again_file = tmp_path / "again.toml"
    again_file.write_text(shown.stdout, encoding="utf-8")
    assert tracker_("config", "check", "--config", str(again_file)).exit_code == 0


def test_config_show_prints_equivalent_toml(tmp_path: Path) -> None:
    """Hooks, providers, models and quoted names are included."""
    file = tmp_path / "t.toml"
    file.write_text(
        '[models]\nvideo = "m"\n[models.staging]\nvideo = { id = "n", fallback = ["m"] }\n[poll.suno]\n'
        'first_delay_s = 1\n[accounts."a.b"]\napi_key_env = "K"\n[[hooks]]\nname = "h"\non = "task.*"\n'
        'run = ["x", "a\\"b"]\nlabels = { "x.y" = "1" }\n[[hooks]]\nname = "i"\non = "task.failed"\nrun = "y"\n',
        encoding="utf-8",
    )
    first = tracker_("config", "show", "--config", str(file), "--json")
    again = tmp_path / "again.toml"
    again.write_text(tracker_("config", "show", "--config", str(file)).stdout, encoding="utf-8")
    second = tracker_("config", "show", "--config", str(again), "--json")
    assert json.loads(second.stdout)["config"] == json.loads(first.stdout)["config"]


def test_config_check_lists_errors(tmp_path: Path) -> None:
    """One line per error and exit 78, also as JSON. Reading commands fail with it, too."""
    file = tmp_path / "t.toml"
    file.write_text("[poll]\ntik_s = 1\n[sever]\n", encoding="utf-8")
    result = tracker_("config", "check", "--config", str(file))
    assert result.exit_code == 78
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["poll.tik_s", "sever"]
    as_json = tracker_("config", "check", "--config", str(file), "--json")
    assert (as_json.exit_code, len(json.loads(as_json.stdout)["problems"])) == (78, 2)
    assert tracker_("list", "--config", str(file)).exit_code == 78


# -- download ------------------------------------------------------------------------------------------------

OTHER_ID = "01JD0000000000000000000001"


@pytest.fixture
def daemon_with_files(daemon: Daemon) -> Daemon:
    """A daemon with two tasks whose files have the same name; each contains the id of its task."""
    for task_id in (ID, OTHER_ID):
        content = json.dumps(task_id).encode()
        file = {"archived": True, "path": f"{task_id}/0-audio.mp3", "bytes": len(content)}
        file["sha256"] = hashlib.sha256(content).hexdigest()
        task = DONE | {"id": task_id, "outputs": [{"n": 0, "kind": "audio", "url": None, **file}]}
        item = {"n": 0, "state": "stored", "error": None}
        daemon.on(f"POST /v1/tasks/{task_id}/archive", (202, {"items": [item]}))
        daemon.on(f"GET /v1/tasks/{task_id}/archive", (200, {"items": [item]}))
        daemon.on(f"GET /v1/tasks/{task_id}", (200, task))
        daemon.on(f"GET /v1/tasks/{task_id}/outputs/0", (200, task_id))
    return daemon


def test_downloads_of_several_tasks_share_a_directory(daemon_with_files: Daemon, tmp_path: Path) -> None:
    """File names start with the task id; a second run downloads nothing."""
    for task_id in (ID, OTHER_ID):
        path = tmp_path / "here" / f"{task_id}-0-audio.mp3"
        result = tracker_("download", task_id, str(tmp_path / "here"))
        assert (result.exit_code, result.stdout) == (0, f"{path}\n")
        assert json.loads(path.read_text(encoding="utf-8")) == task_id
    daemon_with_files.requests.clear()
    assert tracker_("download", ID, str(tmp_path / "here")).exit_code == 0
    assert not [path for _, path, *_ in daemon_with_files.requests if path.endswith("/outputs/0")]
    assert len(list((tmp_path / "here").iterdir())) == 2


def test_a_download_does_not_overwrite_other_files(daemon_with_files: Daemon, tmp_path: Path) -> None:
    """A file with other content is overwritten only with --force; anything but a regular file never."""
    mine = tmp_path / f"{ID}-0-audio.mp3"
    mine.write_text("mine", encoding="utf-8")
    refused = tracker_("download", ID, str(tmp_path))
    said = f"{mine}: exists with other content; move it away, or overwrite it with --force\n"
    assert (refused.exit_code, refused.stderr, mine.read_text(encoding="utf-8")) == (1, said, "mine")
    assert tracker_("download", ID, str(tmp_path), "--force").exit_code == 0
    assert json.loads(mine.read_text(encoding="utf-8")) == ID
    pipe = tmp_path / f"{OTHER_ID}-0-audio.mp3"
    os.mkfifo(pipe)
    assert tracker_("download", OTHER_ID, str(tmp_path), "--force").exit_code == 1
    assert pipe.is_fifo()


# -- as processes --------------------------------------------------------------------------------------------


def test_exit_codes_of_the_process(daemon: Daemon, tmp_path: Path) -> None:
    """What scripts see: 0, 1, 2, 69, 78 and 124, and never a traceback."""
    daemon.on("GET /v1/tasks", (200, {"items": [TASK], "next_cursor": None}))
    daemon.on(f"GET /v1/tasks/{ID}", (200, TASK))
    bad = tmp_path / "bad.toml"
    bad.write_text("a = ", encoding="utf-8")
    found = {
        0: process("list"),
        1: process("show", "absent"),
        2: process("show"),
        69: process("cancel", ID, TRACKER_URL=f"http://127.0.0.1:{find_free_port()}"),
        78: process("serve", "--config", str(bad)),
        124: process("wait", ID, "--timeout", "0.01"),
    }
    assert {code: result.returncode for code, result in found.items()} == {code: code for code in found}
    for result in found.values():
        assert "Traceback" not in result.stderr
    assert found[0].stdout.splitlines()[1].startswith(ID)


def test_serve_refuses_a_public_address_without_a_token() -> None:
    """The error names --listen."""
    result = process("serve", "--listen", "0.0.0.0:0")
    assert result.returncode == 78
    assert result.stderr.startswith("--listen: server.listen: 0.0.0.0:0 can be reached from other machines")


def test_a_failure_with_a_closed_standard_error(tmp_path: Path) -> None:
    """``2>&1 | head -1`` may close standard error first: the exit code is still that of the failure."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tracker", "config", "check", "--config", str(tmp_path / "none.toml")]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=writer, timeout=20, check=False)
    os.close(writer)
    assert done.returncode == 78


def test_a_closed_pipe_is_a_success(daemon: Daemon) -> None:
    """`tracker list | head` ends quietly."""
    daemon.on("GET /v1/tasks", (200, {"items": [TASK] * 2000, "next_cursor": None}))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        found = subprocess.run(
            [sys.executable, "-m", "tracker", "list"], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (found.returncode, found.stderr) == (0, "")


def interrupt_when(ready: Callable[[], bool], *arguments: str, **env: str) -> tuple[int, str, str]:
    """Run a command, press Ctrl-C once it is ready, and return its exit code and what it wrote."""
    # What runs in the background of a script ignores Ctrl-C, and so do its children: as do these tests, perhaps.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = subprocess.Popen(
            [sys.executable, "-m", "tracker", *arguments],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with running:
        try:
            while not ready() and running.poll() is None:
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=20)
        finally:
            running.kill()
    return running.returncode, out, err


def test_ctrl_c_while_waiting(daemon: Daemon) -> None:
    """The task continues, and the command to wait again is printed."""
    daemon.on("POST /v1/tasks", (201, TASK)).on(f"GET /v1/tasks/{ID}", (200, TASK))
    code, out, err = interrupt_when(lambda: len(daemon.requests) > 2, "submit", "suno.generate", "--wait")
    assert (code, out) == (130, "")
    assert err.endswith(f"stopped waiting; the task continues: tracker wait {ID}\n")
    daemon.requests.clear()
    code, out, err = interrupt_when(lambda: len(daemon.requests) > 2, "wait", ID)
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_sandbox_serves_until_it_is_stopped(tmp_path: Path) -> None:
    """It prints its URL and how to use it, and exits 0."""
    port = find_free_port()

    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    code, out, err = interrupt_when(is_up, "sandbox", "--listen", f"127.0.0.1:{port}", "--create-policy", "0.5")
    assert code == 0, err
    assert f"TRACKER_ACCOUNTS__DEFAULT__BASE_URL=http://127.0.0.1:{port} " in out
    assert "ANYINT_API_KEY=" in out
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for variable in re.findall(r"^  (\w+)=", out, re.MULTILINE):
        assert f"{variable}=" in readme, "the manual steps name it too"
    assert "TRACKER_ARCHIVE__ALLOW_PRIVATE_ADDRESSES=true" in out, "otherwise its outputs would not be archived"


@pytest.mark.parametrize("named", [True, False])
def test_sandbox_plays_declared_providers(tmp_path: Path, *, named: bool) -> None:
    """Those of a directory or, by default, of the configuration; it prints the base URL of each."""
    port = find_free_port()
    (tmp_path / "providers.d").mkdir()
    text = list_shipped()["runway"].read_text(encoding="utf-8")
    (tmp_path / "providers.d" / "runway.toml").write_text(text, encoding="utf-8")
    (tmp_path / "tracker.toml").write_text("", encoding="utf-8")
    options = ("--providers", str(tmp_path / "providers.d")) if named else ()
    env = {} if named else {"TRACKER_CONFIG": str(tmp_path / "tracker.toml")}

    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    code, out, err = interrupt_when(is_up, "sandbox", "--listen", f"127.0.0.1:{port}", *options, **env)
    assert code == 0, err
    assert f'runway: base_url = "http://127.0.0.1:{port}/runway"  (runway.image-to-video, ' in out


def test_the_sandbox_explains_its_options() -> None:
    """Each rate has its own help text, and the directives of prompts are listed."""
    meanings = [field.metadata["meaning"] for field in dataclasses.fields(Chaos)]
    shown = " ".join(tracker_("sandbox", "--help").output.split())
    for text in (*meanings, *(directive.meaning for directive in DIRECTIVES), "[sandbox: callback=lost]"):
        assert text in shown


@pytest.mark.parametrize("options", [("--listen", "0.0.0.0:0"), ("--create-policy", "2"), ("--listen", "x")])
def test_sandbox_refuses_invalid_options(options: tuple[str, ...]) -> None:
    """Loopback only, rates from 0 to 1."""
    result = tracker_("sandbox", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("sandbox: ")


LATIN_1 = {"PYTHONIOENCODING": "latin-1"}
C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("env", [LATIN_1, C_LOCALE])
def test_characters_outside_the_locale_are_escaped(daemon: Daemon, env: dict[str, str]) -> None:
    """JSON and tables are valid with any encoding of the terminal."""
    task = TASK | {"user_message": "late ☂ 😀", "external_id": "☂"}
    daemon.on("GET /v1/tasks", (200, {"items": [task], "next_cursor": None}))
    daemon.on(f"GET /v1/tasks/{ID}", (200, task))
    as_json = process("list", "--json", **env)
    assert (as_json.returncode, json.loads(as_json.stdout)["items"]) == (0, [task]), as_json.stderr
    for command in (("list",), ("show", ID)):
        shown = process(*command, **env)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "☂" in shown.stdout.replace(r"\u2602", "☂")


def test_requests_are_utf_8_in_every_locale(daemon: Daemon) -> None:
    """Arguments, pipes and files arrive unchanged, in a real C locale too."""
    daemon.on("POST /v1/tasks", (201, TASK))
    request = '{"prompt": "späte ☂"}'
    typed = process("submit", "suno.generate", "-d", request, "--label", "a=ä", **C_LOCALE)
    piped = subprocess.run(
        [sys.executable, "-m", "tracker", "submit", "suno.generate", "-d", "-"],
        env={**os.environ, **C_LOCALE},
        input=request.encode(),
        capture_output=True,
        check=False,
    )
    assert (typed.returncode, piped.returncode) == (0, 0), (typed.stderr, piped.stderr)
    assert [body["request"]["prompt"] for *_, body in daemon.requests] == ["späte ☂"] * 2
    assert daemon.requests[0][3]["labels"] == {"a": "ä"}


def test_a_closed_or_full_standard_output(daemon: Daemon) -> None:
    """A closed output is a success; a full disk is one line and exit 1."""
    daemon.on("GET /v1/tasks", (200, {"items": [TASK], "next_cursor": None}))
    command = f"{shlex.quote(sys.executable)} -m tracker list"
    closed = subprocess.run(["sh", "-c", f"{command} <&- >&-"], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")
    full = subprocess.run(["sh", "-c", f"{command} > /dev/full"], capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr) == (1, "standard output, or a file: No space left on device\n")


def test_an_unexpected_system_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An uncaught OSError is one line, not a traceback."""

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret")

    monkeypatch.setattr(cli, "main", fail)
    assert run(["list"]) == 1
    assert capsys.readouterr().err == "/secret: Permission denied\n"


def test_logs_go_to_standard_error(tmp_path: Path) -> None:
    """Commands that do not configure logging log to standard error: standard output stays JSON."""
    scripts = tmp_path / "hooks.d" / "task.finished"
    scripts.mkdir(parents=True)
    (scripts / "not-executable").touch()
    hook = scripts / "publish"
    hook.write_text("#!/bin/sh\necho done\n", encoding="utf-8")
    hook.chmod(0o755)
    found = process("hooks", "test", "publish", "--json", TRACKER_HOOKS_DIR=str(scripts.parent))
    assert json.loads(found.stdout)["same_answer"], found.stdout
    assert "hook.dropin_ignored" in found.stderr


# -- paths that cannot be read ---------------------------------------------------------------------------

BEYOND = "x" * 300
"""Longer than any file system allows: the check fails even for root, unlike with missing permissions."""


@pytest.mark.parametrize(
    "arguments",
    [
        *(("serve",), ("list",), ("hooks", "list"), ("deliveries", "list"), ("show", ID), ("why", ID)),
        *(("db", "check"), ("db", "backup", "b.db"), ("db", "shell"), ("db", "export"), ("db", "prune", "--dry-run")),
    ],
)
def test_a_store_that_cannot_be_checked(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with path, reason and fix, exit 78: the path is wrong."""
    monkeypatch.setenv("TRACKER_STORE__PATH", str(tmp_path / BEYOND / "tracker.db"))
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / BEYOND}/")
    assert line.endswith(": cannot be read (File name too long); run as its owner or set store.path")


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("CONFIGURATION_DIRECTORY", BEYOND, "choose another with --config"),
        ("TRACKER_PROVIDERS_DIR", BEYOND, "set providers_dir"),
    ],
)
def test_a_configuration_that_cannot_be_checked(
    variable: str, value: str, fix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with path, reason and fix, exit 78."""
    monkeypatch.setenv(variable, f"/{value}")
    assert run(["config", "check"]) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"/{value}")
    assert line.endswith(f": cannot be read (File name too long); run as its owner or {fix}")


def test_routes_of_a_directory_that_cannot_be_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a daemon the command reads it itself: one line, exit 78."""
    monkeypatch.setenv("TRACKER_PROVIDERS_DIR", f"/{BEYOND}")
    assert run(["routes"]) == 78
    _no_daemon, line = capsys.readouterr().err.splitlines()
    assert line.endswith(": cannot be read (File name too long); run as its owner or set providers_dir")


def test_a_directory_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A providers_dir that cannot be read is an error, not an empty directory."""
    monkeypatch.setenv("TRACKER_PROVIDERS_DIR", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    result = tracker_("config", "check")
    assert result.exit_code == 78
    assert f"{tmp_path}: cannot be read (Permission denied); run as its owner or set providers_dir" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(("serve",), ("list",), ("db", "path"), ("db", "check"), ("db", "export"), ("db", "backup", "b.db")),
        *(("config", "check"), ("config", "show")),
    ],
)
def test_a_configuration_that_cannot_be_read(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad configuration: exit 78, not a usage error."""
    file = tmp_path / "tracker.toml"
    file.touch()
    real_access, real_read = os.access, Path.read_text
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(file) and real_access(path, mode))

    def read(self: Path, encoding: str | None = None) -> str:
        if self == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real_read(self, encoding)

    monkeypatch.setattr(Path, "read_text", read)
    assert run([*arguments, "--config", str(file)]) == 78
    said = f"{file}: file: cannot be read (Permission denied); choose another with --config\n"
    assert capsys.readouterr().err == said


def test_run_returns_the_code_of_click_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors are single lines, also without click's own exit."""
    assert run(["list", "--limit", "0"]) == 2
    assert "Usage:" in capsys.readouterr().err


def test_commands_without_hooks_do_not_read_them(tmp_path: Path) -> None:
    """An error in a hook stops the daemon, but not a command that lists tasks."""
    file = tmp_path / "tracker.toml"
    file.write_text(f'[store]\npath = "{tmp_path}/none.db"\n[server]\nlisten = "127.0.0.1:9"\n[[hooks]]\nname = "h"\n')
    listed = CliRunner().invoke(cli, ["list", "--config", str(file)])
    assert (listed.exit_code, "no daemon answers" in listed.stderr) == (69, True)
    checked = CliRunner().invoke(cli, ["config", "check", "--config", str(file)])
    assert (checked.exit_code, "hooks[h]" in checked.stderr) == (78, True)
