"""Two runs' notebooks, cell by cell: which cells are the same cell, and what differs in them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from taxi_nb.pipeline.report._notebook_diff import NotebookChange, notebook_change
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.pipeline.report.site import write_comparisons
from tests.pipeline.report.test_as_in_jupyterlab import PNG
from tests.pipeline.report.test_report import a_run

OTHER_PNG = base64.b64encode(base64.b64decode(PNG) + b"x").decode()


def code(source: str, *texts: str, **more: Any) -> Any:
    outputs = [new_output("stream", text=text) for text in texts]
    return new_code_cell(source, outputs=outputs, **more)


def figure(data: str, **more: Any) -> Any:
    output = new_output("display_data", {"image/png": data}, metadata={"image/png": {"alt": "F"}})
    return new_code_cell("plot()", outputs=[output], **more)


def compared(folder: Path, before: list[Any], after: list[Any], **how: Any) -> NotebookChange:
    sides = []
    for name, cells in (("before", before), ("after", after)):
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
        sides.append(ExecutedNotebook(folder / f"{name}.ipynb"))
    return notebook_change("a", *sides, **how)


def places(found: NotebookChange) -> list[tuple[int | None, int | None]]:
    return [(change.before, change.after) for change in found.cells]


def marked(found: NotebookChange, side: str) -> list[str]:
    """Return the words that are marked as different on a side."""
    rows = [row for change in found.cells for part in change.parts for row in part.rows]
    lines = [getattr(row, side) for row in rows]
    return [text for line in lines if line for text, changed in line if changed]


def test_cells_that_are_the_same_are_left_out(tmp_path: Path) -> None:
    same = [new_markdown_cell("# A"), code("f(1)", "one")]
    found = compared(tmp_path, [*same, code("g()", "rmse 4.5")], [*same, code("g()", "rmse 4.25")])
    assert places(found) == [(3, 3)]
    assert [part.name for part in found.cells[0].parts] == ["output"]
    assert (marked(found, "before"), marked(found, "after")) == (["4.5"], ["4.25"])
    assert found.compared == 3


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # A cell that is new, one that is gone; those after them are still the same.
        ([code("a()"), code("b()")], [code("a()"), code("x()"), code("b()")], [(None, 2)]),
        ([code("a()"), code("x()"), code("b()")], [code("a()"), code("b()")], [(2, None)]),
        # Edited: few words of many, all of them under the same id, or the only one at its place.
        (
            [code("load the trips of one month"), code("b()")],
            [code("new()"), code("load the trips of two months"), code("b()")],
            [(None, 1), (1, 2)],
        ),
        (
            [code("one", id="x"), code("two", id="y")],
            [code("new", id="z"), code("other words", id="y")],
            [(None, 1), (1, None), (2, 2)],
        ),
        ([code("a()"), code("old")], [code("a()"), code("new")], [(2, 2)]),
        # Prose never is code.
        ([new_markdown_cell("x")], [code("x")], [(None, 1), (1, None)]),
    ],
)
def test_cells_are_found_again_where_others_came_or_went(
    tmp_path: Path, before: list[Any], after: list[Any], expected: list[Any]
) -> None:
    for number, cell in enumerate([*before, *after]):
        if len(cell.id) > 1:
            cell.id = f"c{number}"
    assert sorted(places(compared(tmp_path, before, after)), key=str) == sorted(expected, key=str)


def test_long_texts_show_the_lines_around_a_change(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(40)]
    other = [*lines[:20], "another", *lines[21:]]
    found = compared(tmp_path, [code("f()", "\n".join(lines))], [code("f()", "\n".join(other))])
    rows = found.cells[0].parts[0].rows
    assert [row.skipped for row in rows] == [18, 0, 0, 0, 0, 0, 17]
    assert sum(row.changed for row in rows) == 1


def test_texts_without_end_stay_within_bounds(tmp_path: Path) -> None:
    texts = ["".join(f"{n * step}\n" for n in range(200_000)) for step in (1, 2)]
    found = compared(tmp_path, [code("f()", texts[0])], [code("f()", texts[1])])
    (part,) = found.cells[0].parts
    assert len(part.rows) == 200
    assert part.left_out > 0
    many = compared(tmp_path, [code(f"{n}") for n in range(300)], [])
    assert (len(many.cells), many.left_out) == (200, 100)


def test_a_tables_columns_may_move_without_being_different(tmp_path: Path) -> None:
    def table(*values: str) -> Any:
        rows = "".join(f"<tr><th>row</th><td>{value}</td><td>z</td></tr>" for value in values)
        return new_code_cell(
            "t", outputs=[new_output("display_data", {"text/html": f"<table>{rows}</table>"})]
        )

    found = compared(tmp_path, [table("1", "2")], [table("1", "2000")])
    assert (marked(found, "before"), marked(found, "after")) == (["2"], ["2000"])


def test_colours_states_and_pieces_are_no_difference(tmp_path: Path) -> None:
    pieces = code("f()", "\x1b[31mred\x1b[0m\n", "1 %\r", "100 %")
    assert not compared(tmp_path, [pieces], [code("f()", "red\n100 %")]).differs


def test_figures_are_paired_within_their_cell_and_the_same_ones_counted(tmp_path: Path) -> None:
    before = [figure(PNG, id="a"), figure(PNG, id="b"), figure(PNG, id="c")]
    after = [figure(PNG, id="a"), figure(OTHER_PNG, id="b"), code("plot()", id="c")]
    found = compared(tmp_path, before, after)
    pairs = [(bool(p.before), bool(p.after)) for change in found.cells for p in change.figures]
    assert pairs == [(True, True), (True, False)]
    assert found.same_figures == 1
    alone = compared(tmp_path, [code("1")], [code("2")], figures_alone=True)
    assert not alone.differs


def test_what_an_author_hides_is_counted_and_not_shown(tmp_path: Path) -> None:
    hide = {"metadata": {"tags": ["remove-output"]}}
    found = compared(tmp_path, [code("f()", "one", **hide)], [code("f()", "two", **hide)])
    assert (found.cells, found.hidden, found.differs) == ((), 1, True)


def test_parameters_given_by_the_pipeline_are_no_difference_of_cells(tmp_path: Path) -> None:
    given = {"metadata": {"tags": ["injected-parameters"]}}
    before, after = [code("seed = 1", **given)], [code("seed = 2", **given)]
    assert not compared(tmp_path, before, after).differs
    assert not compared(tmp_path, [], after).differs


def test_an_output_that_its_author_calls_varying_says_so(tmp_path: Path) -> None:
    source = "# varies: the machine's speed\nf()"
    found = compared(tmp_path, [code(source, "1 s")], [code(source, "2 s")])
    assert found.cells[0].varies == "the machine's speed"


def test_the_page_shows_both_sides_and_escapes_them(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> "
    before = a_run(tmp_path, "1", outputs=[new_output("stream", text=f"{hostile}1")])
    after = a_run(tmp_path, "2", outputs=[new_output("stream", text=f"{hostile}2")])
    (page,) = write_comparisons(after, [before])
    text = page.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <del>1</del>" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <ins>2</ins>" in text
    assert "<script>alert" not in text


def test_steps_that_one_run_alone_has_or_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    before, after = a_run(tmp_path, "1"), a_run(tmp_path, "2")
    (before / "01_a.ipynb").write_text("{")
    (page,) = write_comparisons(after, [before])
    assert "Not compared: the run 1 has one that cannot be read." in page.read_text()
    (before / "01_a.ipynb").unlink()
    (page,) = write_comparisons(after, [before])
    assert "Not compared: the run 1 has none." in page.read_text()


def test_nothing_that_is_hidden_can_be_found(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "1")
    cells = [
        code("visible = 1", "the secret text", metadata={"tags": ["remove-output"]}),
        code("secret = 1", metadata={"tags": ["remove-cell"]}),
        code("f()", "<script>shown</script>"),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "01_a.ipynb")
    write_comparisons(folder, [])
    page = (folder / "search.html").read_text()
    index = page[page.index("<ol") :]
    assert "visible = 1" in index
    assert "secret" not in index
    assert "&lt;script&gt;shown&lt;/script&gt;" in index
    assert "valid_rmse = 6.5" in index
