"""A task as one document: complete, without secrets, and the same end when it is replayed."""

import asyncio
import json
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from tests.kits.clock import after
from tests.kits.factories import make_answer, make_output
from tests.kits.server import ServerWorld, problem_of
from tracker.cli.main import cli
from tracker.domain.exports import FORMAT, export_json
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Submission
from tracker.domain.pruning import Cutoffs
from tracker.domain.records import Json
from tracker.domain.task import ExternalId, Status, SubmitState, TaskId
from tracker.domain.url_secrets import UrlSecrets
from tracker.logs import MASK
from tracker.store.values import Announcement, AttemptResult

SECRETS = [
    "sk-known-secret",  # the redactor of the world knows it
    "sk-other-0123456789abcdef",
    "callback-token-0123456789",
    "SIGNATURE0123456789",
    "SIGNATURE-in-json-0123",
    "s3cr3t-password",
    "idem-key-0123456789",
]
KEY, OTHER, TOKEN, SIGNATURE, INNER, PASSWORD, IDEMPOTENCY = SECRETS
SIGNED = f"https://cdn.example/song.mp3?item=2&Expires=1763671320&Signature={SIGNATURE}&note=7"
REQUEST = {
    "prompt": f"a kite; my key is {OTHER}",
    "callBackUrl": f"https://tracker.example/callbacks/suno/{TOKEN}",
    "uploadUrl": f"https://me:{PASSWORD}@files.example/in.mp3#{SIGNATURE}",
    "apiKey": KEY,
}
PAYLOAD = {
    "audio_url": SIGNED,
    "param": json.dumps({"url": f"https://cdn.example/a?x=1&sig={INNER}"}).replace("&", "\\u0026").replace("/", "\\/"),
    "authorization": f"Bearer {KEY}",
    "echo": f"key {KEY}",
}


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands use the store of the world, and find no daemon."""
    monkeypatch.setenv("TRACKER_STORE__PATH", str(tmp_path / "tracker.db"))
    monkeypatch.setenv("TRACKER_SERVER__LISTEN", f"unix:{tmp_path / 'none'}")
    monkeypatch.setenv("TRACKER_CONFIG", str(tmp_path / "tracker.toml"))
    (tmp_path / "tracker.toml").write_text("")


async def run(*arguments: str, text: bytes | None = None) -> Result:
    """Run a command beside the event loop."""
    result = await asyncio.to_thread(CliRunner().invoke, cli, list(arguments), input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


async def make_task(world: ServerWorld) -> TaskId:
    """A song that was submitted, called back twice, once without trust, and ended; with a delivery that failed."""
    new = world.new_task(
        request=json.dumps(REQUEST), submit_state=SubmitState.QUEUED, labels={"user": "42"}, idempotency_key=IDEMPOTENCY
    )
    task_id = (await world.store.create_task(new)).record.task.id
    await world.store.mark_sending(task_id, 60.0)
    answer = make_answer(Submission.ACCEPTED, task_id=task_id, at=1.0, external_id=ExternalId("up-1"))
    await world.apply(answer)
    outputs = (make_output(url=SIGNED), make_output(url=SIGNED.replace("item=2", "item=3")))
    payload = orjson.dumps(PAYLOAD).decode()
    for trusted, at in ((False, 2.0), (False, 3.0), (True, 4.0)):
        await world.call(task_id, Status.SUCCEEDED, at=at, outputs=outputs, payload=payload, is_trusted=trusted)

    def one_hook(_announcement: Announcement) -> list[str]:
        return ["publish"]

    await world.store.fan_out(one_hook, 100)
    (job,) = await world.store.claim_deliveries("publish", 1, 60.0)
    failure = AttemptResult(DeliveryStatus.DEAD, error="exit 1", output=f"printed {KEY}", started_at=after(5.0))
    await world.store.record_attempt(job.id, failure, job.attempt)
    return task_id


async def export(world: ServerWorld, task_id: str) -> Json:
    """The document from the daemon."""
    async with world.client.get(f"/v1/tasks/{task_id}/export") as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_a_document_is_complete_and_has_no_secrets(world: ServerWorld, tmp_path: Path) -> None:
    """Task, request, events with readings and payloads, deliveries with attempts, versions; no planted secret."""
    task_id = await make_task(world)
    document = await export(world, task_id)
    text = json.dumps(document)
    assert [secret for secret in SECRETS if secret in text] == []
    assert (document["format"], document["route"]["provider"]) == (FORMAT, "suno")
    assert (document["task"]["id"], document["task"]["labels"]) == (task_id, {"user": "42"})
    assert document["task"]["request"]["prompt"].startswith("a kite; my key is [redacted]")
    assert document["task"]["request"]["uploadUrl"].startswith("https://[redacted-")
    url = document["task"]["outputs"][0]["url"]
    assert url.startswith("https://cdn.example/song.mp3?item=2&Expires=[redacted-"), "what does not sign stays"
    assert document["events"][-1]["payload"]["audio_url"] == url, "the same secret has the same mask"
    assert [event["is_trusted"] for event in document["events"]] == [True, False, False, True]
    assert [event["is_judged"] for event in document["events"]] == [True, True, False, True]
    assert [one["attempt_history"][0]["error"] for one in document["deliveries"] if one["attempt_history"]] == [
        "exit 1"
    ]
    assert world.edit("PRAGMA user_version") == [(document["schema"],)]
    # without a daemon, the file has the same
    offline = await run("export", task_id, "-o", str(tmp_path / "task.json"))
    assert offline.exit_code == 0, offline.output
    written = json.loads((tmp_path / "task.json").read_text())
    changing = {"exported_at", "tracker"}
    assert {k: v for k, v in written.items() if k not in changing} == {
        k: v for k, v in document.items() if k not in changing
    }
    again = await run("export", task_id, "-o", str(tmp_path / "task.json"))
    assert (again.exit_code, "exists; choose another path, or overwrite it with --force" in again.stderr) == (1, True)


async def test_a_replay_shows_the_same_end(world: ServerWorld) -> None:
    """Each event does what it did, although the secrets are masked."""
    document = orjson.dumps(await export(world, await make_task(world)))
    result = await run("replay", "-", text=document)
    assert result.exit_code == 0, result.output
    header, *lines, end = result.stdout.splitlines()
    assert header.split() == ["SEQ", "SOURCE", "OUTCOME", "STATUS", "REPLAY", "DETAIL"]
    assert [line.split()[1] for line in lines] == ["submit", "callback", "callback", "callback"]
    assert all(" same " in line for line in lines)
    assert end == "4 events, the same end: SUCCEEDED"
    shown = json.loads((await run("replay", "--json", "-", text=document)).stdout)
    assert (shown["same"], shown["end"], len(shown["events"])) == (True, [], 4)


async def test_a_payload_that_cannot_be_masked_costs_no_more_than_itself(world: ServerWorld) -> None:
    """The redactor replaces what takes too much work; the rest is complete, and can be replayed."""
    task_id = await make_task(world)
    export = await world.store.read_export(task_id)

    def redact(value: Json) -> Json:
        return MASK if isinstance(value, dict) and "audio_url" in value else value

    document = export_json(export, route=None, tracker="1", at=after(0), redact=redact)
    assert [event["payload"] for event in document["events"]] == [None, MASK, MASK, MASK]
    replayed = await run("replay", "-", text=orjson.dumps(document))
    assert (replayed.exit_code, replayed.stdout.splitlines()[-1]) == (0, "4 events, the same end: SUCCEEDED")


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (
            lambda document: document["events"][3].update({"is_trusted": False}),
            "event 4 differs: it was applied (PENDING to SUCCEEDED), and is ignored (PENDING to PENDING) now",
        ),
        (
            lambda document: document["events"][1].update({"outcome": "conflict"}),
            "event 2 differs: it was conflict (PENDING to PENDING), and is ignored (PENDING to PENDING) now",
        ),
        (
            lambda document: document["state"].update({"status": "FAILED", "reason": "canceled"}),
            "the end differs: status was FAILED, and is SUCCEEDED now",
        ),
        (
            lambda document: document["state"]["outputs"].pop(),
            "the end differs: outputs was [('audio', 'https://cdn.example/song.mp3?item=2&note=7')], and is [",
        ),
    ],
    ids=["untrusted", "another outcome", "another end", "an output less"],
)
async def test_a_difference_is_named(world: ServerWorld, edit: object, line: str) -> None:
    """Exit 1 and the first difference."""
    document = await export(world, await make_task(world))
    assert callable(edit)
    edit(document)
    result = await run("replay", "-", text=orjson.dumps(document))
    assert (result.exit_code, result.stderr.startswith(line)) == (1, True), result.stderr
    assert json.loads((await run("replay", "--json", "-", text=orjson.dumps(document))).stdout)["same"] is False


async def test_a_history_without_its_beginning_is_not_replayed(world: ServerWorld) -> None:
    """Retention has removed it."""
    task_id = await make_task(world)
    await world.store.fail_deliveries("publish", "the test ends them")
    pruned, _ = await world.store.prune([task_id], Cutoffs(events=after(1e9)))
    assert pruned.events == 4
    result = await run("replay", "-", text=orjson.dumps(await export(world, task_id)))
    assert result.exit_code == 1
    assert result.stderr == "-: retention has removed the beginning of its history; it cannot be replayed\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "standard input: is not JSON; write one with: tracker export ID -o FILE"),
        ("[]", "standard input: is not the export of a task; write one with: tracker export ID -o FILE"),
        ('{"format": "x"}', "standard input: is not the export of a task; write one with: tracker export ID -o FILE"),
        ("[" * 100_000, "standard input: is not JSON; write one with: tracker export ID -o FILE"),
        (
            '{"format": "tracker-task-9"}',
            f"standard input: has the format tracker-task-9, and this program reads {FORMAT}; use the version that",
        ),
        (f'{{"format": "{FORMAT}"}}', "standard input: is damaged (Object missing required field `task`); export"),
    ],
)
async def test_a_bad_file_is_one_line(text: str, line: str) -> None:
    """Not JSON, foreign, newer or damaged."""
    result = await run("replay", "-", text=text.encode())
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(line), result.stderr


async def test_a_missing_file_or_task(world: ServerWorld, tmp_path: Path) -> None:
    """One line each, from the command and from the API."""
    result = await run("replay", str(tmp_path / "absent.json"))
    assert (result.exit_code, result.stderr) == (
        2,
        f"{tmp_path / 'absent.json'}: cannot be read (No such file or directory)\n",
    )
    result = await run("export", "01JD0000000000000000000000")
    assert (result.exit_code, "o task has the id 01JD0000000000000000000000" in result.stderr) == (1, True)
    async with world.client.get("/v1/tasks/nope/export") as response:
        assert (await problem_of(response, 404))["type"] == "urn:tracker:problem:unknown-task"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://a.example/x?item=2", "https://a.example/x?item=2"),
        ("https://a.example/x?t=2&page=3", "https://a.example/x?t=[redacted-1]&page=3"),
        ("https://a.example/x?k=0123456789", "https://a.example/x?k=[redacted-1]"),
        ("https://a.example/x?0123456789abcdef", "https://a.example/x?[redacted-1]"),
        ("https://a.example/x?a=0123456789&amp;b=0123456789", "https://a.example/x?a=[redacted-1]&amp;b=[redacted-1]"),
        ("https://u:p@a.example/x", "https://[redacted-1]@a.example/x"),
        (
            "see https://a.example/x?sig=y, or s3://b/c?token=z.",
            "see https://a.example/x?sig=[redacted-1] or s3://b/c?token=[redacted-2]",
        ),
        (
            '{"u":"https:\\/\\/a.example\\/x?a=1\\u0026sig=q"}',
            '{"u":"https:\\/\\/a.example\\/x?a=1\\u0026sig=[redacted-1]"}',
        ),
        ("https://a.example/x?url=https%3A%2F%2Fb%3Fsig%3Dq", "https://a.example/x?url=[redacted-1]"),
        ("10:30?token=x", "10:30?token=x"),
        ("https://a.example/x?sig=", "https://a.example/x?sig="),
        ("1https://a.example/x?sig=y", "1https://a.example/x?sig=[redacted-1]"),
        # hours with a search that begins anew at each letter or backslash
        ("a-" * 500_000 + ": http://b/?sig=y", "a-" * 500_000 + ": http://b/?sig=[redacted-1]"),
        ("http://b/" + "\\" * 1_000_000 + "u0041?sig=y", "http://b/" + "\\" * 1_000_000 + "u0041?sig=[redacted-1]"),
    ],
    ids=range(14),
)
def test_what_grants_access_in_urls_is_masked(text: str, masked: str) -> None:
    """Values that sign or are long, user names, fragments; also in JSON in a text. Short ones stay."""
    assert UrlSecrets().mask({"a": [text]}) == {"a": [masked]}
