"""What of two outputs counts as the same, and how a difference is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.review.verify._cells import CellComparison, compare_cells, text_difference


def compared(tmp_path: Path, old: list[Any], new: list[Any], source: str = "1") -> CellComparison:
    """Compare two notebooks of one cell each."""
    sides = []
    for name, outputs in (("old", old), ("new", new)):
        cell = nbformat.v4.new_code_cell(source, outputs=outputs)
        path = tmp_path / f"{name}.ipynb"
        path.write_text(json.dumps(nbformat.v4.new_notebook(cells=[cell])))
        sides.append(ExecutedNotebook(path))
    return compare_cells(sides[0], sides[1], (str, str))


def shown(**data: Any) -> Any:
    kinds = {kind.replace("_", "/"): content for kind, content in data.items()}
    return nbformat.v4.new_output("display_data", kinds)


def printed(text: str, name: str = "stdout") -> Any:
    return nbformat.v4.new_output("stream", name=name, text=text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # How what is printed is cut into pieces, and which stream came first, is chance.
        (
            [printed("one\n"), printed("two\n"), printed("no", "stderr")],
            [printed("no", "stderr"), printed("one\ntwo\n")],
        ),
        # pandas draws the ids of a styled table.
        (
            [shown(text_html='<td id="T_1f2e3_row0_col0">1</td><td id="T_1f2e3_row0_col1">')],
            [shown(text_html='<td id="T_99abc_row0_col0">1</td><td id="T_99abc_row0_col1">')],
        ),
        ([shown(application_json={"a": 1, "b": 2})], [shown(application_json={"b": 2, "a": 1})]),
    ],
)
def test_what_says_the_same_is_the_same(tmp_path: Path, old: list[Any], new: list[Any]) -> None:
    assert compared(tmp_path, old, new).differences == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([printed("a 1.5\nb 2")], [printed("a 1.5\nb 2.25")], "1 of 2 numbers differ, by up to"),
        ([printed("a")], [], "cell 1: no longer there"),
        ([], [printed("a")], "cell 1: only now"),
        ([shown(text_plain="a")], [shown(text_html="a")], "shown as text/html, not as text/plain"),
        # The plainest form tells it, once.
        (
            [shown(text_html="<b>1</b>", text_plain="1")],
            [shown(text_html="<b>2</b>", text_plain="2")],
            "cell 1: text/plain: 1 of 1 numbers differ",
        ),
        ([shown(image_png="bm8=")], [shown(image_png="bm9v")], "cannot be decoded"),
    ],
)
def test_a_difference_is_told_once(
    tmp_path: Path, old: list[Any], new: list[Any], told: str
) -> None:
    (difference,) = compared(tmp_path, old, new).differences
    assert told in difference


def test_only_a_comment_that_says_what_varies_leaves_a_cell_out(tmp_path: Path) -> None:
    one, other = [printed("1")], [printed("2")]
    left_out = compared(tmp_path, one, other, "x = 1\n# varies: the weather\nprint(x)").left_out
    assert [(left.cell, left.what) for left in left_out] == [(1, "the weather")]
    for source in ("# varies:", "'# varies: the weather'", "# it varies: much"):
        assert compared(tmp_path, one, other, source).differences


def test_lines_are_told_where_words_differ() -> None:
    told = text_difference("one\ntwo\nthree", "one\n2\nthree\nfour")
    assert told == "line 2: 'two' -> '2', and 1 more lines"
