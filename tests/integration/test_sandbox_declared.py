"""Providers that users declare in TOML files, played by the sandbox: creates, polls, callbacks, faults."""

import re
import textwrap
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kits.sandbox import Body, Client, Reply, pass_time, receiving, running
from tests.unit.test_declared import ACME, SHIPPED
from tracker.providers.declared.expressions import search
from tracker.sandbox import DEFAULT_KEY, load_providers

README = (Path(__file__).parents[2] / "config" / "README.md").read_text(encoding="utf-8")
LUMEN = textwrap.dedent(re.findall(r"```toml\n(.*?)\n *```", README.partition("## Your own provider")[2], re.DOTALL)[0])
FLAGS = """
name = "flags"
source = "https://docs.example.com/"
account = "default"

[routes.film]
create = "POST /v1/films"
query = "GET /v1/films?id={task_id}"

[task]
id = "data.taskId"
status = "done && (error && 'failed' || 'ok') || 'running'"
error_code = "error.code"

[statuses]
running = "RUNNING"
ok = "SUCCEEDED"
failed = "FAILED"

[[outputs]]
url = "from_json(data.resultJson).resultUrls"
kind = "video"

[[outputs]]
url = "files[?role == 'preview'].href | [0]"
kind = "image"
"""
FILES = {"replicate": SHIPPED["replicate"], "runway": SHIPPED["runway"], "lumen": LUMEN, "acme": ACME, "flags": FLAGS}
every_file = pytest.mark.parametrize("name", FILES)


@dataclass
class Played:
    """One declared provider as a client sees it."""

    client: Client
    declared: Body
    route: Body
    prefix: str

    def find(self, key: str, reply: Reply) -> Any:  # noqa: ANN401 - JSON of any shape
        """What the tracker reads at an expression of ``[task]``."""
        return search(self.declared["task"].get(key), reply.body, key)

    def find_outputs(self, reply: Reply) -> list[str]:
        """What the tracker reads as outputs."""
        found = (
            search(output.get("url") or output["text"], reply.body, "output") for output in self.declared["outputs"]
        )
        return [text for one in found for text in (one if isinstance(one, list) else [one]) if text]

    def meaning(self, reply: Reply) -> str | None:
        """The task status that the upstream's status means."""
        return {word.casefold(): status for word, status in self.declared["statuses"].items()}.get(
            str(self.find("status", reply)).casefold()
        )

    async def create(self, script: str, **more: object) -> Reply:
        """Create a job with these directives, in a field other than the prompt."""
        body: Body = {}
        for field in self.route.get("required", []):
            _set(body, field, "given")
        _set(body, "note", f"[sandbox: {script}]")
        for field, value in more.items():
            _set(body, field.replace("__", "."), value)
        _, _, path = self.route["create"].partition(" ")
        return await self.client.post(self.prefix + path.replace("{model}", "m-1"), body, headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        """Return the header of the key that the file names."""
        bare = self.declared.get("auth") == "x-api-key"
        return {"Authorization": "", "x-api-key": DEFAULT_KEY} if bare else {}

    async def query(self, job_id: str) -> Reply:
        """Query a job with the call that the file names."""
        method, _, path = self.route["query"].partition(" ")
        options: Body = {"params": _put(self.route.get("query_parameters", {}), job_id)}
        if "query_body" in self.route:
            options["json"] = _put(self.route["query_body"], job_id)
        return await self.client.call(method, self.prefix + _put(path, job_id), headers=self.headers, **options)


def _set(body: Body, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        body = body.setdefault(key, {})
    body[last] = value


def _put(value: Any, job_id: str) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(value, str):
        return value.replace("{task_id}", job_id)
    if isinstance(value, dict):
        return {key: _put(inner, job_id) for key, inner in value.items()}
    return [_put(inner, job_id) for inner in value] if isinstance(value, list) else value


@asynccontextmanager
async def playing(directory: Path, name: str, **options: object) -> AsyncIterator[Played]:
    """A sandbox that plays one of the files."""
    (directory / f"{name}.toml").write_text(FILES[name], encoding="utf-8")
    (provider,) = load_providers(directory)
    declared = tomllib.loads(FILES[name])
    async with running(providers=[provider], **options) as client:
        yield Played(client, declared, next(iter(declared["routes"].values())), provider.prefix)


@every_file
async def test_a_job_goes_from_its_first_status_to_its_outputs(tmp_path: Path, name: str) -> None:
    """Every answer has its values at the paths of the file; outputs can be downloaded."""
    async with playing(tmp_path, name) as played:
        created = await played.create("duration=100")
        job_id = played.find("id", created)
        listed = set(played.declared["statuses"].values())
        seen = [played.meaning(created)]
        assert played.find_outputs(created) == []
        shown = created
        for seconds in (50, 60):
            pass_time(played.client.sandbox, job_id, seconds)
            shown = await played.query(job_id)
            assert played.find("id", shown) == job_id
            seen.append(played.meaning(shown))
        assert seen == ["PENDING" if "PENDING" in listed else "RUNNING", "RUNNING", "SUCCEEDED"]
        outputs = played.find_outputs(shown)
        assert len(outputs) == len(played.declared["outputs"])
        urls = [output for output in outputs if output.startswith("http")]
        assert [(await played.client.get(url)).status for url in urls] == [200] * len(urls)
        if "progress" in played.declared["task"]:
            assert played.find("progress", shown) == played.declared["task"].get("progress_full", 100)


@every_file
@pytest.mark.parametrize("fault", ["policy", "error", "invalid", "silent", "canceled"])
async def test_a_job_fails_with_a_code_of_the_file(tmp_path: Path, name: str, fault: str) -> None:
    """A failure has a status that means FAILED, and the code that the file gives its reason."""
    async with playing(tmp_path, name) as played:
        created = await played.create(f"fail={fault}; duration=0")
        failed = await played.query(played.find("id", created))
        assert (played.meaning(failed), played.find_outputs(failed)) == ("FAILED", [])
        code = played.find("error_code", failed)
        if fault == "policy" and "error_code" in played.declared["task"]:
            known = [
                one.rstrip("*") for one, reason in played.declared.get("reasons", {}).items() if "policy" in reason
            ]
            assert code.startswith(tuple(known or ["sandbox_"]))
        if fault in {"silent", "canceled"}:
            assert code is None


@every_file
async def test_faults_and_mistakes_are_played(tmp_path: Path, name: str) -> None:
    """A rate limit holds once; wrong keys, missing fields, unknown ids, and bad directives are refused."""
    async with playing(tmp_path, name) as played:
        assert [(await played.create("create=throttled")).status for _ in range(2)] == [429, 200]
        assert (await played.create("no-such-directive")).status == 400
        for field in played.route.get("required", []):
            assert (await played.create("calm", **{field.replace(".", "__"): None})).status == 400
        assert (await played.query("nothing")).status == 404
        job_id = played.find("id", await played.create("poll=flaky; duration=0"))
        assert [(await played.query(job_id)).status for _ in range(2)] == [502, 200]
        played.declared["auth"] = "bearer" if played.declared.get("auth") == "x-api-key" else "x-api-key"
        assert (await played.create("calm")).status == 401


@pytest.mark.parametrize("name", ["lumen", "replicate"])
@pytest.mark.parametrize(("script", "count"), [("calm", 1), ("callback=duplicate", 2), ("fail=policy", 1)])
async def test_the_end_is_called_back(tmp_path: Path, name: str, script: str, count: int) -> None:
    """A callback has the id and the task at the paths of the file, and equals the answer to a poll."""
    async with receiving() as receiver, playing(tmp_path, name) as played:
        created = await played.create(f"{script}; duration=0", **{played.declared["callback"]["field"]: receiver.url})
        job_id = played.find("id", created)
        bodies = await receiver.wait(count)
        assert len(bodies) == count
        assert {search(played.declared["callback"]["ids"][0], body, "ids") for body in bodies} == {job_id}
        assert bodies[-1] == (await played.query(job_id)).body


async def test_a_callback_is_signed_if_the_file_says_so(tmp_path: Path) -> None:
    """With a secret of its provider, a callback carries the headers of its scheme; without one, none."""
    async with receiving() as receiver:
        for secrets in ({}, {"replicate": "whsec_c2VjcmV0LW9mLWEtdGVzdA=="}):
            async with playing(tmp_path, "replicate", provider_secrets=secrets) as played:
                await played.create("duration=0", webhook=receiver.url)
                await receiver.wait(len(secrets) + 1)
    assert ["webhook-signature" in headers for headers in receiver.headers] == [False, True]


async def test_a_provider_has_an_address_of_its_own(tmp_path: Path) -> None:
    """Paths start with the provider's name, so that two providers cannot clash; those of the default account do not."""
    (tmp_path / "twin.toml").write_text(LUMEN.replace('name = "lumen"', 'name = "twin"'), encoding="utf-8")
    (tmp_path / "lumen.toml").write_text(LUMEN, encoding="utf-8")
    (tmp_path / "flags.toml").write_text(FLAGS, encoding="utf-8")
    providers = load_providers(tmp_path)
    assert [provider.prefix for provider in providers] == ["", "/lumen", "/twin"]
    async with running(providers=providers) as client:
        for prefix in ("/lumen", "/twin"):
            assert (await client.post(f"{prefix}/v2/renders", {"engine": "e", "scene": {"text": "t"}})).status == 200
        assert (await client.post("/v1/films", {})).status == 200
        assert [entry["route"] for entry in client.creates()] == ["lumen.video", "twin.video", "flags.film"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('id = "render.id"', "", "id is missing"),
        ('status = "render.state"', 'status = "length(render.states)"', "task.status: the sandbox finds no answer"),
        ('status = "render.state"', 'status = "render..state"', "not JMESPath"),
        ('name = "lumen"', "name = lumen", "lumen.toml"),
    ],
)
def test_a_file_that_cannot_be_played_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    """The error names the file and what is wrong with it."""
    assert old in LUMEN
    (tmp_path / "lumen.toml").write_text(LUMEN.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as raised:
        load_providers(tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "lumen.toml"))


SHARDS = """
name = "shards"
source = "https://docs.example.com/"
auth = "Authorization: Key {key}"

[routes.film]
create = "POST /films/{+request.app}"
query = "GET /jobs/{answer.shard.key}"

[result]
query = "GET /results/{answer.ref}"
failed_http = [422]

[task]
id = "id"
status = "state"
error_code = "error.code || result.code"
ok_codes = ["0"]

[statuses]
going = "RUNNING"
done = "SUCCEEDED"

[reasons]
77 = "quota_exhausted"

[[outputs]]
url = "result.url"
kind = "video"
"""


@pytest.mark.parametrize("fault", [None, "error"])
async def test_answers_have_the_fields_that_later_calls_name(tmp_path: Path, fault: str | None) -> None:
    """The status call has a field of the create's answer, the second call one of the status."""
    (tmp_path / "shards.toml").write_text(SHARDS, encoding="utf-8")
    headers = {"Authorization": f"Key {DEFAULT_KEY}"}
    async with running(providers=load_providers(tmp_path)) as client:
        script = "duration=0" + (f"; fail={fault}" if fault else "")
        body = {"app": "a/b", "prompt": f"[sandbox: {script}]"}
        assert (await client.post("/shards/films/a/b", body)).status == 401, "the key is in another header"
        refused = await client.post("/shards/films/a/b", {"prompt": "[sandbox: create=quota]"}, headers=headers)
        assert (refused.status, refused.body["error"]["code"]) == (200, "77"), "ok_codes: errors come with HTTP 200"
        created = (await client.post("/shards/films/a/b", body, headers=headers)).body
        state = (await client.get(f"/shards/jobs/{created['shard']['key']}", headers=headers)).body
        assert (state["state"], "result" in state) == ("done", False)
        result = await client.get(f"/shards/results/{state['ref']}", headers=headers)
        assert (result.status, "url" in result.body) == ((200, True) if fault is None else (422, False))
        assert (await client.get("/shards/results/nothing", headers=headers)).status == 404


def test_a_call_without_an_id_cannot_be_played(tmp_path: Path) -> None:
    """The sandbox would not know which job is meant."""
    (tmp_path / "shards.toml").write_text(SHARDS.replace("{answer.ref}", "{request.app}"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"result.query: the sandbox needs \{task_id\} or \{answer.FIELD\} there"):
        load_providers(tmp_path)
