"""Provider files: unused placeholders and expressions are refused, with file, line, key and what is allowed."""

from __future__ import annotations

import pytest

from tests.unit.test_declared import ACME, load, mistakes
from tracker.errors import ConfigError
from tracker.providers.declared import load_declared

SENT = "would be sent as text"
QUERY = "allowed here: {task_id}, {+task_id}, {model}, {+model}"
CREATE = "allowed here: {model}, {+model}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("/v1/{model}/videos", "/v1/{task_id}", ("7: routes.video.create: {task_id} is not filled here and would be "
         f"sent as text (it is filled in query, query_parameters and query_body, and in those of [result]); {CREATE}")),
        ("/v1/{model}/videos", "/v1?hook={callback_url}", ("7: routes.video.create: {callback_url} is not filled here; "
         "set callback.field to the request field for the callback URL")),
        ("/v1/{model}/videos", "/v1/{modle}", "7: routes.video.create: {modle} is not filled here"),
        ("/v1/{model}/videos", "/v1/{answer.engine}", "7: routes.video.create: {answer.engine} is not filled here"),
        ("/v1/{model}/videos", "/v1/{{model}}", "7: routes.video.create: a brace or placeholder is not filled here"),
        ("/v1/{model}/videos", "/v1/{model/videos", "7: routes.video.create: a brace or placeholder is not filled"),
        ("POST /v1/lookup", "POST /v1/{id}", f"8: routes.video.query: {{id}} is not filled here and {SENT}; {QUERY}"),
        ("POST /v1/lookup", "POST /v1/{callback_url}", "8: routes.video.query: {callback_url} is not filled here"),
        ("POST /v1/lookup", "POST /v1/{TASK_ID}", "8: routes.video.query: a brace or placeholder is not filled here"),
        ("POST /v1/lookup", "POST /v1/x?a=b", "8: routes.video.query: has parameters beside query_param"),
        ("POST /v1/lookup", "POST /v1/x#y", "8: routes.video.query: has a character that is not allowed in a path"),
        ("/v1/{model}/videos", "/v1/vidéos", "7: routes.video.create: has a character that is not allowed in a path"),
        ("/v1/{model}/videos", "/v1/../videos", "7: routes.video.create: has a segment . or .."),
        ('q = "{task_id}"', 'q = "{id}"', ("9: routes.video.query_parameters.q: {id} is not filled here and would be "
         "sent as text; allowed here: {task_id}")),
        ('q = "{task_id}"', 'q = "{key}"', "9: routes.video.query_parameters.q: {key} is not filled here"),
        ('q = "{task_id}"', '"{task_id}" = "q"', "9: routes.video.query_parameters.{task_id}: {task_id} is not fill"),
        ('ids = ["{task_id}"]', 'ids = ["{ids}"]', "10: routes.video.query_body.ids[1]: {ids} is not filled here"),
        ("deep = { n = 1 }", 'deep = { n = "{+model}" }', "10: routes.video.query_body.deep.n: {+model} is not fill"),
        ('X-Version = "2"', 'X-Version = "{model}"', ("14: routes.video.headers.X-Version: {model} is not filled here "
         "and would be sent as text (it is filled in create, query and [result]); remove it, no placeholder is allow")),
        ('asset = "film"', 'asset = "{model}"', "11: routes.video.asset: {model} is not filled here"),
        ('["input.prompt"]', '["input.{x}"]', "12: routes.video.required[1]: {x} is not filled here"),
        ('["input.prompt"]', '["hooks.url"]', "12: routes.video.required[1]: the tracker fills this field with its c"),
        ('field = "hooks.url"', 'field = "{callback_url}"', "45: callback.field: {callback_url} is not filled here"),
        ('field = "hooks.url"\nrequired = true', 'task = "@"', ("45: callback.task: is not read, because no request "
         "has the callback URL and other callbacks only cause a poll; set field, or remove task")),
        ('progress = "job.done"\n', "", "task.progress_full: is not used without progress; set progress, or remove"),
        ('Working = "RUNNING"', '" Working" = "RUNNING"', "26: statuses. Working: is empty or has blanks around it"),
        ('Working = "RUNNING"', '"" = "RUNNING"', "26: statuses.: is empty or has blanks around it, and never match"),
        ('"GPU" =', '"safe.rate" =', "33: reasons.safe.rate: is listed twice, and case makes no difference; remove"),
        ('"GPU" =', '"0" =', "33: reasons.0: this code means success, see task.ok_codes; remove it here, or set"),
        ('"GPU" =', '"GPU*X" =', "33: reasons.GPU*X: a * is allowed only at the end"),
        ('"GPU" =', '"GPU " =', "33: reasons.GPU : is empty or has blanks around it, and never matches"),
        ('"generation_failed"', '"submit_unknown"', "33: reasons.GPU: should be 'invalid_request'"),
        ('text = "job.words"', 'url = "job.files[].url"', "40: outputs[2]: finds the same as an output above"),
        ('kind = "text"', 'kind = "video"', '42: outputs[2].kind: a text is not a media file; write kind = "text"'),
        ('mime = "video/webm"', 'mime = "webm"', "38: outputs[1].mime: this is not a media type; write for example"),
        ('name = "acme"', 'name = "default"', "2: name: the account with this name is for the built-in routes; choose"),
        ('auth = "x-api-key"', 'account = "a b"', "4: account: this is not the name of an account; write"),
        ("POST /v1/lookup", "POST /v1/${task_id}", "8: routes.video.query: a brace or placeholder is not filled here"),
        ('q = "{task_id}"', 'q = "${task_id}"', "9: routes.video.query_parameters.q: a brace or placeholder is not"),
        ("X-Version", "Content-Length", "14: routes.video.headers: Content-Length is not allowed; it is added auto"),
        ("X-Version", "host", "14: routes.video.headers: host is not allowed; it is added automatically, remove it"),
        ('X-Version = "2"', 'Content-Type = "text/plain"', "14: routes.video.headers: Content-Type is not JSON"),
        ("poll_interval_s = 7", "retries = 1", "13: routes.video.retries: unknown key; remove it, known here are"),
        ('signature = "standard-webhooks"', 'account = "a"', ("48: callback.account: belongs to the file, not to "
         "a table; move it above the first [table]")),
        ("poll_interval_s = 7", 'auth = "bearer"', "13: routes.video.auth: belongs to the file, not to a table"),
        ('"GPU" =', "GPU.x =", "reasons.GPU: a dot splits a name in two; write the complete name in quotes"),
        ("Working = ", "work.ing = ", "statuses.work: a dot splits a name in two; write the complete name in quotes"),
        ('name = "acme"', 'name = "3d"', "2: name: a name is lower-case letters, digits and hyphens, a letter first"),
        ('error_message = "job.error.text"', "ok_codes = []", "task.ok_codes: is empty; give at least one entry"),
    ],
)  # fmt: skip
def test_unused_values_are_refused(old: str, new: str, expected: str) -> None:
    """Each is one line; no request is sent to a paid API."""
    assert old in ACME
    found = mistakes(ACME.replace(old, new, 1))
    assert any(expected in line for line in found), found
    assert all(";" in line for line in found)


def test_ok_codes_need_an_error_code() -> None:
    """Success codes have no effect without an error code."""
    text = ACME.replace('error_code = "job.error.code"', "ok_codes = [0]").partition("[reasons]")[0]
    text += '[[outputs]]\nurl = "x"\nkind = "video"\n'
    assert any("task.ok_codes: is not used without error_code" in line for line in mistakes(text))


@pytest.mark.parametrize(
    "expression",
    ["'job.id'", "`1`", '`{\\"a\\": 1}`.a', "'x' | length(@)", "length('x')", "[`1`, 'a']", "!`true`", "{a: 'b'}",
     "`[1]`[*]", "`[1]`[0]", "`[1]`[?@ == job]"],
)  # fmt: skip
def test_an_expression_that_is_the_same_for_every_answer(expression: str) -> None:
    """It reads nothing, mostly because of superfluous quotes."""
    (line,) = mistakes(ACME.replace('id = "job.id"', f'id = "{expression}"'))
    assert line.startswith("acme.toml:17: task.id: the JMESPath does not depend on the reply; write fields without")


@pytest.mark.parametrize(
    "expression",
    ["@", "job", "*.id", "job[0]", "job[*]", "job | [0]", "done && 'ok' || 'running'", "length(@)", "[job, 'a']",
     "job[?x == 'a'] | [0].id", "max_by(job, &x)", "!job", "from_json(job).id", "split(job, ',')[0]", "job[]"],
)  # fmt: skip
def test_an_expression_that_reads_something(expression: str) -> None:
    """Literals beside what is read are fine."""
    load_declared({"acme.toml": ACME.replace('id = "job.id"', f'id = "{expression}"')})


def test_a_value_is_not_repeated() -> None:
    """A key pasted between braces, or as a name, reaches no terminal."""
    for old, new in (("{model}", "{sk-very-secret-1234}"), ("q = ", "sk-very-secret-1234 = ")):
        text = ACME.replace(old, new).replace('"{task_id}"', '"{x}"')
        with pytest.raises(ConfigError) as caught:
            load_declared({"a.toml": text})
        assert "{sk-very-secret-1234}" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('X-Version = "2"', 'X_Client = "tracker", Content-Type = "application/json; charset=utf-8"'),
        ("/v1/{model}/videos", "/v1/models/{model}:run?async=true&$select=id"),
        ("POST /v1/lookup", "POST /v1/videos('{task_id}')/?$expand=files"),
        ('q = "{task_id}"', 'q = "$7 {\\"a\\": 1} $filter={task_id}"'),
        ('"0" = "PENDING"', '0 = "PENDING"\n"in.work" = "RUNNING"\n"é" = "RUNNING"\ntrue = "SUCCEEDED"'),
        ('id = "job.id"', "id = 'job.\"task-id\" || not_null(job.id, @.id)'"),
        ('"job.files[].url"', "\"sort_by(job.files, &n)[*].join('', ['https://cdn.example/', path])\""),
        ('"job.state"', "\"contains(['a', 'b'], job.state) && 'done' || 'broken'\""),
    ],
)
def test_valid_files_pass(old: str, new: str) -> None:
    """What real APIs need is not a mistake, however odd it looks."""
    text = ACME.replace("query_parameters", "# query_parameters") if "expand" in new else ACME
    assert old in text
    load(text.replace(old, new, 1))


def test_outputs_in_one_pair_of_brackets() -> None:
    """The line says which brackets to write."""
    first, _, rest = ACME.replace("[[outputs]]", "[outputs]", 1).partition("[[outputs]]")
    assert mistakes(first + rest[rest.index("[callback]") :]) == [
        "acme.toml:35: outputs: is one table, not a list of them; write [[outputs]]"
    ]
