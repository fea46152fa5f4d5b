"""No value leads a declared call out of its path: whatever a request, a reply or an id says."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from tracker.domain.task import ExternalId
from tracker.errors import PayloadInvalid
from tracker.providers.declared.placeholders import Values

NAUGHTY = st.lists(
    st.sampled_from(["..", ".", "/", "\\", "?", "#", "%2e", "%2F", "@", ":", "//", " ", "é", "a", "\r\n"])
)
ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1)
"""With lone surrogates, which lenient JSON lets through."""
VALUES = st.one_of(ANY_TEXT, NAUGHTY.map("".join), st.integers())


@given(value=VALUES, plus=st.booleans())
def test_a_value_stays_in_its_place(value: str | int, plus: bool) -> None:
    """The path before and after it is the same, and it adds no query, fragment, host or dot segment."""
    values = Values(request={"x": value})
    try:
        path = values.in_path(f"/v1/{{{'+' if plus else ''}request.x}}/end")
    except PayloadInvalid:
        return
    assert path.startswith("/v1/")
    assert path.endswith("/end")
    middle = path.removeprefix("/v1/").removesuffix("/end")
    assert middle.isascii()
    assert not set(middle) & set("?#\\ \r\n")
    segments = middle.split("/")
    assert plus or len(segments) == 1
    assert not {".", ".."} & {unquote(segment) for segment in segments}


@given(task_id=ANY_TEXT, plus=st.booleans())
def test_an_id_stays_in_its_place(task_id: str, plus: bool) -> None:
    """The same for the ids of upstreams; one that is a dot segment is escaped, since it was accepted."""
    values = Values(task_id=ExternalId(task_id))
    try:
        path = values.in_path(f"/v1/{{{'+' if plus else ''}task_id}}/end")
    except PayloadInvalid:
        return
    middle = path.removeprefix("/v1/").removesuffix("/end")
    assert not set(middle) & set("?#\\ \r\n")
    assert not {".", ".."} & set(middle.split("/"))
