"""What the redactor masks, and the format of log lines."""

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tracker.logs import MASK, Redactor, configure_logging, get_logger, written_together

KEY = "fake-key-0123456789"
TOKEN = "generate.01JD0000000000000000000000.0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    """Undo what `configure_logging` sets for the complete process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.getLogger("aiohttp.access").disabled = False
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"sent with {KEY}!", f"sent with {MASK}!"),
        (f"Authorization: Bearer {KEY}", f"Authorization: Bearer {MASK}"),
        ("authorization=Bearer abcdefgh-other", f"authorization={MASK}"),
        ("{'x-api-key': 'abc', 'a': 1}", f"{{'x-api-key': '{MASK}', 'a': 1}}"),
        ('headers={"Authorization": "Bearer xyz"}', f'headers={{"Authorization": "{MASK}"}}'),
        ("GET /v1?api_key=abc&n=1", f"GET /v1?api_key={MASK}&n=1"),
        ("TRACKER_API_TOKEN=abc", f"TRACKER_API_TOKEN={MASK}"),
        ("password: hunter22, user: u", f"password: {MASK}, user: u"),
        ("a Bearer abcdef.ghijkl went out", f"a Bearer {MASK} went out"),
        ("key sk-abcdefgh1234 refused", f"key {MASK} refused"),
        ("whsec_AbCd+/12==", MASK),
        (f"POST /callbacks/suno/{TOKEN} HTTP/1.1", f"POST /callbacks/suno/{MASK} HTTP/1.1"),
        (f"https://t.example/callbacks/kling/{TOKEN}?a=1", f"https://t.example/callbacks/kling/{MASK}?a=1"),
        (
            f"https%3A%2F%2Ft.example%2Fcallbacks%2Fsuno%2F{TOKEN}",
            f"https%3A%2F%2Ft.example%2Fcallbacks%2Fsuno%2F{MASK}",
        ),
        ("POST /callbacks/suno HTTP/1.1", "POST /callbacks/suno HTTP/1.1"),
        ("token: null", "token: null"),
        ('api_key_env = "ANYINT_API_KEY"', 'api_key_env = "ANYINT_API_KEY"'),
        ("max_tokens: 100, total_tokens=7", "max_tokens: 100, total_tokens=7"),
        (
            "a monkey with a task-12345678 and a risk-assessment",
            "a monkey with a task-12345678 and a risk-assessment",
        ),
    ],
)
def test_masks_secrets_in_text(text: str, expected: str) -> None:
    """Secrets are masked, the rest stays, and masking again changes nothing."""
    redactor = Redactor([KEY])
    assert redactor.text(text) == expected
    assert redactor.text(expected) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"api_key": "abc", "n": 1}, {"api_key": MASK, "n": 1}),
        ({"a": {"Authorization": "Bearer x"}}, {"a": {"Authorization": MASK}}),
        ({"password": 123456}, {"password": MASK}),
        ({"token": None, "secret": ""}, {"token": None, "secret": ""}),
        ({"secret": ["a", {"b": "c", "n": 2}]}, {"secret": [MASK, {"b": MASK, "n": 2}]}),
        ({"usage": {"max_tokens": 5, "token": 7}}, {"usage": {"max_tokens": 5, "token": 7}}),
        (
            {"u": f"https://t.example/callbacks/suno/{TOKEN}"},
            {"u": f"https://t.example/callbacks/suno/{MASK}"},
        ),
        ({KEY: f"x{KEY}y"}, {MASK: f"x{MASK}y"}),
        ([KEY, {"deep": [KEY]}], [MASK, {"deep": [MASK]}]),
    ],
)
def test_masks_secrets_in_json(payload: object, expected: object) -> None:
    """Values are masked; the structure stays."""
    assert orjson.loads(Redactor([KEY]).json_text(orjson.dumps(payload))) == expected


def test_masks_inside_json_strings_inside_json() -> None:
    """Suno returns the request as a JSON string with the callback URL; both levels stay valid JSON."""
    param = json.dumps({"callBackUrl": f"https://t.example/callbacks/suno/{TOKEN}", "prompt": 'say "hi"'})
    inner = json.dumps({"param": param, "apiKey": "abc"})
    masked = Redactor().json_text(json.dumps({"data": {"outer": inner}}))
    outer = orjson.loads(orjson.loads(masked)["data"]["outer"])
    assert outer["apiKey"] == MASK
    assert orjson.loads(outer["param"]) == {
        "callBackUrl": f"https://t.example/callbacks/suno/{MASK}",
        "prompt": 'say "hi"',
    }


@pytest.mark.parametrize(
    "text",
    [
        r'{"url":"https:\/\/t.example\/callbacks\/suno\/' + TOKEN + '"}',
        r'{"odd":"\ud800","url":"https://t.example/callbacks/suno/' + TOKEN + '"}',
        '{"n":NaN,"url":"https://t.example/callbacks/suno/' + TOKEN + '"}',
    ],
)
def test_masks_json_in_unusual_spelling(text: str) -> None:
    """Escaped slashes, lone surrogates and NaN hide nothing and break nothing."""
    masked = Redactor().json_text(text)
    assert TOKEN not in masked
    assert json.loads(masked)["url"].endswith(f"/callbacks/suno/{MASK}")


def test_does_not_change_harmless_json() -> None:
    """Without secrets not a byte changes, whatever the spelling."""
    text = '{ "b" : 1.0, "a": 12345678901234567890123, "usage": {"total_tokens": 3}, "b": 2 }'
    assert Redactor([KEY]).json_text(text) is text
    assert Redactor([KEY]).json_text(text.encode()) == text
    suspicious = '{ "monkey" : "a secret place" }'
    assert Redactor([KEY]).json_text(suspicious) is suspicious


def test_a_secret_with_special_characters_is_found_in_every_form() -> None:
    """JSON escapes and URL escapes do not hide a secret."""
    secret = 'p"ä/ss\\w&rd'
    redactor = Redactor([secret])
    assert json.loads(redactor.json_text(json.dumps({"x": secret})))["x"] == MASK
    assert MASK in redactor.text(f"broken {json.dumps(secret)}")
    assert redactor.text("http://h/?q=p%22%C3%A4%2Fss%5Cw%26rd") == f"http://h/?q={MASK}"


def test_other_texts_are_masked() -> None:
    """An HTML page, truncated JSON and non-UTF-8 bytes are masked, too."""
    redactor = Redactor([KEY])
    assert redactor.json_text(f"<html>{KEY}") == f"<html>{MASK}"
    assert redactor.json_text(b'{"api_key": "abc"') == f'{{"api_key": "{MASK}"'
    assert redactor.json_text(b"\xff " + KEY.encode()) == f"\ufffd {MASK}"


def test_hostile_nesting_does_not_overflow_the_stack() -> None:
    """Deep nesting is replaced, and the result is valid JSON."""
    deep = "[" * 900 + f'"{KEY}"' + "]" * 900
    assert KEY not in json.dumps(json.loads(Redactor([KEY]).json_text(deep)))
    deeper = "[" * 100_000 + f'"{KEY}"'
    assert KEY not in Redactor([KEY]).json_text(deeper)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["api_key", "token"]), inner),
    max_leaves=20,
)


@given(json_values, st.sampled_from(["", KEY, f'x"{KEY}"', f"/callbacks/suno/{TOKEN}", 'token="x']))
def test_valid_json_stays_valid_and_secretless(value: object, hidden: str) -> None:
    """The result of any JSON is JSON without the secret."""
    text = json.dumps({"value": value, "hidden": hidden, "nested": json.dumps({"h": hidden})})
    masked = Redactor([KEY]).json_text(text)
    json.loads(json.loads(masked)["nested"])
    assert KEY not in masked
    assert TOKEN not in masked


def test_is_fast_enough_for_the_callback_path() -> None:
    """A harmless callback of 2 KB costs little (the bound is generous, for slow machines)."""
    payload = orjson.dumps({"data": [{"prompt": "city lights " * 10, "tags": "rock", "n": i} for i in range(12)]})
    redactor = Redactor([KEY, "another-fake-secret"])
    started = time.thread_time()  # what others take of the processor does not count
    for _ in range(200):
        redactor.json_text(payload)
    assert (time.thread_time() - started) / 200 < 0.0005


def fail(message: str) -> None:
    """Raise an error with this message."""
    raise RuntimeError(message)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """The JSON lines written to stderr since the last call."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_are_json_with_utc_time(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object per line, with level, logger and UTC time."""
    configure_logging("info", json=True)
    log = get_logger("tracker.tracking.poller")
    log.info("task.advanced", status="RUNNING", task_id="01JD", odd=object)
    log.debug("poll.planned")
    (line,) = lines(capsys)
    assert line | {"at": "", "odd": ""} == {
        "event": "task.advanced",
        "logger": "tracker.tracking.poller",
        "level": "info",
        "status": "RUNNING",
        "task_id": "01JD",
        "at": "",
        "odd": "",
    }
    assert str(line["at"]).endswith("Z")


class _Writes(io.StringIO):
    """A standard error that records each write."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        """Record a write."""
        self.texts.append(text)
        return len(text)


def test_lines_of_a_block_are_one_write() -> None:
    """Lines logged together are written at the end of the block, in order; later ones each at once."""
    configure_logging("info", json=True)
    log = get_logger("tracker.tracking.reconciler")
    with redirect_stderr(_Writes()) as stderr:
        with written_together():
            log.info("first")
            with written_together():
                log.info("second")
            assert stderr.texts == []
        log.info("third")
        log.info("fourth")
    assert [[json.loads(line)["event"] for line in text.splitlines()] for text in stderr.texts] == [
        ["first", "second"],
        ["third"],
        ["fourth"],
    ]


def test_many_lines_are_written_in_parts_that_a_pipe_takes_at_once() -> None:
    """No write of several lines is longer than 4096 bytes, and none ends within a line."""
    configure_logging("info", json=True)
    with redirect_stderr(_Writes()) as stderr, written_together():
        for n in range(100):
            get_logger("tracker.tracking.reconciler").info("task.ended", n=n, text="\u00e4" * 200)
    assert [json.loads(line)["n"] for text in stderr.texts for line in text.splitlines()] == list(range(100))
    assert all(len(text.encode()) <= 4096 and text.endswith("\n") for text in stderr.texts)
    assert len(stderr.texts) < 25


def test_lines_of_other_threads_and_before_an_error_are_written() -> None:
    """Another thread does not wait for the block, and an error in it loses no line."""
    configure_logging("info", json=True)
    log = get_logger("tracker.tracking.reconciler")

    def fail_after_a_line() -> None:
        with written_together():
            log.info("first")
            other = threading.Thread(target=log.info, args=("other",))
            other.start()
            other.join()
            fail("in the block")

    with redirect_stderr(_Writes()) as stderr, pytest.raises(RuntimeError):
        fail_after_a_line()
    assert [json.loads(line)["event"] for line in stderr.texts] == ["other", "first"]


def test_no_secret_reaches_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Fields, nested fields, exceptions, their causes, and what libraries log: all are masked."""
    redactor = configure_logging("info", json=True, secrets=[KEY])
    log = get_logger("tracker.daemon.app")
    log.info("a", headers={"Authorization": "Bearer abc"}, url=f"/callbacks/suno/{TOKEN}")
    log.info("object", error=ValueError(KEY))
    try:
        fail(f"no answer with {KEY}")
    except RuntimeError:
        log.exception("b")
        logging.getLogger("some.library").exception("failed for %s", KEY)
    written = capsys.readouterr().err
    assert KEY not in written
    assert TOKEN not in written
    assert "Bearer abc" not in written
    assert written.count("RuntimeError: no answer with [redacted]") == 2
    assert redactor.text(KEY) == MASK


def test_libraries_log_through_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Records of libraries become lines; access logs and scheduler messages do not appear."""
    configure_logging("info", json=True)
    logging.getLogger("some.library").warning("slow %s", "disk")
    logging.getLogger("some.library").log(25, "between")
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("apscheduler.executors").info("ran")
    first, second = lines(capsys)
    assert (first["event"], first["logger"], first["level"]) == ("slow disk", "some.library", "warning")
    assert (second["event"], second["level"]) == ("between", "info")


def test_the_console_format_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """On request lines are readable text, exceptions included, secrets still masked."""
    configure_logging("debug", json=False, secrets=[KEY])
    try:
        fail(KEY)
    except RuntimeError:
        get_logger("x").exception("task.lost", n=3)
    text = capsys.readouterr().err
    assert "task.lost" in text
    assert "RuntimeError: [redacted]" in text
    assert KEY not in text


def test_a_sink_gets_events_without_a_time() -> None:
    """A log with its own time gets the redacted fields, those of libraries too."""
    events: list[dict[str, object]] = []
    configure_logging("info", secrets=[KEY], sink=lambda event: events.append(dict(event)))
    get_logger("tracker.x").warning("task.advanced", task="01JD", key=KEY)
    get_logger("tracker.x").debug("too.small")
    logging.getLogger("some.library").error("it broke\nbadly")
    assert events == [
        {"event": "task.advanced", "level": "warning", "logger": "tracker.x", "task": "01JD", "key": MASK},
        {"event": "it broke\nbadly", "level": "error", "logger": "some.library"},
    ]


def test_reconfiguring_still_masks_old_secrets() -> None:
    """After a reload an answer may still contain the old key: both are masked."""
    redactor = configure_logging("info", json=True, secrets=[KEY])
    same = configure_logging("debug", json=True, secrets=["another-key-0123456789"], redactor=redactor)
    assert same is redactor
    assert redactor.text(f"{KEY} another-key-0123456789") == f"{MASK} {MASK}"
