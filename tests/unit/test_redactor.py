"""The redactor against hostile texts: callbacks are untrusted."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.logs import MASK, OwnText, Redactor
from tracker.logs.scanner import CONTEXT, WINDOW, Budget, find_secrets, windows

SIZE = 1_000_000
"""Bytes of the largest callback. Non-linear work would take minutes, and pytest stops the test."""

ROWS_OF_BACKSLASHES = "".join(f'secret:{chr(92) * (2 * n)}"x ' for n in range(1, 1000))

KEY = "no-real-key-4711"
TOKEN = "generate.01JD0000000000000000000000.0123456789abcdef0123456789abcdef"
MANY_QUOTES = "".join("token=" + "\\" * n + quote for n in range(128) for quote in "\"'")

HOSTILE = {
    "quotes that close no other": (MANY_QUOTES + "x" * 65_536) * (SIZE // 84_000),
    "blanks after each name": ("token" + " " * 1000) * (SIZE // 1005),
    "blanks after each bearer": ("bearer" + " " * 1000) * (SIZE // 1006),
    "names with backslashes": ("token" + "\\" * 2000) * (SIZE // 2005),
    "assignments": "token=" * (SIZE // 6),
    "assigned quotes": "token='\"" * (SIZE // 8),
    "masked already": "token=[redacted] " * (SIZE // 17),
    "masked bearers": "token: bearer [redacted" * (SIZE // 22),
    "harmless values": "token=nullx" * (SIZE // 11),
    "basic credentials": "authorization: basic " * (SIZE // 21),
    "encoded slashes": "%2525252fcallbacks%252f" * (SIZE // 23),
    "slashes of callbacks": "/callbacks" + "\\" * SIZE,
    "callbacks in callbacks": "/callbacks/a/callbacks/[redacted]" * (SIZE // 33),
    "keys": "key" * (SIZE // 3),
    "signing secrets": "whsec_" * (SIZE // 6),
    "base64": "AAAAkeyAAAAtokenAAAA" * (SIZE // 20),
    "escaped letters": "\\u006b" * (SIZE // 6),
    "backslashes": "secret" + "\\" * SIZE,
    "shorter rows of backslashes": ("secret" + "\\" * 1000 + "x") * (SIZE // 1000),
    "quotes of every depth, never closed": ROWS_OF_BACKSLASHES,
    "escaped quotes": 'secret:"' + 'x\\"secret:' * (SIZE // 10),
    "two kinds of quotes": "secret:'\"" * (SIZE // 9),
    "callbacks": "/callbacks/" * (SIZE // 11),
    "callbacks without an end": "/callbacks/" + "a." * (SIZE // 2),
    "escaped callbacks": "%2fcallbacks%2faaaa" * (SIZE // 19),
    "blanks": "secret" + " " * SIZE,
    "bearers": "bearer " * (SIZE // 7),
    "beginnings of keys": "sk-" * (SIZE // 3),
    "names of keys": "api-key-" * (SIZE // 8),
    "brackets": "[" * SIZE,
    "objects without an end": '{"secret":' * (SIZE // 10),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("look", [Redactor.text, Redactor.json_text])
def test_hostile_texts_take_linear_time(look: Callable[[Redactor, str], str], hostile: str) -> None:
    """A body of the largest size, plain and as a string in JSON, is searched in one pass."""
    redactor = Redactor(["no-real-key-4711"])
    for text in (hostile, json.dumps({"text": hostile})):
        assert look(redactor, text)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_the_work_grows_with_the_text_only(hostile: str) -> None:
    """Four times the text takes about four times the CPU time, not sixteen times."""
    redactor = Redactor([KEY])

    def cost_s(text: str) -> float:
        spent = []
        for _ in range(2):
            started = time.thread_time()  # CPU time of other processes does not count
            redactor.text(text)
            spent.append(time.thread_time() - started)
        return min(spent)

    assert cost_s(hostile[: SIZE // 3]) < 10 * max(cost_s(hostile[: SIZE // 12]), 0.01)


@given(st.text(alphabet="ab\\\"'=: /.", max_size=200), st.integers(0, 300))
def test_the_steps_of_a_text_are_bounded_by_its_length(noise: str, times: int) -> None:
    """Each character takes at most one step, so the budget limits the length."""
    text = f"token={noise}secret:'" * times
    list(find_secrets(text, Budget(len(text) + 1)))


def test_no_call_searches_more_than_a_window() -> None:
    """The interpreter lock is released between windows; together they cover every position with its context."""
    text = "".join(map(str, range(100_000)))
    pieces = list(windows(text))
    assert max(map(len, pieces)) <= WINDOW + 2 * CONTEXT
    assert "".join(piece[CONTEXT if n else 0 :][:WINDOW] for n, piece in enumerate(pieces)) == text


SPELLINGS = {
    "literal": (KEY, KEY),
    "pair": ('"api_key": "hush-4712-hush"', "hush-4712-hush"),
    "escaped pair": (r"\"Password\": \"hush-4712-hush\"", "hush-4712-hush"),
    "twice escaped pair": (r"\\\"apiKey\\\":\\\"hush-4712 hush\\\"", "hush-4712 hush"),
    "query": ("?access_token=hush4712hush&", "hush4712hush"),
    "bearer": ("Bearer hush4712hush", "hush4712hush"),
    "basic": ("Authorization: Basic aHVzaDQ3MTI=", "aHVzaDQ3MTI="),
    "key": ("sk-hush4712hush", "hush4712hush"),
    "signing secret": ("whsec_aHVzaDQ3MTI=", "aHVzaDQ3MTI"),
    "callback": (f"/callbacks/suno/{TOKEN}", TOKEN),
    "escaped callback": (rf"\/callbacks\/suno\/{TOKEN}", TOKEN),
    "encoded callback": (f"%2Fcallbacks%2Fsuno%2F{TOKEN}", TOKEN),
    "twice encoded callback": (f"%252Fcallbacks%252Fsuno%252F{TOKEN}", TOKEN),
    "unclosed": ('"secret": "hush 4712', "hush 4712"),
    "header": ("X-Api-Key: hush4712hush", "hush4712hush"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_across_the_border_of_a_window_is_masked(spelling: str) -> None:
    """At any position, in text and in JSON."""
    written, secret = SPELLINGS[spelling]
    redactor = Redactor([KEY])
    for border in (2 * WINDOW, 3 * WINDOW):
        for before in range(0, len(written) + 8, 3):
            start = border - before
            text = "." * (start - 1) + " " + written + " " + "." * (4 * WINDOW - start)
            assert secret not in redactor.text(text)
            if before % 15 == 0:
                assert secret not in str(redactor.value({"deep": [text]}))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_head_shows_no_part_of_a_secret_at_its_end(spelling: str) -> None:
    """A secret that the end of a head cuts is masked."""
    written, secret = SPELLINGS[spelling]
    redactor = Redactor([KEY])
    for length in range(100, 110 + len(written), 2):
        text = "." * 100 + " " + written + " " + "," * 100_000
        head = redactor.head(text, length)
        assert head.startswith("." * 100)
        assert len(head) <= length
        for size in range(4, len(secret) + 1):
            assert not head.endswith(secret[:size])
        assert secret not in head


@pytest.mark.parametrize(
    "value",
    [
        '["hush-4712"]',
        '{"user":"hush-4712"}',
        '[["a]}"],{"b\\\\\\"]":["hush-4712"]}]',
        '["x", "hush-4712',
        "{'u': 'hush-4712'}",
    ],
)
def test_a_list_or_an_object_that_is_assigned_is_masked(value: str) -> None:
    """Truncated JSON is plain text, and a secret may be nested under its name."""
    for text in (f'{{"credentials": {value}', json.dumps(f'{{"credentials": {value}')[1:-1]):
        assert "hush" not in Redactor().text(text)
        assert Redactor().text(text + ', "n": 1').startswith(text[:14])


def test_a_head_undoes_the_escapes_of_letters() -> None:
    """Truncated JSON cannot be decoded, and the name of a key may be escaped."""
    assert "hush" not in Redactor().head('{"p\\u0061ssword":"hush-4712","text":"' + "x" * 100_000, 1000)


@given(
    st.lists(st.text(alphabet=st.characters(exclude_characters="\\\"'", exclude_categories=["Cs"])), max_size=5),
    st.sampled_from(sorted(SPELLINGS)),
    st.integers(0, 3),
    st.integers(0, 200),
)
def test_a_planted_secret_never_survives(parts: list[str], spelling: str, depth: int, shift: int) -> None:
    """In any text, at any depth of JSON in JSON, near the border of a window."""
    written, secret = SPELLINGS[spelling]
    redactor = Redactor([KEY])
    filler = "~" * (2 * WINDOW - shift)
    for text in (f"{' '.join(parts)} {written} {' '.join(parts)}", f"{filler} {written}"):
        for _ in range(depth):
            text = json.dumps({"text": text, "n": 1})  # noqa: PLW2901
        assert secret not in redactor.json_text(text)
        assert secret not in redactor.text(text)


@pytest.mark.parametrize(
    "word",
    [
        *("/callbacks/", "Authorization", "client_secret", "passwd", "passphrase", "credentials", "Bearer", "whsec_"),
        *("token", "api_key", "apikey", "Access-Key", "signing key", "sk-abcdefgh"),
    ],
)
def test_each_key_word_makes_a_text_suspicious(word: str) -> None:
    """Whatever is around it, and beside counters of tokens."""
    for text in (word, f'{{"total_tokens":1,"create":"{word}"}}', f"skies, {word} and keys"):
        assert Redactor().is_suspicious(text)


@given(
    before=st.text(max_size=20),
    secret=st.sampled_from(
        ["my-Secret-0001", "WHSEC_b64==", "x/callbacks/y", "forBearer", "\u0130passwordI", "Credentials77"]
    ),
    after=st.text(max_size=20),
    padding=st.sampled_from([0, WINDOW - 10, 2 * WINDOW]),
)
def test_a_secret_with_a_key_word_in_it_is_masked_anywhere(before: str, secret: str, after: str, padding: int) -> None:
    """Such a secret is recognized by the key word, whatever is around it."""
    text = f"{before}{' ' * padding}{secret}{after}"
    redactor = Redactor([secret])
    assert redactor.is_suspicious(text)
    assert secret not in redactor.text(text)
    assert secret not in redactor.known_secrets(text)


@given(st.text(alphabet="xyz {}[]\\\"',:=/.%-_0123456789\u00e9\u4e00", max_size=300), st.integers(1, 600))
def test_a_text_without_secrets_is_unchanged(text: str, times: int) -> None:
    """Nothing is rewritten if nothing is masked, even in long texts."""
    redactor = Redactor([KEY])
    long = text * times
    assert redactor.text(long) is long
    assert redactor.json_text(long) is long
    assert redactor.known_secrets(long) is long


def test_json_in_json_in_json_shares_one_limit_of_depth() -> None:
    """Ten levels of JSON in strings, each sixty deep, are masked without a stack overflow."""
    value: object = 1
    for _ in range(10):
        for _ in range(60):
            value = [value]
        value = json.dumps(["token", value, KEY])
    masked = Redactor([KEY]).json_text(f'{{"task_id":"n","x":{value}}}')
    assert json.loads(masked)["task_id"] == "n"
    assert KEY not in masked


def test_a_text_that_fails_is_masked_completely() -> None:
    """An object without a text, and more key words than the budget allows."""

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError(KEY)

    redactor = Redactor([KEY])
    assert redactor.value([Odd()]) == MASK
    assert redactor.event(None, "info", {"event": "x", "odd": Odd()}) == {"event": MASK}
    costly = "token " * 1_100_000
    assert redactor.text(costly + KEY).startswith(f"{MASK} {len(costly) + len(KEY)} characters, sha256 ")
    assert json.loads(redactor.json_text(json.dumps([costly]))).startswith(MASK)


def test_letters_of_a_name_may_be_escaped() -> None:
    """JSON may write every letter as an escape."""
    assert json.loads(Redactor().json_text(r'{"p\u0061ssword":"hush"}')) == {"password": MASK}
    inner = json.dumps({"inner": r'{"\u0074oken":"hush"}'})
    assert "hush" not in Redactor().json_text(inner)


def test_names_in_own_texts_are_not_masked() -> None:
    """A sentence, not a value, follows the name of a file or key; known secrets and keys are masked."""
    problem = "/etc/credstore/ANYINT_API_KEY: accounts.default.api_key_env cannot be read; callbacks.secret: restart"
    event = Redactor([KEY]).event(None, "info", {"event": "x", "problem": OwnText(problem)})
    assert event == {"event": "x", "problem": problem}
    leak = OwnText(f"api_key_env: {KEY} and sk-abcdefgh1234 are not names")
    assert Redactor([KEY]).value([leak]) == [f"api_key_env: {MASK} and {MASK} are not names"]


@pytest.mark.parametrize("slash", ["/", "\\/", "\\\\/", "\\\\\\/", "%2F", "%2f"])
def test_a_callback_token_is_masked_however_its_slashes_are_written(slash: str) -> None:
    """Plain, escaped in JSON, in JSON inside JSON, and in a URL inside a URL."""
    address = slash.join(["https:", "", "x.example", "callbacks", "kling", "t0ken.abc"])
    assert Redactor().text(f"to {address} now") == f"to {address.replace('t0ken.abc', '[redacted]')} now"


@pytest.mark.parametrize("depth", range(8))
def test_a_pair_is_masked_at_every_depth_of_json(depth: int) -> None:
    """JSON in JSON in JSON: each level escapes the quotes of the one below."""
    text = json.dumps({"password": "hush-hush", "kept": "news"})
    for _ in range(depth):
        text = json.dumps(text)
    masked = Redactor().text(text)
    assert "hush-hush" not in masked
    assert "news" in masked


def test_only_configured_secrets_are_masked_in_paid_texts() -> None:
    """A text about ``sk-…`` keys is unchanged; the real key is masked."""
    redactor = Redactor(["no-real-key-4711"])
    sentence = 'Her password: "sk-abcdefghijkl", he said.'
    assert redactor.known_secrets(sentence) is sentence
    assert redactor.known_secrets("It was no-real-key-4711.") == "It was [redacted]."


@pytest.mark.parametrize(
    "written",
    [
        "no/real%2Bkey%3D+4711",
        "no%2freal%2bkey%3d%204711",
        "no%252Freal%252Bkey%253D%25204711",
        "no%252freal%252bkey%253d%25204711",
        "no/real%2Bkey%3D%204711",
    ],
)
def test_a_secret_is_masked_in_each_form_of_urls(written: str) -> None:
    """Libraries escape different characters with different case, and URLs contain URLs."""
    assert Redactor(["no/real+key= 4711"]).text(f"GET /x?q={written} failed") == f"GET /x?q={MASK} failed"


@pytest.mark.parametrize("slashes", [1, 2, 4])
@pytest.mark.parametrize("look", [Redactor.text, Redactor.json_text, lambda redactor, text: redactor.head(text, 500)])
def test_a_secret_with_escaped_letters_is_masked_in_plain_text(
    look: Callable[[Redactor, str], str], slashes: int
) -> None:
    """JSON encoders escape characters such as ``+`` and ``=``, and output of hooks is not parsed."""
    row = "\\" * slashes
    written = f"no{row}u002Breal{row}u002bkey{row}u003D4711"
    assert look(Redactor(["no+real+key=4711"]), f"sent {written} there") == f"sent {MASK} there"
    plain = f"caf{row}u00e9 {row}u0041"
    assert look(Redactor([KEY]), plain) in {plain, f"caf{row}u00e9 A"}
