"""The table of media types, and which outputs the archive chooses by default."""

import pytest

from tests.kits.factories import make_output, make_task
from tracker.archive.archiver import choose_all, choose_inline
from tracker.archive.expiry import expiry_of
from tracker.domain.media_types import EXTENSIONS, canonical_type, extension_of, is_media, media_type_of


def test_extensions_are_unique() -> None:
    """One extension names one media type, so the table can be read in both directions."""
    assert len(set(EXTENSIONS.values())) == len(EXTENSIONS)
    for mime, extension in EXTENSIONS.items():
        assert extension_of(mime) == extension
        assert media_type_of(extension.upper()) == (mime if is_media(mime) else None)


@pytest.mark.parametrize(
    ("declared", "mime"),
    [
        (None, ""),
        ("", ""),
        ("Video/MP4; codecs=avc1", "video/mp4"),
        (" audio/x-wav ", "audio/wav"),
        ("image/jpg", "image/jpeg"),
        ("made/up", "made/up"),
    ],
)
def test_declared_types(declared: str | None, mime: str) -> None:
    """Parameters, case and aliases do not matter."""
    assert canonical_type(declared) == mime


def test_every_alias_resolves_to_a_known_type() -> None:
    """The archive has an extension for each type that an alias means."""
    for alias in ("audio/mp3", "audio/opus", "video/avi", "image/pjpeg", "text/xml", "application/x-gzip"):
        assert extension_of(canonical_type(alias)) != "bin"


def test_a_disabled_archive_chooses_inline_outputs_only() -> None:
    """Outputs with a URL are archived if the archive is enabled; inline ones always."""
    task, linked = make_task(), make_output()
    inline = make_output(url=None, inline="AAAA")
    assert choose_inline(task, linked) is None
    assert choose_inline(task, inline) == choose_all(task, inline)
    assert choose_all(task, linked).expires_at == expiry_of(task, linked, task.progress_at)
