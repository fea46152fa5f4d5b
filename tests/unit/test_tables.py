"""Tables of the command line: at any width, everything is shown, and ids are not split."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tracker.cli.tables import cells, table_lines

ID = "01JD0000000000000000000000"
COLUMNS = ("ID", "STATUS", "PATH", "AGE", "DETAIL")
ROWS = [
    (ID, "RUNNING", "/v1/videos/omni-video/{task_id}", "3 min", "the upstream said nothing that could be read"),
    ("id-2", "FAILED", "-", "12 s", ""),
]


def lay_out(width: int | None, rows: Sequence[Sequence[str]] = ROWS) -> list[str]:
    """The lines of a table."""
    return list(table_lines(COLUMNS, rows, width))


@pytest.mark.parametrize("width", [None, 140])
def test_a_table_that_fits_has_a_line_per_row(width: int | None) -> None:
    """Columns are aligned, and no line ends in blanks."""
    assert lay_out(width) == [
        f"ID{' ' * 26}STATUS   PATH{' ' * 29}AGE    DETAIL",
        f"{ID}  RUNNING  /v1/videos/omni-video/{{task_id}}  3 min  the upstream said nothing that could be read",
        f"id-2{' ' * 24}FAILED   -{' ' * 32}12 s",
    ]


def test_sentences_are_wrapped_first() -> None:
    """Other columns are not wrapped, nor are short texts of two words."""
    assert lay_out(110)[1:] == [
        f"{ID}  RUNNING  /v1/videos/omni-video/{{task_id}}  3 min  the upstream said nothing that",
        f"{' ' * 77}could be read",
        f"id-2{' ' * 24}FAILED   -{' ' * 32}12 s",
    ]


def test_columns_that_do_not_fit_are_on_further_lines() -> None:
    """They are indented, in headings and rows alike; an empty line is omitted."""
    assert lay_out(80) == [
        f"ID{' ' * 26}STATUS   PATH{' ' * 29}AGE",
        "    DETAIL",
        f"{ID}  RUNNING  /v1/videos/omni-video/{{task_id}}  3 min",
        "    the upstream said nothing that could be read",
        f"id-2{' ' * 24}FAILED   -{' ' * 32}12 s",
    ]


@pytest.mark.parametrize("width", range(1, 130))
def test_nothing_is_lost_at_any_width(width: int) -> None:
    """Every character is shown, and no line is longer than the terminal."""
    lines = lay_out(width)
    shown = "".join("".join(lines).split())
    for text in (word for row in (COLUMNS, *ROWS) for cell in row for word in cell.split()):
        assert text in shown or width < 40
    assert len(shown) == len("".join("".join(cell.split()) for row in (COLUMNS, *ROWS) for cell in row))
    assert max(map(len, lines)) <= max(width, 28)
    if width >= 30:
        assert any(ID in line for line in lines)


def test_wide_characters_take_two_cells() -> None:
    """A Chinese title does not shift the columns after it."""
    first, second = lay_out(None, [("夏の風", "a", "b", "c", "d"), ("x", "a", "b", "c", "d")])[1:]
    assert (cells(first), cells(second)) == (len(second), len(second))
    assert cells("e\u0301") == 1


def test_colours_do_not_shift_columns() -> None:
    """They surround the text, not its padding."""
    lines = list(table_lines(("A", "B"), [("x", "yy")], None, cell=lambda column, text: f"<{column}{text}>"))
    assert lines == ["A  B", "<0x>  <1yy>"]
