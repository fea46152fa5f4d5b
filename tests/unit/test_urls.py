"""URLs are sent unchanged: invalid characters are escaped, ambiguous hosts rejected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.domain.urls import escape_invalid
from tracker.upstream.urls import exact_url, follow

SIGNED = "?Policy=a%2Fb%2Bc&sig=%7Ex%2f"


@pytest.mark.parametrize(
    ("given_url", "origin", "target"),
    [
        ("https://h/a.mp4" + SIGNED, "https://h", "/a.mp4" + SIGNED),
        ("https://h/小猫.mp4" + SIGNED, "https://h", "/%E5%B0%8F%E7%8C%AB.mp4" + SIGNED),
        ("https://h/café/%28a%29%27.mp4", "https://h", "/caf%C3%A9/%28a%29%27.mp4"),
        ("http://h/caf\udce9.mp4", "http://h", "/caf%E9.mp4"),
        ('http://h/a b\t"<>\\^`{|}', "http://h", "/a%20b%09%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("http://h/[x]!*'();:@&=+$,~%zz%", "http://h", "/[x]!*'();:@&=+$,~%zz%"),
        ("http://h/a/../b/./c//d", "http://h", "/a/../b/./c//d"),
        ("http://h/x?", "http://h", "/x?"),
        ("http://h/x?a=1+2&b=%2b&c=?/#fragment", "http://h", "/x?a=1+2&b=%2b&c=?/"),
        ("http://h", "http://h", "/"),
        ("http://h?q=1", "http://h", "/?q=1"),
        (" https://h/x\r\n", "https://h", "/x"),
        ("HTTPS://H.Example:443/x", "https://h.example", "/x"),
        ("http://h:8080/x", "http://h:8080", "/x"),
        ("http://h:/x", "http://h", "/x"),
        ("http://[::1]:8/x", "http://[::1]:8", "/x"),
        ("http://小猫.example:8/x", "http://xn--yets15c.example:8", "/x"),
        ("http://my_bucket.example/x", "http://my_bucket.example", "/x"),
    ],
)
def test_a_url_is_unchanged(given_url: str, origin: str, target: str) -> None:
    """The host in its ASCII form, and the exact bytes of path and query."""
    url = exact_url(given_url)
    assert (f"{url.scheme}://{url.host_port_subcomponent}", url.raw_path_qs) == (origin, target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/x",
        "ftp://h/",
        "file:///etc/passwd",
        "http:h",
        "http:/h",
        "http:///x",
        "http://",
        "http:\\\\h/",
        "http://h\\x/",
        "http://h\\@other/",
        "http://user@h/",
        "http://user:word@h/",
        "http://h@127.0.0.1:80@other/",
        "http://h\t.example/",
        "http://h\n/",
        "http://a b/",
        "http://%31%32%37.0.0.1/",
        "http://h:80:80/",
        "http://h:99999/",
        "http://h:8x/",
        "http://[::1/",
        "http://[::1]x/",
        "http://\ud800/",
        "http://h/\ud800",
    ],
)
def test_a_url_that_programs_read_differently_is_rejected(text: str) -> None:
    """No host, no http, a user name, a host with odd characters."""
    with pytest.raises(ValueError, match=r"URL|surrogates"):
        exact_url(text)


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("https://cdn.example/小?sig=%7E#x", "https://cdn.example/%E5%B0%8F?sig=%7E"),
        ("//cdn.example/x%2f?", "https://cdn.example/x%2f?"),
        ("/y%2F?a=%2b", "https://h:8/y%2F?a=%2b"),
        ("/../y", "https://h:8/../y"),
        ("../y?b", "https://h:8/a/y?b"),
        ("y%20z", "https://h:8/a/b/y%20z"),
        ("./", "https://h:8/a/b/"),
        ("?q=%7E", "https://h:8/a/b/c?q=%7E"),
        ("#x", "https://h:8/a/b/c?x=1"),
        ("caf\udce9", "https://h:8/a/b/caf%E9"),
        ("/\\evil.example", "https://h:8/%5Cevil.example"),
        ("HTTP://other.example", "http://other.example/"),
    ],
)
def test_a_redirect_is_followed_exactly(location: str, leads_to: str) -> None:
    """Absolute, without a scheme, without a host, relative, with raw bytes: nothing is escaped twice."""
    assert str(follow(exact_url("https://h:8/a/b/c?x=1"), location)) == leads_to


@pytest.mark.parametrize("location", ["javascript:x", "ftp://h/", "//user@h/", "http:/x", "http://", "//"])
def test_a_redirect_to_another_scheme_is_rejected(location: str) -> None:
    """Another scheme, a user name, no host."""
    with pytest.raises(ValueError, match="URL"):
        follow(exact_url("https://h/"), location)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaping_is_done_once(text: str) -> None:
    """Escaping a second time changes nothing."""
    escaped = escape_invalid(text)
    assert escaped.isascii()
    assert escape_invalid(escaped) == escaped
