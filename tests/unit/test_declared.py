"""Providers from TOML files: what they do, and the line that each mistake gets."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.kits.clock import RECORDED_AT
from tracker.daemon.provider_files import list_shipped
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import ExternalId, Reason, Status
from tracker.domain.upstream_http import AuthStyle, WireReply
from tracker.errors import ConfigError, PayloadInvalid
from tracker.providers.declared import load_declared
from tracker.providers.declared.load import find_lines, line_of
from tracker.providers.provider import Provider
from tracker.providers.registry import Registry
from tracker.providers.route import Route

SHIPPED = {name: file.read_text(encoding="utf-8") for name, file in list_shipped().items()}

ACME = """
name = "acme"
source = "https://docs.example.com/"
auth = "x-api-key"

[routes.video]
create = "POST /v1/{model}/videos"
query = "POST /v1/lookup"
query_parameters = { q = "{task_id}" }
query_body = { ids = ["{task_id}"], deep = { n = 1 } }
asset = "film"
required = ["input.prompt"]
poll_interval_s = 7
headers = { X-Version = "2" }

[task]
id = "job.id"
status = "job.state"
progress = "job.done"
progress_full = 20
error_code = "job.error.code"
error_message = "job.error.text"

[statuses]
"0" = "PENDING"
Working = "RUNNING"
done = "SUCCEEDED"
broken = "FAILED"

[reasons]
"SAFE.*" = "policy_rejected"
"SAFE.RATE" = "rate_limited"
"GPU" = "generation_failed"

[[outputs]]
url = "job.files[].url"
kind = "video"
mime = "video/webm"

[[outputs]]
text = "job.words"
kind = "text"

[callback]
field = "hooks.url"
required = true
ids = ["missing", "about"]
signature = "standard-webhooks"
"""


def load(text: str = ACME) -> tuple[Route, Provider]:
    """The provider of one file, through the registry, and its first route."""
    (provider,) = load_declared({"acme.toml": text})
    registry = Registry([provider])
    return provider.routes[0], registry.provider_of(provider.routes[0])


def reply(body: object, status: int = 200) -> WireReply:
    """An HTTP answer with a JSON body."""
    return WireReply(status, {}, orjson.dumps(body), RECORDED_AT)


def poll(job: dict[str, Any], text: str = ACME) -> Reading:
    """Read a poll about a job of acme."""
    route, provider = load(text)
    return provider.read_poll(route, reply({"job": {"id": "j1", **job}}))


def mistakes(text: str, file: str = "acme.toml") -> list[str]:
    """The lines that a file is refused with."""
    with pytest.raises(ConfigError) as caught:
        load_declared({file: text})
    return caught.value.problems


def test_a_declared_route_is_a_route() -> None:
    """Everything that a route says comes from the file."""
    route, _ = load()
    assert (route.name, route.provider, route.asset, route.poll_interval_s) == ("acme.video", "acme", "film", 7)
    assert (route.callback, route.callback_field, route.callback_required) == (True, "hooks.url", True)
    assert (route.signature, route.source, route.mode) == ("standard-webhooks", "https://docs.example.com/", "task")


def test_requests_are_built_as_declared() -> None:
    """The model goes into the path, the callback URL into its field, the id wherever it is named."""
    route, provider = load()
    request = {"model": "m/1", "input": {"prompt": "a sea"}}
    assert provider.check_request(route, request) == []
    create = provider.create_request(route, request, "https://tracker.example.com/cb")
    assert (create.method, create.path, create.auth) == ("POST", "/v1/m%2F1/videos", AuthStyle.X_API_KEY)
    assert create.headers == (("X-Version", "2"),)
    assert orjson.loads(create.body or b"") == {
        "input": {"prompt": "a sea"},
        "hooks": {"url": "https://tracker.example.com/cb"},
    }
    query = provider.poll_request(route, ExternalId("a/b"))
    assert (query.method, query.path, query.query) == ("POST", "/v1/lookup", (("q", "a/b"),))
    assert orjson.loads(query.body or b"") == {"ids": ["a/b"], "deep": {"n": 1}}
    assert (query.auth, query.headers) == (AuthStyle.X_API_KEY, (("X-Version", "2"),))


@pytest.mark.parametrize("request_", [{}, {"input": {"prompt": ""}, "model": 7}, {"input": 1, "model": " "}])
def test_required_fields(request_: dict[str, Any]) -> None:
    """A model that the path needs and declared fields are missed before anything is sent."""
    route, provider = load()
    assert [problem.loc for problem in provider.check_request(route, request_)] == [
        ("request", "model"),
        ("request", "input", "prompt"),
    ]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (0, Status.PENDING),
        ("0", Status.PENDING),
        ("WORKING", Status.RUNNING),
        ("done", Status.SUCCEEDED),
        ("Broken", Status.FAILED),
    ],
)
def test_statuses(state: object, status: Status) -> None:
    """A status is looked up in any case, also when it is a number."""
    assert poll({"state": state}).status is status


def test_progress_and_outputs() -> None:
    """Progress counts to what is declared as all; outputs are every URL and the joined text, in their order."""
    assert poll({"state": "working", "done": 5}).progress == 25
    assert poll({"state": "working", "done": "much"}).progress is None
    files = [{"url": "https://cdn.example.com/1"}, {"url": ""}, {"url": ["https://cdn.example.com/2.mp4"]}]
    reading = poll({"state": "done", "files": files, "words": ["a ", "sea"]})
    assert [(output.kind, output.url, output.mime, output.text) for output in reading.outputs] == [
        ("video", "https://cdn.example.com/1", "video/webm", None),
        ("video", "https://cdn.example.com/2.mp4", "video/mp4", None),
        ("text", None, "text/plain", "a sea"),
    ]


@pytest.mark.parametrize(
    ("code", "reason", "retryable"),
    [
        ("SAFE.INPUT", Reason.POLICY_REJECTED, False),
        ("safe.rate", Reason.RATE_LIMITED, True),
        ("GPU", Reason.GENERATION_FAILED, True),
        ("ELSE", Reason.GENERATION_FAILED, None),
    ],
)
def test_failures_have_declared_reasons(code: str, reason: Reason, retryable: bool | None) -> None:
    """The longest rule that matches a code gives the reason; the upstream's message is stored."""
    reading = poll({"state": "broken", "error": {"code": code, "text": "words"}})
    assert (reading.status, reading.reason, reading.retryable) == (Status.FAILED, reason, retryable)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == (code, "words")


def test_undeclared_values_are_trouble() -> None:
    """An unknown status, no status, and types that the paths do not fit are trouble, never an end."""
    assert poll({"state": "new"}).trouble is Trouble.UNKNOWN_STATUS
    assert poll({}).trouble is Trouble.UNREADABLE
    assert poll({"state": "done"}, ACME.replace('"job.words"', '"length(job.state.x)"')).trouble is Trouble.UNREADABLE
    route, provider = load()
    refused = provider.read_poll(route, reply({"error": {"code": "rate_limit_exceeded"}}, 429))
    assert refused.trouble is Trouble.THROTTLED


def test_creates_are_read() -> None:
    """An id is an acceptance, with or without a status; what is refused in a usual shape is refused."""
    route, provider = load()
    accepted = provider.read_create(route, reply({"job": {"id": 7}}, 201))
    assert (accepted.submission, accepted.status, accepted.external_id) == (Submission.ACCEPTED, Status.PENDING, "7")
    ended = provider.read_create(route, reply({"job": {"id": "j", "state": "broken"}}))
    assert (ended.submission, ended.status) == (Submission.ACCEPTED, Status.FAILED)
    refused = provider.read_create(route, reply({"detail": "no credit"}, 402))
    assert (refused.submission, refused.reason) == (Submission.REFUSED, Reason.QUOTA_EXHAUSTED)
    assert refused.error is not None
    assert refused.error.message == "no credit"
    assert provider.read_create(route, reply({"job": {}})).submission is Submission.AMBIGUOUS


def test_callbacks() -> None:
    """Without a declared task a callback only names its task; with one it is read like a poll."""
    route, provider = load()
    assert provider.callback_ids({"about": "j1"}) == ("j1",)
    update = provider.read_callback(route, {"about": "j1", "job": {"state": "done"}})
    assert (update.status, update.external_id) == (None, "j1")
    nameless: list[object] = [[], {}, {"about": []}]
    for body in nameless:
        with pytest.raises(PayloadInvalid):
            provider.callback_ids(body)
    route, provider = load(ACME.replace('"missing", "about"', '"data.job.id"') + 'task = "data"\n')
    reported = provider.read_callback(route, {"data": {"job": {"id": "j1", "state": "working"}}})
    assert (reported.status, reported.external_id) == (Status.RUNNING, "j1")
    with pytest.raises(PayloadInvalid):
        provider.read_callback(route, {"data": 7})
    route, provider = load(ACME.partition("[callback]")[0])
    assert not route.callback
    with pytest.raises(PayloadInvalid):
        provider.read_callback(route, {})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "acme"', 'nmae = "acme"', "acme.toml:2: nmae: unknown key; did you mean name?"),
        (
            'name = "acme"',
            "",
            "acme.toml:1: name: is missing; add it, see `tracker providers init fal -` for an example",
        ),
        ('name = "acme"', 'name = "Acme!"', "acme.toml:2: name: a name is lower-case letters"),
        ('source = "https', 'source = "ftp', "acme.toml:3: source: is not a URL; write https://…"),
        (
            'auth = "x-api-key"',
            'auth = "basic"',
            'acme.toml:4: auth: is not a known form of authentication; write "bearer", "x-api',
        ),
        ("[routes.video]", "[routes.Video]", "acme.toml:6: routes.Video: a name is lower-case"),
        ("POST /v1/{model}", "GET /v1/{model}", "acme.toml:7: routes.video.create: a create is a method and a path; w"),
        ("POST /v1/lookup", "PUT /v1", 'acme.toml:8: routes.video.query: a query is a method and a path; write "GET'),
        ("POST /v1/lookup", "GET /v1/x", "acme.toml:10: routes.video.query_body: a GET has no body; write query as P"),
        ('required = ["input.prompt"]', 'required = "x"', "acme.toml:12: routes.video.required: should be a list; wr"),
        ("poll_interval_s = 7", "poll_interval_s = 0", "acme.toml:13: routes.video.poll_interval_s: should be greater"),
        ("poll_interval_s = 7", 'poll_interval_s = "7"', "acme.toml:13: routes.video.poll_interval_s: should be a va"),
        ("X-Version", "Authorization", "acme.toml:14: routes.video.headers: Authorization is not allowed; the acc"),
        ('id = "job.id"', 'id = "job..id"', "acme.toml:17: task.id: this is not JMESPath (at character 5: "),
        ('id = "job.id"', 'id = ""', "acme.toml:17: task.id: the JMESPath is empty; write the path of the value"),
        ('id = "job.id"', 'id = "job.\'x"', "acme.toml:17: task.id: this is not JMESPath (at character 5: Unclosed"),
        ('id = "job.id"', 'id = "first(job)"', "acme.toml:17: task.id: JMESPath has no function first(); known are"),
        ('id = "job.id"', 'id = "join(job)"', "acme.toml:17: task.id: join() takes 2 arguments, not 1; see"),
        ('status = "job.state"', "", "acme.toml:16: task.status: is missing; add it"),
        ('done = "SUCCEEDED"', "", "acme.toml:24: statuses: no status means SUCCEEDED"),
        ('broken = "FAILED"', 'broken = "DEAD"', "acme.toml:28: statuses.broken: should be 'PENDING', 'RUNNING'"),
        ('broken = "FAILED"', 'broken = "FAILED"\nDONE = "FAILED"', "acme.toml:29: statuses.DONE: is listed twice"),
        ('"GPU" = "generation_failed"', '"GPU" = "bad"', "acme.toml:33: reasons.GPU: should be 'invalid_request'"),
        ('text = "job.words"', "", "acme.toml:40: outputs[2]: an output needs url or text; set one of t"),
        ('text = "job.words"', 'txt = "job.words"', "acme.toml:41: outputs[2].txt: unknown key; did you mean text?"),
        ('"missing", "about"', "", "acme.toml:47: callback.ids: is empty; give at least one entry"),
        ('field = "hooks.url"', "", "acme.toml:46: callback.required: required needs a field; set f"),
        ('field = "hooks.url"', 'field = "a..b"', "acme.toml:45: callback.field: this is not a field; write keys"),
        ('"standard-webhooks"', '"rot13"', "acme.toml:48: callback.signature: unknown scheme; known are standard-we"),
        ("asset =", "asset", "acme.toml:11: this is not TOML: "),
        ("[callback]", '[callback]\ntask = "', "acme.toml:45: this is not TOML: "),
    ],
)
def test_mistakes_name_file_line_key_and_fix(old: str, new: str, expected: str) -> None:
    """Each mistake is one line that says where it is, what is wrong and what to write."""
    assert old in ACME
    found = mistakes(ACME.replace(old, new, 1))
    assert any(line.startswith(expected) for line in found), found
    assert all(";" in line for line in found)


def test_the_query_must_contain_the_id() -> None:
    """A query without the id cannot name a task."""
    text = ACME.replace("{task_id}", "x")
    (line,) = mistakes(text)
    assert line.startswith("acme.toml:8: routes.video.query: the query has no task id; write {task_id}")


def test_all_mistakes_of_all_files_are_reported_at_once() -> None:
    """Two files with two mistakes each give four lines; a name that is taken is one."""
    bad = ACME.replace('"job.id"', '"a["').replace('kind = "video"', 'kind = "film"')
    with pytest.raises(ConfigError) as caught:
        load_declared({"b.toml": bad, "a.toml": bad})
    assert [line.partition(":")[0] for line in caught.value.problems] == ["a.toml", "a.toml", "b.toml", "b.toml"]
    with pytest.raises(ConfigError) as caught:
        load_declared({"b.toml": ACME, "a.toml": ACME})
    assert caught.value.problems == ["b.toml:2: name: the name is taken by a.toml; choose another"]
    both = mistakes(ACME.replace('broken = "FAILED"', "").replace("/v1/{model}", "/v1/{modle}"))
    assert [line.split(": ")[1] for line in both] == ["routes.video.create", "statuses"], both


def test_no_value_is_repeated_in_a_message() -> None:
    """A key that was pasted into the wrong place does not reach the terminal."""
    secret = "sk-very-secret-1234"
    for old in ('"job.id"', '"https://docs.example.com/"', '"x-api-key"', "7", '"standard-webhooks"', '"FAILED"'):
        for new in (f'"{secret}"', f'["{secret}"]', f'"{secret}'):
            assert secret not in "\n".join(mistakes(ACME.replace(old, new, 1)))


def test_a_name_of_a_built_in_provider_is_taken() -> None:
    """The registry refuses a declared provider that would hide a built-in one."""
    (provider,) = load_declared({"a.toml": ACME.replace('"acme"', '"kling"')})
    with pytest.raises(ConfigError, match="the name is already in use"):
        Registry([provider])


def test_disabled_files_are_ignored() -> None:
    """Only ``.toml`` counts; other files may be invalid."""
    assert load_declared({"a.toml.example": "no toml", "README.md": ""}) == ()


def test_lines_are_found_behind_long_strings_and_lists() -> None:
    """The scan is not fooled by what only looks like a key."""
    text = 'a = """\nb = 1\n"""\nc = [\n  1,\n]\n[t."x.y"]\nd.e = 1\n[[l]]\nf = 1\n[[l]]\nf = 2\n'
    lines = find_lines(text)
    assert lines == {("a",): 1, ("c",): 4, ("t", "x.y"): 7, ("t", "x.y", "d", "e"): 8} | {
        ("l",): 9,
        ("l", 0): 9,
        ("l", 0, "f"): 10,
        ("l", 1): 11,
        ("l", 1, "f"): 12,
    }
    assert line_of(("l", 1, "g"), lines) == 11
    assert line_of(("nowhere",), lines) == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_valid(name: str) -> None:
    """Each loads, defines the provider that it is named after, and names its sources and when they were read."""
    (provider,) = load_declared({f"{name}.toml": SHIPPED[name]})
    assert provider.name == name
    assert Registry([provider]).provider_named(name) is provider
    assert "read 20" in SHIPPED[name]
    assert f"[accounts.{name}]" in SHIPPED[name]
    assert "https://" in provider.routes[0].source


def test_the_examples_read_real_answers() -> None:
    """Answers as the sources of the examples show them lead to the expected ends."""
    replicate, runway = load_declared({f"{name}.toml": SHIPPED[name] for name in ("replicate", "runway")})
    route = replicate.routes[0]
    started = {"id": "ufawqhfynnddngldkgtslldrkq", "status": "starting", "output": None, "error": None, "logs": None}
    assert replicate.read_create(route, reply(started, 201)).external_id == "ufawqhfynnddngldkgtslldrkq"
    url = "https://replicate.delivery/x/out-0.png"
    done = started | {"status": "succeeded", "output": [url]}
    for reading in (replicate.read_poll(route, reply(done)), replicate.read_callback(route, done)):
        assert [(output.kind, output.url) for output in reading.outputs] == [("image", url)]
    failed = replicate.read_poll(route, reply(started | {"status": "failed", "error": "NSFW content detected"}))
    assert (failed.status, failed.reason) == (Status.FAILED, Reason.POLICY_REJECTED)
    route = runway.routes[0]
    task = {"id": "17f20503-6c24-4c16-946b-35dbbce2af2f", "createdAt": "2026-01-05T10:00:00Z"}
    assert runway.read_create(route, reply({"id": task["id"]})).submission is Submission.ACCEPTED
    running = runway.read_poll(route, reply(task | {"status": "RUNNING", "progress": 0.35}))
    assert (running.status, running.progress) == (Status.RUNNING, 35)
    failed = runway.read_poll(
        route, reply(task | {"status": "FAILED", "failure": "no", "failureCode": "SAFETY.INPUT.TEXT"})
    )
    assert (failed.reason, failed.retryable) == (Reason.POLICY_REJECTED, False)
    assert provider_headers(runway) == (("X-Runway-Version", "2024-11-06"),)


def provider_headers(provider: Provider) -> tuple[tuple[str, str], ...]:
    """The headers of a provider's first status call."""
    return provider.poll_request(provider.routes[0], ExternalId("x")).headers
