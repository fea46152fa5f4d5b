"""The calls of provider files: headers with the key, placeholders, callback addresses, and the call for a result."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.test_declared import SHIPPED, load, mistakes, reply
from tracker.domain.costs import Cost
from tracker.domain.observation import Trouble
from tracker.domain.task import ExternalId, Reason, Status
from tracker.domain.upstream_http import AuthHeader, AuthStyle, WireReply
from tracker.errors import PayloadInvalid
from tracker.providers.declared.expressions import list_fields, search
from tracker.providers.route import Created

BASE = """
name = "pelican"
source = "https://docs.example.com/"
auth = "Authorization: Key {key}"

[values]
app = "join('/', split(request.model, '/')[:2])"
link = "url_path(answer.links.state)"

[routes.film]
create = "POST /{+model}"
query = "GET /{+app}/requests/{task_id}/{request.region}"
query_parameters = { page = "{request.page}" }
headers = { x-page = "1" }

[result]
query = "GET /files/{answer.file}"
query_parameters = { of = "{task_id}" }
failed_http = [422]

[task]
id = "id"
status = "state"
error_code = "result.code"
error_message = "result.text"
cost = "usage.price"
currency = "EUR"

[statuses]
going = "RUNNING"
done = "SUCCEEDED"

[[outputs]]
url = "result.files[].url"
kind = "video"
duration = "result.files[].seconds"
authenticated = true

[callback]
parameter = "hook"
extra = { events = ["end"], "notify.secret" = 7 }
ids = ["job"]
task = "{id: job, state: word, result: body}"

[callback.statuses]
FINE = "SUCCEEDED"
BAD = "FAILED"
"""
FILM = BASE.replace('link = "url_path(answer.links.state)"\n', "")
REQUEST = {"model": "owner/app/fast", "region": "eu", "page": 2, "prompt": "a sea"}
KNOWN = Created("owner/app/fast", REQUEST)
CALLBACK_URL = "https://tracker.example.com/cb?x=1&y=2"


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("bearer", AuthStyle.BEARER),
        ("x-api-key", AuthStyle.X_API_KEY),
        ("Authorization: Key {key}", AuthHeader("Authorization", "Key {key}")),
        ("x-goog-api-key: {key}", AuthHeader("x-goog-api-key", "{key}")),
        ("X-Key:  token={key};v=1", AuthHeader("X-Key", "token={key};v=1")),
    ],
)
def test_the_key_goes_into_any_header(auth: str, expected: object) -> None:
    """Every call of the provider sends it so; the key itself is never in a file."""
    route, provider = load(FILM.replace("Authorization: Key {key}", auth))
    create = provider.create_request(route, REQUEST, None)
    poll = provider.poll_request(route, ExternalId("j1"), KNOWN)
    second = provider.result_request(route, ExternalId("j1"), KNOWN, reply({"state": "done", "file": "f1"}))
    assert second is not None
    assert (create.auth, poll.auth, second.auth) == (expected, expected, expected)
    if isinstance(expected, AuthHeader):
        assert expected.with_key("k-1") == (expected.name, expected.value.replace("{key}", "k-1"))


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ("Authorization: Key", "the header has {key} exactly once"),
        ("Authorization: {key} {key}", "the header has {key} exactly once"),
        ("Authorization: {key} {task_id}", "the header has {key} exactly once, and no other placeholder"),
        ("Host: {key}", "Host cannot hold a key"),
        ("basic", "is not a known form of authentication; write"),
        ("X: a{key}\\nY: b", "is not a known form of authentication"),
    ],
)
def test_a_wrong_header_for_the_key_is_refused(auth: str, message: str) -> None:
    """One line says what is wrong and what can be written."""
    (line,) = mistakes(FILM.replace("Authorization: Key {key}", auth))
    assert "acme.toml:4: auth: " in line
    assert message in line


def test_values_and_fields_of_the_request_fill_paths() -> None:
    """The model keeps its slashes, a value is computed, numbers are written; a body has all fields but the model."""
    route, provider = load(FILM)
    assert route.needs == {"request"}
    create = provider.create_request(route, REQUEST, None)
    assert (create.path, create.query) == ("/owner/app/fast", ())
    assert orjson.loads(create.body or b"") == {"region": "eu", "page": 2, "prompt": "a sea"}
    poll = provider.poll_request(route, ExternalId("j/1"), KNOWN)
    assert (poll.path, poll.query) == ("/owner/app/requests/j%2F1/eu", (("page", "2"),))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("../../admin", "/owner/app/requests/j1/..%2F..%2Fadmin"),
        ("...", "/owner/app/requests/j1/..."),
        ("./..", "/owner/app/requests/j1/.%2F.."),
        ("a?b=c#d", "/owner/app/requests/j1/a%3Fb%3Dc%23d"),
        ("//evil.example", "/owner/app/requests/j1/%2F%2Fevil.example"),
        ("{model}", "/owner/app/requests/j1/%7Bmodel%7D"),
        ("a\r\nHost: b", "/owner/app/requests/j1/a%0D%0AHost%3A%20b"),
    ],
)
def test_no_value_leads_to_another_path(value: str, path: str) -> None:
    """A value is one segment: it cannot climb, add a query or a fragment, or name a host."""
    route, provider = load(FILM)
    created = Created("m", {**REQUEST, "region": value})
    assert provider.poll_request(route, ExternalId("j1"), created).path == path


@pytest.mark.parametrize("value", [".", "..", "../", "/.."])
def test_a_dot_segment_is_refused_before_anything_is_sent(value: str) -> None:
    """Escaped dots are dots to some servers: such a field is wrong, and no call has it."""
    route, provider = load(FILM)
    request = {**REQUEST, "region": value}
    assert [problem.loc for problem in provider.check_request(route, request)] == [("request", "region")]
    with pytest.raises(PayloadInvalid, match=r"\{request\.region\} cannot be"):
        provider.poll_request(route, ExternalId("j1"), Created("m", request))
    (problem,) = provider.check_request(route, {**REQUEST, "model": value})
    assert problem.loc == ("request", "model")


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("../../x/y", "/..%2F../requests/j1/eu"),
        ("//evil.example/a", "/%2F/requests/j1/eu"),
        ("a/b?c#d/e", "/a/b%3Fc%23d/requests/j1/eu"),
    ],
)
def test_no_unescaped_value_leads_to_another_path(model: str, path: str) -> None:
    """With a plus the slashes stay, and nothing else."""
    route, provider = load(FILM)
    created = Created(model, {**REQUEST, "model": model})
    assert provider.poll_request(route, ExternalId("j1"), created).path == path


def test_fields_of_the_reply_to_the_create_fill_the_status_call() -> None:
    """By a field, or by the path of a URL; without the reply, no request is made."""
    text = BASE.replace("GET /{+app}/requests/{task_id}/{request.region}", "GET /{+link}/{answer.shard}").replace(
        "app = \"join('/', split(request.model, '/')[:2])\"\n", ""
    )
    route, provider = load(text)
    assert route.needs == {"request", "answer"}
    answer = {"shard": 7, "links": {"state": "https://api.example.com/v1/jobs/a%20b?sig=x"}}
    poll = provider.poll_request(route, ExternalId("j1"), Created("m", REQUEST, answer))
    assert poll.path == "/v1/jobs/a%2520b/7"
    for created in (Created(), Created("m", REQUEST), Created("m", REQUEST, {"links": {"state": 1}})):
        with pytest.raises(PayloadInvalid, match=r"status call of route pelican\.film needs a part of the create"):
            provider.poll_request(route, ExternalId("j1"), created)


def test_a_request_has_the_fields_of_its_paths() -> None:
    """What a path needs is missed before anything is sent."""
    route, provider = load(FILM)
    assert provider.check_request(route, REQUEST) == []
    problems = provider.check_request(route, {"model": "owner/app", "page": True})
    assert [problem.loc for problem in problems] == [("request", "region"), ("request", "page")]
    (problem,) = provider.check_request(route, {"region": "eu", "page": 1})
    assert (problem.loc, problem.msg) == (("request", "model"), "required: a text")
    assert provider.check_request(route, route.sample) == []


def test_the_callback_url_is_a_query_parameter_with_fields_beside_it() -> None:
    """The fields are sent with the URL only, and a user's own values stay."""
    route, provider = load(FILM)
    assert (route.callback, route.callback_parameter, route.callback_field) == (True, "hook", None)
    create = provider.create_request(route, REQUEST | {"notify": {"secret": 1}}, CALLBACK_URL)
    assert create.query == (("hook", CALLBACK_URL),)
    body = orjson.loads(create.body or b"")
    assert (body["events"], body["notify"]) == (["end"], {"secret": 1})
    assert "events" not in orjson.loads(provider.create_request(route, REQUEST, None).body or b"")


def test_the_callback_url_is_in_a_nested_object() -> None:
    """``callback.url`` with a secret beside it."""
    text = FILM.replace('parameter = "hook"', 'field = "config.hook.url"').replace(
        "notify.secret", "config.hook.secret"
    )
    route, provider = load(text)
    create = provider.create_request(route, REQUEST, CALLBACK_URL)
    assert create.query == ()
    assert orjson.loads(create.body or b"")["config"] == {"hook": {"url": CALLBACK_URL, "secret": 7}}


@pytest.mark.parametrize(
    ("word", "status"), [("FINE", Status.SUCCEEDED), ("bad", Status.FAILED), ("going", Status.RUNNING), ("?", None)]
)
def test_callbacks_have_their_own_words(word: str, status: Status | None) -> None:
    """In the shape that the file gives them; polls do not know these words."""
    route, provider = load(FILM)
    files = {"files": [{"url": "https://cdn.example.com/a.mp4", "seconds": 5}]}
    reading = provider.read_callback(route, {"job": "j1", "word": word, "body": files})
    assert (reading.status, reading.external_id) == (status, "j1")
    assert len(reading.outputs) == (status is Status.SUCCEEDED)
    poll = provider.read_poll(route, reply({"id": "j1", "state": "FINE"}))
    assert (poll.status, poll.trouble) == (None, Trouble.UNKNOWN_STATUS)


def second_call(state: dict[str, Any], result: WireReply) -> WireReply:
    """The joined reply of a status call and the call for its result."""
    route, provider = load(FILM)
    return provider.join_result(route, reply(state), result)


DONE = {"id": "j1", "state": "done", "file": "f/1", "usage": {"price": "0.25"}}


def test_a_success_without_outputs_is_followed_by_the_call_for_the_result() -> None:
    """Only then; what it asks for is in the reply to the status call."""
    route, provider = load(FILM)
    call = provider.result_request(route, ExternalId("j1"), KNOWN, reply(DONE))
    assert call is not None
    assert (call.method, call.path, call.query) == ("GET", "/files/f%2F1", (("of", "j1"),))
    for state in ({"id": "j1", "state": "going"}, {"id": "j1", "state": "done"}, {"id": "j1", "state": "odd"}):
        assert provider.result_request(route, ExternalId("j1"), KNOWN, reply(state)) is None
    assert provider.result_request(route, ExternalId("j1"), KNOWN, reply({"error": "x"}, 500)) is None
    assert provider.result_request(route, ExternalId("j1"), KNOWN, WireReply(200, {}, b"<html>")) is None


def test_the_result_is_read_with_the_status() -> None:
    """Outputs with lengths and the key, and the cost."""
    route, provider = load(FILM)
    files = [{"url": "https://api.example.com/1.mp4", "seconds": 5.5}, {"url": "https://api.example.com/2.mp4"}]
    reading = provider.read_poll(route, second_call(DONE, reply({"files": files})))
    assert reading.status is Status.SUCCEEDED
    assert [(one.url, one.duration_s) for one in reading.outputs] == [
        ("https://api.example.com/1.mp4", 5.5),
        ("https://api.example.com/2.mp4", 5.5),
    ]
    assert all(one.authenticated and one.key_header == "Authorization: Key {key}" for one in reading.outputs)
    assert reading.cost == Cost(Decimal("0.25"), "EUR")


def test_a_declared_http_status_of_the_result_is_a_failure() -> None:
    """With the error in it."""
    route, provider = load(FILM)
    reading = provider.read_poll(route, second_call(DONE, reply({"code": "unsafe", "text": "no"}, 422)))
    assert (reading.status, reading.reason, reading.external_id) == (Status.FAILED, Reason.GENERATION_FAILED, "j1")
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == ("unsafe", "no")


@pytest.mark.parametrize(
    ("result", "trouble"),
    [
        (reply({"detail": "busy"}, 503), Trouble.UNAVAILABLE),
        (reply({"detail": "slow down"}, 429), Trouble.THROTTLED),
        (reply({"detail": "key?"}, 401), Trouble.UNAUTHORIZED),
        (WireReply(200, {}, b"<html>"), Trouble.UNREADABLE),
        (WireReply(200, {}, b'{"files": ['), Trouble.UNREADABLE),
    ],
)
def test_a_result_that_cannot_be_read_changes_nothing(result: WireReply, trouble: Trouble) -> None:
    """The task stays as it is and is polled again: no paid result is lost."""
    route, provider = load(FILM)
    reading = provider.read_poll(route, second_call(DONE, result))
    assert (reading.status, reading.trouble) == (None, trouble)


def test_a_result_of_odd_json_is_joined() -> None:
    """Lone surrogates and numbers of any size cost no result."""
    body = (
        b'{"files": [{"url": "https://api.example.com/1.mp4"}], "odd": "\\ud800", "n": 123456789012345678901234567890}'
    )
    route, provider = load(FILM)
    reading = provider.read_poll(route, second_call(DONE, WireReply(200, {}, body)))
    assert [one.url for one in reading.outputs] == ["https://api.example.com/1.mp4"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "POST /{+model}",
            "POST /{+model}/{answer.id}",
            "sent as text (it is filled in query (the reply to the create) and [result] (the ",
        ),
        ("POST /{+model}", "POST /{+model}/{answer.id}", "allowed here: {model}, {+model}, {request.FIELD}, {app}"),
        (
            "POST /{+model}",
            "POST /{key}",
            "{key} is not filled here and would be sent as text (it is filled in auth only)",
        ),
        ("POST /{+model}", "POST /{request}", "routes.film.create: {request} is not filled here"),
        ("/{request.region}", "/{request.}", "routes.film.query: {request.} is not filled here"),
        ("/{task_id}/", "/", "routes.film.query: the query has no task id; write {task_id} into it"),
        ('of = "{task_id}"', 'of = "{+task_id}"', "result.query_parameters.of: {+task_id} is not filled here"),
        (
            "GET /files/{answer.file}",
            "POST /files/{answer.file}",
            'result.query: the call for a result is a GET; write "GET',
        ),
        ("GET /files/{answer.file}", "GET /files/{file}", "result.query: {file} is not filled here"),
        ("failed_http = [422]", "failed_http = [200]", "result.failed_http[1]: should be greater than or equal to 400"),
        ("failed_http = [422]", "failed = [422]", "result.failed: unknown key; did you mean failed_http?"),
        ("failed_http = [422]\n", "", "statuses: no status means FAILED"),
        ("{+app}", "{+ap}", "routes.film.query: {+ap} is not filled here"),
        ("{+app}", "x", "values.app: is not used; write {app} into create, query or [result], or remove it"),
        (
            "split(request.model, '/')[:2]",
            "split(other, '/')[:2]",
            "values.app: uses nothing of a call; write for example",
        ),
        ('app = "', 'task_id = "x"\napp = "', "values.task_id: a value is named with lower-case letters"),
        ('cost = "usage.price"\n', "", "task.currency: is not used without cost; set cost, or remove it"),
        ('currency = "EUR"', 'currency = "€"', "task.currency: this is not a currency or unit; write for example"),
        ('parameter = "hook"', 'parameter = "a b"', "callback.parameter: this is not the name of a parameter"),
        (
            'parameter = "hook"',
            'parameter = "hook"\nfield = "hook"',
            "callback.parameter: the callback URL is sent in field",
        ),
        ('parameter = "hook"\n', "", "callback.extra: is sent with the callback URL only; set field or parameter"),
        ("x-page", "AUTHORIZATION", "AUTHORIZATION is not allowed; the account's key is added automatically"),
        (
            'auth = "Authorization: Key {key}"',
            'auth = "X-Page: {key}"',
            "headers.x-page: is the header of the account's",
        ),
        ('parameter = "hook"', 'challenge = "c"', "callback.challenge: no request has the callback URL; set field or"),
        (
            "POST /{+model}",
            "POST /{+model}?a=b",
            "routes.film.create: has parameters beside callback.parameter; remove",
        ),
        ('"notify.secret" = 7', '"notify.secret" = "{key}"', "callback.extra.notify.secret: {key} is not filled here"),
        ('BAD = "FAILED"', 'BAD = "FAILED"\nfine = "FAILED"', "callback.statuses.fine: is listed twice"),
        (
            'task = "{id: job, state: word, result: body}"\n',
            "",
            "callback.statuses: is not read without task; set task",
        ),
        (
            'url = "result.files[].url"\nkind = "video"',
            'text = "result.text"\nkind = "text"',
            "outputs[1]: authenticated and duration are for outputs with a url",
        ),
    ],
)
def test_what_is_never_filled_or_read_is_refused(old: str, new: str, expected: str) -> None:
    """Each mistake is one line that says where a placeholder may stand; no request is sent to a paid API."""
    assert old in FILM
    found = mistakes(FILM.replace(old, new, 1))
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("request.model", {"request"}),
        ("split(request.a, '/')[:2] | join('/', @)", {"request"}),
        ("answer.a || task_id", {"answer", "task_id"}),
        ("{a: request.model, b: answer.id}", {"request", "answer"}),
        ("@.request.answer", {"request"}),
        ("sort_by(answer.list, &model)[0].id", {"answer"}),
        ("answer.list[?request == 'x'].id", {"answer"}),
        ("'text'", set()),
    ],
)
def test_the_fields_of_an_expression(text: str, fields: set[str]) -> None:
    """Those that it reads from its input, not from what is inside of them."""
    assert list_fields(text) == fields


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://queue.example.com/a/b?c=d#e", "/a/b"),
        ("HTTP://h:1/x", "/x"),
        ("https://h", None),
        ("/a/b", None),
        (7, None),
        (None, None),
    ],
)
def test_the_path_of_a_url(url: object, path: str | None) -> None:
    """Without host and query; null for anything else."""
    assert search("url_path(url)", {"url": url}, "key") == path


def test_the_shipped_fal_file_asks_under_owner_and_app() -> None:
    """A model of three parts is submitted in full, and asked for under the first two."""
    route, provider = load(SHIPPED["fal"])
    request = {"model": "fal-ai/minimax/video-01", "prompt": "a sea"}
    create = provider.create_request(route, request, CALLBACK_URL)
    assert (create.path, create.query) == ("/fal-ai/minimax/video-01", (("fal_webhook", CALLBACK_URL),))
    created = Created("fal-ai/minimax/video-01", request)
    assert provider.poll_request(route, ExternalId("R1"), created).path == "/fal-ai/minimax/requests/R1/status"
    call = provider.result_request(route, ExternalId("R1"), created, reply({"status": "COMPLETED", "request_id": "R1"}))
    assert call is not None
    assert call.path == "/fal-ai/minimax/requests/R1"


def test_the_example_of_the_readme_does_what_its_comments_say() -> None:
    """The invented API of the documentation: flags, a second call, JSON in a text, and callbacks of another shape."""
    readme = (Path(__file__).parents[2] / "config" / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(name = \"pelican\".*?)```", readme, re.DOTALL)
    route, provider = load(text)
    request = {"model": "owner/app/fast", "prompt": "a sea"}
    assert provider.create_request(route, request, CALLBACK_URL).path == "/owner/app/fast"
    created = Created("owner/app/fast", request)
    assert provider.poll_request(route, ExternalId("j1"), created).path == "/owner/app/jobs/j1"
    refused = provider.read_create(route, reply({"result": {"code": 7, "text": "no"}}))
    assert refused.reason is Reason.INVALID_REQUEST
    assert provider.read_poll(route, reply({"job": "j1", "done": False})).status is Status.RUNNING
    done = reply({"job": "j1", "done": True, "file_id": 5, "usage": {"credits": 3}})
    call = provider.result_request(route, ExternalId("j1"), created, done)
    assert call is not None
    assert call.path == "/files/5"
    payload = {"payload": '{"urls": ["https://pelican.example/1.mp4"]}', "seconds": 4}
    reading = provider.read_poll(route, provider.join_result(route, done, reply(payload)))
    assert [(one.url, one.duration_s) for one in reading.outputs] == [("https://pelican.example/1.mp4", 4)]
    assert reading.cost == Cost(Decimal(3), "credits")
    called = provider.read_callback(route, {"job": "j1", "end": "FINE", "body": payload})
    assert (called.status, called.outputs) == (Status.SUCCEEDED, reading.outputs)
    assert provider.read_callback(route, {"job": "j1", "end": "LOST"}).status is Status.FAILED


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"challenge": "abc"}, {"challenge": "abc"}),
        ({"challenge": "x" * 1025}, None),
        ({"challenge": 7}, None),
        ({"other": "abc"}, None),
        (["challenge"], None),
        ("challenge", None),
    ],
)
def test_only_a_challenge_of_the_file_is_returned(body: object, answer: object) -> None:
    """MiniMax tests a callback URL by a value that must be returned; a file without the key returns nothing."""
    _, minimax = load(SHIPPED["minimax"])
    assert minimax.answer_challenge(body) == answer
    _, luma = load(SHIPPED["luma"])
    assert luma.answer_challenge(body) is None
