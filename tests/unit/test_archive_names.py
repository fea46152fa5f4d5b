"""Names, types and expiries of archived files; which addresses are public; data that leaves a payload."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kits.clock import START, after
from tests.kits.factories import TASK_ID, make_output, make_task
from tracker.archive.expiry import expiry_of, shown_expiry
from tracker.archive.media import is_wrong_type, mime_of, sniff
from tracker.archive.names import SLUG_MAX_BYTES, directory_of, file_name, partial_key, slug_of
from tracker.archive.partial import DigestMismatch, Partial, PartialFiles, version_of
from tracker.domain.archives import all_stored, is_file, renew_urls
from tracker.domain.media_types import UNKNOWN, extension_of, is_safe_inline
from tracker.domain.outputs import has_inline_data, output_identity, reference_of, strip_inline_data, strip_payload_text
from tracker.domain.task import Output, Status, TaskId
from tracker.errors import ArchiveStorageUnavailable
from tracker.sandbox.media import Media, make_media
from tracker.upstream.addresses import is_public


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Summer Breeze", "summer-breeze"),
        ("  A/B\\C:..  ", "a-b-c"),
        ("../../etc/passwd", "etc-passwd"),
        ("夏天的风", "夏天的风"),
        ("Ünïcode Ⅷ", "ünïcode-viii"),
        ("\0\n\x1b[31m", "31m"),
        ("---", ""),
        ("a" * 500, "a" * SLUG_MAX_BYTES),
        ("é" * 500, "é" * (SLUG_MAX_BYTES // 2)),
    ],
)
def test_slugs(title: str, slug: str) -> None:
    """Titles become readable names in one spelling, valid in a path."""
    assert slug_of(title) == slug


@given(st.text(), st.text(alphabet=st.characters(), max_size=40), st.integers(0, 999), st.integers(0, 9), st.text())
def test_no_name_leaves_its_directory(title: str, kind: str, n: int, again: int, task_id: str) -> None:
    """For any title, the name is one short component below the task's directory."""
    name = file_name(n, Output(kind, title=title), extension_of("video/mp4"), again=again)
    directory = directory_of(TaskId(task_id))
    place = os.path.normpath(os.path.join("/archive", directory, name))  # noqa: PTH118
    assert place == f"/archive/{directory}/{name}"
    assert "/" not in name + directory
    assert "\0" not in name + directory
    assert not directory.startswith(".")
    assert len(name.encode()) < 200
    assert name.startswith(f"{n}-")
    assert name.endswith(".mp4")
    assert partial_key(TaskId(task_id), title).isalnum()


def test_names_without_a_title_and_again() -> None:
    """The kind replaces a missing title; a further file of the same name gets a number."""
    assert file_name(0, Output("video"), "mp4") == "0-video.mp4"
    assert file_name(3, Output("audio", title="Rain"), "mp3", again=1) == "3-rain-2.mp3"
    assert directory_of(TASK_ID) == TASK_ID


@pytest.mark.parametrize("media", Media)
def test_files_of_the_sandbox_are_detected(media: Media) -> None:
    """Every file of the sandbox shows its type."""
    head = make_media(media, "job", 0)[:512]
    assert sniff(head) == media.content_type
    assert extension_of(media.content_type) == media.value


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF89a\1\0", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x1cftypM4A ", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm", "video/webm"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"OggS\0\2", "audio/ogg"),
        (b"fLaC\0\0", "audio/flac"),
        (b"  <!doctype HTML><p>", "text/html"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "application/xml"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'>", "image/svg+xml"),
        (b'{"error": {"code": 1}}', "application/json"),
        (b"%PDF-1.7", "application/pdf"),
        (b"nothing known", None),
        (b"", None),
    ],
)
def test_sniffing(head: bytes, mime: str | None) -> None:
    """The first bytes show the type."""
    assert sniff(head) == mime


def test_the_best_source_decides_the_type() -> None:
    """The bytes, then the server, then the provider; meaningless types are ignored."""
    assert mime_of(b"GIF89a", "video/mp4", "video/mp4") == "image/gif"
    assert mime_of(b"??", "audio/x-wav; rate=8000", "audio/mpeg") == "audio/wav"
    assert mime_of(b"??", "application/octet-stream", "audio/mpeg") == "audio/mpeg"
    assert mime_of(b"??", "strange/thing", None) == UNKNOWN
    assert extension_of(UNKNOWN) == "bin"
    assert is_wrong_type("video", "text/html")
    assert not is_wrong_type("file", "text/html")
    assert is_safe_inline("video/mp4")
    assert not is_safe_inline("image/svg+xml")
    assert not is_safe_inline("text/html")


def test_when_urls_expire() -> None:
    """Signed URLs show their expiry in several forms; else the contract does."""
    end = datetime(2026, 11, 21, tzinfo=UTC)
    stamp = int(end.timestamp())
    for url in (
        f"https://a.example/x?Expires={stamp}&Signature=s",
        f"https://a.example/x?e={stamp}000",
        "https://a.example/x?X-Amz-Date=20261120T230000Z&X-Amz-Expires=3600",
        "https://a.example/x?x-goog-date=20261120T230000Z&x-goog-expires=3600",
        "https://a.example/x?se=2026-11-21T00%3A00%3A00Z",
        f"https://a.example/x?Expires={stamp + 99}&e={stamp}",
    ):
        assert shown_expiry(url) == end, url
    for url in ("https://a.example/x", "https://a.example/x?Expires=soon&se=x", "https://[", "x?X-Amz-Expires=5"):
        assert shown_expiry(url) is None
    film = make_task(status=Status.SUCCEEDED, provider="dashscope", finished_at=START)
    assert expiry_of(film, Output("video", "https://a.example/x"), after(9)) == START + timedelta(days=1)
    assert expiry_of(film, Output("image", inline="aGk="), START) is None
    assert expiry_of(make_task(provider="own"), Output("video", "https://a.example/x"), START) is None


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("no address", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    """Only globally routable addresses are public, also if embedded."""
    assert is_public(address) is public


def test_inline_data_is_removed_from_payloads() -> None:
    """Each copy of the data becomes a note, in any spelling; other texts stay; without outputs nothing changes."""
    data = os.urandom(700)
    text = base64.b64encode(data).decode()
    other = base64.b64encode(os.urandom(700)).decode()
    spelt = text.rstrip("=").replace("+", "-").replace("/", "_")
    payload = json.dumps({"a": [text, {"b": f"data:image/png;base64,{text}"}], "c": spelt, "d": other, "e": "short"})
    output = Output("image", inline=text)
    lighter = json.loads(strip_payload_text(payload, (make_output(), output)))
    note = lighter["a"][0]
    assert note.startswith("(output 1: ")
    assert lighter["a"][1]["b"].startswith("(output 1: ")
    assert lighter["c"].startswith("(output 1: ")
    assert (lighter["d"], lighter["e"]) == (other, "short")
    assert strip_payload_text(payload, (make_output(),)) is payload
    assert strip_payload_text("no json", (output,)) == "no json"
    (bare,) = strip_inline_data((output,))
    assert (has_inline_data(output), has_inline_data(bare)) == (True, False)
    assert bare.inline == reference_of(text) == reference_of(reference_of(text))
    assert output_identity(bare) == output_identity(output)
    assert strip_inline_data((bare,)) == (bare,)


def test_fresh_urls_do_not_change_identities() -> None:
    """Same path: only the query is new. Another path at the same position and kind: the identity stays."""
    known = (make_output(0, url="https://c.example/a?s=1"), make_output(1, url="https://c.example/b"))
    (one, two) = renew_urls(
        known, (make_output(url="https://c.example/b?s=2"), make_output(url="https://c.example/a?s=2"))
    )
    assert (one.url, one.identity_override, two.url) == ("https://c.example/a?s=2", None, "https://c.example/b?s=2")
    moved = renew_urls(known, (make_output(url="https://c.example/t/a"), make_output(url="https://c.example/t/b")))
    assert [output_identity(output) for output in moved] == ["https://c.example/a", "https://c.example/b"]
    again = renew_urls(moved, (make_output(url="https://c.example/t/b?9"), make_output(url="https://c.example/t/a?9")))
    assert [output.url for output in again] == ["https://c.example/t/a?9", "https://c.example/t/b?9"]
    assert [output_identity(output) for output in again] == ["https://c.example/a", "https://c.example/b"]
    assert renew_urls(known, (make_output(kind="video", url="https://c.example/z"),)) == known
    text = Output("text", text="la")
    assert renew_urls((text,), (Output("text", text="lo"),)) == (text,)


def test_all_files_are_stored() -> None:
    """All files, and at least one; texts do not count."""
    one, two, text = make_output(0), make_output(1), Output("text", text="la")
    assert all_stored((one, text), [output_identity(one)])
    assert not all_stored((one, two), [output_identity(one)])
    assert not all_stored((text,), [])
    assert not is_file(text)


def test_partial_files(tmp_path: Path) -> None:
    """They are found with their version, hashed completely, and deleted when they are old."""
    directory, key = tmp_path / "partial_dir", "k" * 32
    files = PartialFiles(directory)
    assert files.load() == 0
    partial = Partial(files, key)
    assert (partial.is_on_disk, partial.find()) == (False, None)
    partial.begin(version_of('"v1"/10'))
    partial.add(b"01234")
    partial.flush()
    partial.close()
    files = PartialFiles(directory)  # of another process
    assert files.load() == 0
    again = Partial(files, key)
    assert (again.is_on_disk, again.find()) == (True, (5, version_of('"v1"/10')))
    again.resume(version_of('"v1"/10'), 10)
    again.add(b"56789")
    complete = again.finish()
    assert (complete.size, again.head) == (10, b"0123456789")
    assert complete.sha256 == "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    other = Partial(files, key)
    other.begin(None)
    other.add(b"x")
    other.flush()
    other.close()
    assert Partial(files, key).find() is None, "without a version it cannot be resumed"
    (left,) = directory.iterdir()
    os.utime(left, (0, 0))
    assert files.load() == 1
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveStorageUnavailable):
        Partial(PartialFiles(tmp_path / "file" / "partial_dir"), "k").finish()


def test_a_small_file_is_written_once_it_is_complete(tmp_path: Path) -> None:
    """What fits into the buffer stays there; a file that was closed meanwhile is not written."""
    files = PartialFiles(tmp_path / "partial_dir")
    partial = Partial(files, "k")
    partial.begin(None, 6)
    partial.add(b"abc")
    partial.add(b"def")
    assert (partial.read(2, 3), partial.is_open, list(tmp_path.iterdir())) == (b"cde", False, [])
    finished = partial.finish([("md5", hashlib.new("md5", b"abcdef", usedforsecurity=False).digest())])
    assert (finished.path.read_bytes(), finished.size) == (b"abcdef", 6)
    canceled = Partial(files, "l")
    canceled.begin(None, 3)
    canceled.add(b"abc")
    canceled.close()
    with pytest.raises(ArchiveStorageUnavailable, match="the archive was stopped"):
        canceled.finish()
    assert list((tmp_path / "partial_dir").iterdir()) == [finished.path]


def test_a_file_with_another_digest_is_deleted(tmp_path: Path) -> None:
    """The digest that the server sent decides, whatever its algorithm."""
    for algorithm in ("md5", "sha256"):
        partial = Partial(PartialFiles(tmp_path), "k")
        partial.begin(None)
        partial.add(b"abc")
        with pytest.raises(DigestMismatch, match=algorithm):
            partial.finish([(algorithm, hashlib.new(algorithm, b"other", usedforsecurity=False).digest())])
        assert list(tmp_path.iterdir()) == []
