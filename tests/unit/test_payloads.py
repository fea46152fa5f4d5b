"""What is stored of bodies from outside: no secrets, no data of outputs; large ones are processed beside the loop."""

import asyncio
import base64
import json
import threading
from typing import Any

import pytest

from tracker.domain.lenient_json.decoder import Decoded, decode
from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.observation import Reading
from tracker.domain.outputs import reference_of
from tracker.domain.task import Output
from tracker.logs import MASK, Redactor
from tracker.upstream.payloads import BEGINNING_CHARS, Payloads

Json = Any

KEY = "no-real-key-4711"
DATA = base64.b64encode(b"pixels of an image " * 4000).decode()


async def read(body: bytes, *outputs: Output) -> tuple[Reading, str | None]:
    """Read a body that holds these outputs."""
    payloads = Payloads(Redactor([KEY]))
    reading, payload = await payloads.read(body, lambda: Reading(outputs=outputs), lambda: decode(body))
    return reading, payload() if callable(payload) else payload


@pytest.mark.parametrize(
    "data", [DATA, DATA.rstrip("="), f"data:image/png;base64,{DATA}", DATA[:70] + "\n" + DATA[70:]]
)
async def test_inline_data_and_secrets_leave_large_payloads(data: str) -> None:
    """The data is named, each secret is masked, at each depth of JSON in strings; the rest stays as it was."""
    inner = json.dumps({"apiKey": "hush-4712", "note": "fine"})
    body = {
        "image": data,
        "echo": KEY,
        "token": "hush-4713",
        "inner": inner,
        "text": "words " * 9000,
        "n": [1, 2.5, None],
    }
    output = Output("image", inline=DATA)
    reading, text = await read(json.dumps(body).encode(), output)
    assert text is not None
    shown = json.loads(text)
    assert (
        shown["image"] == f"(output 0: {len(data.partition(',')[2] or data)} characters of base64, stored in its file)"
    )
    assert (shown["echo"], shown["token"]) == (MASK, MASK)
    assert json.loads(shown["inner"]) == {"apiKey": MASK, "note": "fine"}
    assert (shown["text"], shown["n"]) == (body["text"], body["n"])
    assert [each.identity_override for each in reading.outputs] == [reference_of(DATA)]


async def test_the_text_of_a_small_body_is_made_on_demand() -> None:
    """Reading a small body neither decodes nor masks its payload; the text of a large body is ready at once."""
    decodings: list[bytes] = []

    def decoded(body: bytes) -> Decoded:
        decodings.append(body)
        return decode(body)

    payloads = Payloads(Redactor([KEY]))
    small, large = (json.dumps({"echo": KEY, "pad": "x" * n}).encode() for n in (10, LARGE_BYTES))
    _, payload = await payloads.read(small, Reading, lambda: decoded(small))
    assert decodings == []
    assert callable(payload)
    assert json.loads(payload() or "")["echo"] == MASK
    _, text = await payloads.read(large, Reading, lambda: decoded(large))
    assert decodings == [small, large]
    assert isinstance(text, str)


async def test_only_large_bodies_leave_the_event_loop() -> None:
    """A thread costs more than a small body does; large ones are processed one at a time."""
    payloads = Payloads(Redactor())
    under_way: list[int] = []

    def work() -> tuple[int, int]:
        under_way.append(1)
        seen = len(under_way)
        under_way.pop()
        return threading.get_ident(), seen

    here = threading.get_ident()
    assert await payloads.run(LARGE_BYTES, work) == (here, 1)
    others = await asyncio.gather(*(payloads.run(LARGE_BYTES + 1, work) for _ in range(5)))
    assert here not in {thread for thread, _ in others}
    assert {seen for _, seen in others} == {1}


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"<html>" + b"token=hush-4712 and more " * 4000, {"not_json"}),
        (b'{"id":"x","cut":"' + b"A" * 90_000, {"not_json"}),
    ],
)
async def test_the_beginning_of_what_is_not_json_is_stored(body: bytes, stored: set[str]) -> None:
    """As of a small body, and masked."""
    _, text = await read(body)
    assert text is not None
    assert set(json.loads(text)) == stored
    assert "hush-4712" not in text


@pytest.mark.parametrize("size", [9, 90_000])
@pytest.mark.parametrize(("depth", "stored"), [(100, list), (101, dict), (300, dict), (5000, dict)])
async def test_only_the_digest_of_deep_nesting_is_stored(size: int, depth: int, stored: type) -> None:
    """No walk runs out of stack, and what is stored is JSON that can be part of other JSON."""
    _, text = await read(b"[" * depth + b'"%s"' % (b"A" * size) + b"]" * depth)
    assert text is not None
    assert isinstance(json.loads(text), stored)
    assert stored is list or "AAAA" not in text


async def test_deep_nesting_is_masked() -> None:
    """The redactor masks what is deeper than it looks."""
    _, text = await read(b"[" * 90 + b'"%s"' % (b"A" * 90_000) + b"]" * 90)
    assert text is not None
    assert MASK in text
    assert "AAAA" not in text


def test_only_the_beginning_of_an_untrusted_body_is_processed() -> None:
    """Masked after the cut, and nothing of a secret that the cut goes through remains."""
    payloads = Payloads(Redactor([KEY]))
    for before in range(BEGINNING_CHARS - 40, BEGINNING_CHARS + 1, 3):
        start = '{"id":"x","pad":"'
        body = f'{start}{"p" * (before - len(start))}{KEY}","secret":["hush-4712"],"more":"{"m" * 900_000}"}}'
        stored = payloads.beginning(body.encode())
        assert len(stored) <= BEGINNING_CHARS
        assert stored.startswith(start)
        assert KEY[:6] not in stored
        assert "hush" not in stored
