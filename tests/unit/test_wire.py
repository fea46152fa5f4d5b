"""Bodies as they are kept with an event."""

from tracker.domain.lenient_json.decoder import decode
from tracker.domain.upstream_http import WireReply, payload_text


def test_what_is_kept_of_a_body_is_strict_json() -> None:
    """The store and its JSON functions refuse halves of emoji, NaN and byte order marks."""
    assert payload_text(rb'{"title":"cut \ud83d"}', bytes.decode) == '{"title":"cut \ufffd"}'
    assert payload_text(b'\xef\xbb\xbf{"a":NaN,"b":"x\ny"}', bytes.decode) == '{"a":null,"b":"x\\ny"}'
    assert payload_text(b'{"a": 1 }', bytes.decode) == '{"a": 1 }'


def test_what_is_kept_of_a_body_without_json_is_its_beginning() -> None:
    """Text in its own charset; of a document that is cut off, what came."""
    reply = WireReply(502, {"content-type": "text/plain; charset=gbk"}, "\u6210\u529f".encode("gbk"))
    assert payload_text(reply.body, bytes.decode, reply.decoded) == '{"not_json":"\u6210\u529f"}'
    assert payload_text(b'{"a":"b', bytes.decode, decode(b'{"a":"b')) == '{"not_json":"{\\"a\\":\\"b"}'
    assert payload_text(b" \n", bytes.decode) is None
