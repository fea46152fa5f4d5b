"""The sandbox's inversion of JMESPath: a document in which given expressions find given values."""

import jmespath
import pytest

from tests.kits.sandbox import Body
from tracker.providers.declared.expressions import search
from tracker.sandbox.declared.answers import find_document
from tracker.sandbox.templates import fill

SAMPLE: Body = {"id": "id-1", "url": "https://files.example.com/1.mp4"}


@pytest.mark.parametrize(
    "expression",
    [
        "url",
        "data.url",
        "output[0]",
        "output[-1].url",
        "output[].url",
        "output[*].file.url",
        "output[1:3]",
        "output[][].url",
        "output.*.url",
        "files[?role == 'final'].href",
        "files[?role == 'final' && size > `10`].href | [0]",
        "files[?!deleted].href",
        "files[?contains(name, 'mp4')].url",
        "from_json(data.resultJson).resultUrls",
        "from_json(data.resultJson).list[0].url",
        "split(urls, ',')",
        "split(urls, ',')[1]",
        "not_null(a.url, b.url)",
        "sort_by(files, &n)[0].url",
        "max_by(files, &n).url",
        "a.url || b.url",
        "done && url",
        "[url, cover]",
    ],
)
def test_a_value_is_found_by_the_expression(expression: str) -> None:
    """The tracker's own reading of the document finds the value, alone or in a list."""
    document = find_document([(expression, "$url"), ("task.id", "$id")], SAMPLE)
    found = search(expression, fill(document, SAMPLE), "expression")
    assert SAMPLE["url"] in (found if isinstance(found, list) else [found])
    assert document["task"] == {"id": "$id"}


@pytest.mark.parametrize("word", ["running", "ok", "failed"])
def test_flags_are_set_so_that_they_make_the_status(word: str) -> None:
    """A status that is computed of flags is inverted, too, beside an error of the same name."""
    status = "done && (error && 'failed' || 'ok') || 'running'"
    wants = [(status, word)] + ([("error.code", "$id")] if word == "failed" else [])
    document = find_document(wants, SAMPLE)
    assert jmespath.search(status, document) == word


def test_filters_of_one_list_get_an_item_each() -> None:
    """Two outputs of one list are in two items."""
    wants = [("files[?role == 'a'].url", "$url"), ("files[?role == 'b'].url", "$id")]
    assert find_document(wants, SAMPLE) == {"files": [{"role": "a", "url": "$url"}, {"role": "b", "url": "$id"}]}


@pytest.mark.parametrize("expression", ["length(list)", "join('', parts)", "a == 'b'", "'literal'"])
def test_an_expression_without_inverse_has_no_document(expression: str) -> None:
    """No document is better than one in which the value is not found."""
    assert find_document([(expression, "$url")], SAMPLE) is None
