"""The text of a body that is stored with an event."""

from tracker.domain.lenient_json.decoder import decode
from tracker.domain.upstream_http import WireReply, payload_text


def test_the_stored_text_of_a_body_is_strict_json() -> None:
    """The store and its JSON functions reject lone surrogates, NaN and byte order marks."""
    assert payload_text(rb'{"title":"cut \ud83d"}', bytes.decode) == '{"title":"cut \ufffd"}'
    assert payload_text(b'\xef\xbb\xbf{"a":NaN,"b":"x\ny"}', bytes.decode) == '{"a":null,"b":"x\\ny"}'
    assert payload_text(b'{"a": 1 }', bytes.decode) == '{"a": 1 }'


def test_the_stored_text_of_other_bodies_is_their_start() -> None:
    """Text in its own charset; of a truncated document, its start."""
    reply = WireReply(502, {"content-type": "text/plain; charset=gbk"}, "\u6210\u529f".encode("gbk"))
    assert payload_text(reply.body, bytes.decode, reply.decoded) == '{"not_json":"\u6210\u529f"}'
    assert payload_text(b'{"a":"b', bytes.decode, decode(b'{"a":"b')) == '{"not_json":"{\\"a\\":\\"b"}'
    assert payload_text(b" \n", bytes.decode) is None
