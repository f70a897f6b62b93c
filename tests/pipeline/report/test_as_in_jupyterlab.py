"""A notebook's page shows what JupyterLab shows: pictures, links, progress, and what is hidden."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from taxi_nb.pipeline.record import Status, StepError, StepResult
from taxi_nb.pipeline.report.notebook_page import write_notebook_page
from taxi_nb.pipeline.report.site import write_site
from tests.conftest import Project
from tests.running import Run, run_record

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg+M/A8B8ABQEBASj1saUAAAAASUVORK5C"
PNG += "YII="
SVG = "<svg xmlns='http://www.w3.org/2000/svg'/>"
STEP = StepResult(
    "a", "notebooks/a.ipynb", status=Status.OK, executed_notebook="a.ipynb", html="a.html"
)


def page_of(folder: Path, *cells: Any, step: StepResult = STEP) -> str:
    """Return the article of a notebook's page: what stands between its head and its foot."""
    folder.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), folder / "a.ipynb")
    write_notebook_page(folder / "a.ipynb", folder / "a.html", step=step)
    page = (folder / "a.html").read_text()
    return page[page.index("<article") : page.index("<footer")]


def printed(*pieces: tuple[str, str]) -> Any:
    outputs = [new_output("stream", name=name, text=text) for name, text in pieces]
    return new_code_cell("print()", outputs=outputs)


@pytest.mark.parametrize(
    ("written", "kind", "words"),
    [
        ('<img src="attachment:map.png" width="20">', "png", "a picture without words"),
        ("see <img alt='it' src='attachment:my%20map.png'/> there", "png", "it"),
        ("![it](attachment:map.png)", "png", "it"),
        ("![it](attachment:my%20map.png)", "png", "it"),
        ("| a |\n|---|\n| ![it](attachment:map.png) |", "png", "it"),
        ("<div>\n<img alt=it src=attachment:plan.svg>\n</div>", r"svg\+xml", "it"),
    ],
)
def test_a_picture_that_a_cell_carries_is_shown(
    tmp_path: Path, written: str, kind: str, words: str
) -> None:
    pictures = {
        "map.png": {"image/png": PNG},
        "my map.png": {"image/png": PNG},
        "plan.svg": {"image/svg+xml": SVG},
    }
    page = page_of(tmp_path, new_markdown_cell(written, attachments=pictures))
    assert re.search(f'<img[^>]*src="data:image/{kind};base64,', page)
    assert f'alt="{words}"' in page
    assert "held-back" not in page


def test_a_picture_beside_the_notebook_is_shown_as_it_is_when_the_page_is_written(
    tmp_path: Path,
) -> None:
    folder, picture = tmp_path / "runs" / "one", tmp_path / "notebooks" / "fig.png"
    for place in (folder, picture.parent):
        place.mkdir(parents=True)
    picture.write_bytes(b64decode(PNG))
    assert PNG in page_of(folder, new_markdown_cell("![it](fig.png)"))
    picture.write_bytes(b64decode(PNG) + b"another")
    write_notebook_page(folder / "a.ipynb", folder / "a.html", step=STEP)
    assert b64encode(b64decode(PNG) + b"another").decode() in (folder / "a.html").read_text()


def test_a_picture_that_the_cell_does_not_carry_leaves_its_words(tmp_path: Path) -> None:
    page = page_of(tmp_path, new_markdown_cell('<img alt="the map" src="attachment:map.png">'))
    assert "[the map]" in page
    assert "<img" not in page


def test_markup_in_a_line_of_prose_stays_where_it_is(tmp_path: Path) -> None:
    page = page_of(tmp_path, new_markdown_cell("a <b>bold</b> word"))
    assert "a <b>bold</b> word" in page


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Data loading", "Data-loading"),
        ("Data loading", "data-loading"),
        ("1. Data: loading & *more* (2021)", "1.-Data:-loading-&-more-(2021)"),
        ("1. Data: loading (2021)", "1-data-loading-2021"),
        ("Größe `n`", "Gr%C3%B6%C3%9Fe-n"),
    ],
)
def test_a_link_to_a_heading_leads_to_it(tmp_path: Path, heading: str, anchor: str) -> None:
    cells = [
        new_markdown_cell(f"# Contents\n[down](#{anchor})"),
        new_markdown_cell(f"## {heading}"),
    ]
    page = page_of(tmp_path, *cells)
    link = re.search(r'<a href="#([^"]+)"[^>]*>down</a>', page)
    assert link is not None
    assert re.search(f'<h2 id="{re.escape(link[1])}">', page)


def test_a_progress_line_is_the_last_state_of_it(tmp_path: Path) -> None:
    counted = [("stdout", f"\r{n}/40") for n in range(1, 41)]
    page = page_of(tmp_path, printed(*counted))
    assert re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[-1] == "40/40"


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([("stderr", f"\r{n} %") for n in (1, 50, 100)], ["100 %"]),
        ([("stdout", "long line\rshort")], ["shortline"]),
        ([("stdout", "one\r"), ("stdout", "\ntwo\r\nthree")], ["one\ntwo\nthree"]),
        ([("stdout", "12\b3 4\b\b5")], ["135"]),
        ([("stdout", "a"), ("stderr", "b"), ("stdout", "c"), ("stdout", "d")], ["a", "b", "cd"]),
        ([("stdout", "\r".join(f"{n:>90000}" for n in range(50)))], [f"{49:>90000}"]),
    ],
)
def test_what_was_printed_settles_as_on_a_terminal(
    tmp_path: Path, pieces: list[tuple[str, str]], shown: list[str]
) -> None:
    page = page_of(tmp_path, printed(*pieces))
    outputs = page[page.index('class="outputs"') :]
    found = re.findall(r"<pre[^>]*>(.*?)</pre>", outputs, re.DOTALL)
    if len(shown[0]) > 1_000:  # Its middle is left out; 4 MB of states are none of it.
        assert "an output of 0.1 MB" in page
        return
    assert found == shown


def test_an_output_that_was_cleared_is_gone(project: Project, run: Run) -> None:
    code = "from IPython.display import clear_output\nfor n in range(9):\n"
    project.notebook("a", f"{code}    clear_output(wait=True)\n    print('state', n)")
    _, folder = run("steps: [{notebook: a}]")
    page = (folder / "a.html").read_text()
    assert re.findall(r"^.*state \d", page, re.MULTILINE)[-1].endswith(">state 8")
    assert "state 7" not in page


CODE, SHOWN = "hidden_name = 1", "the hidden text"


@pytest.mark.parametrize(
    ("metadata", "hidden", "seen"),
    [
        ({"tags": ["remove-cell"]}, "1 cell", set()),
        ({"tags": ["remove_cell"]}, "1 cell", set()),
        ({"tags": ["remove-input"]}, "1 cell without its code", {SHOWN}),
        ({"tags": ["remove-output"]}, "1 cell without its outputs", {"hidden_name"}),
        ({"jupyter": {"outputs_hidden": True}}, "1 cell without its outputs", {"hidden_name"}),
        ({"jupyter": {"source_hidden": True}}, "1 cell without its code", {SHOWN}),
        ({"collapsed": True}, "1 cell without its outputs", {"hidden_name"}),
        ({"jupyter": {"outputs_hidden": False}, "tags": ["other"]}, None, {"hidden_name", SHOWN}),
    ],
)
def test_what_an_author_hides_is_hidden_and_counted(
    tmp_path: Path, metadata: dict[str, Any], hidden: str | None, seen: set[str]
) -> None:
    outputs = [new_output("stream", text=SHOWN)]
    page = page_of(tmp_path, new_code_cell(CODE, metadata=metadata, outputs=outputs))
    assert {text for text in ("hidden_name", SHOWN) if text in page} == seen
    if hidden is None:
        assert "Hidden by" not in page
    else:
        # Once for the page, and where it is.
        assert f"Hidden by the notebook's author: {hidden}." in page
        assert page.count("Hidden by the notebook") == 2
        assert 'id="a--cell-1"' in page


def test_prose_and_raw_cells_can_be_hidden_too(tmp_path: Path) -> None:
    removed = {"tags": ["remove-cell"]}
    cells = [make("secret prose", metadata=removed) for make in (new_markdown_cell, new_raw_cell)]
    page = page_of(tmp_path, *cells)
    assert "secret prose" not in page
    assert "author: 2 cells." in page


def test_the_cell_that_failed_is_never_hidden(tmp_path: Path) -> None:
    error = new_output("error", ename="ValueError", evalue="bad", traceback=["ValueError: bad"])
    cell = new_code_cell(CODE, metadata={"tags": ["remove-cell"]}, outputs=[error])
    failed = StepResult(
        **{**vars(STEP), "status": Status.FAILED, "error": StepError(1, "ValueError", "bad")}
    )
    page = page_of(tmp_path, cell, step=failed)
    assert "hidden_name" in page
    assert "ValueError: bad" in page


def test_the_front_page_shows_no_hidden_figure_and_says_that_there_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    figure = new_output("display_data", {"image/png": PNG})
    hidden = new_code_cell("1", outputs=[figure], metadata={"tags": ["remove-output"]})
    page_of(folder, hidden)
    (folder / "run.json").write_text(run_record(steps=(STEP,)).to_json())
    front = write_site(folder).read_text()
    assert "Hidden by the notebook's author: 1 cell without its outputs." in front
    assert "thumbnails" not in front[front.index("<body") :]
