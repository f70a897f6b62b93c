"""Tables of a notebook's page: columns of numbers, headings, words for raw names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from taxi_nb.pipeline.report._words import words_of
from tests.conftest import REPOSITORY
from tests.pipeline.report.test_as_in_jupyterlab import page_of


def shown(folder: Path, html: str) -> str:
    """Return what a page makes of an output's HTML."""
    output = new_output("execute_result", {"text/html": html, "text/plain": "a table"})
    page = page_of(folder, new_markdown_cell("# Some numbers"), new_code_cell(outputs=[output]))
    return page[page.index('class="outputs"') :]


def column(html: str, place: int) -> list[str]:
    """Return the texts of a column's cells."""
    rows = html[html.index("<tbody") :].split("</tr>")[:-1]
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows)
    return [row[place] for row in cells]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        # One format already: it stays.
        (["2.50", "13.25"], ["2.50", "13.25"]),
        (["132", "1,234"], ["132", "1,234"]),
        # As many decimals as tell something of the smallest number.
        (["0.30000000000000004", "2.5", "12.25"], ["0.3000", "2.5000", "12.2500"]),
        (["1,234.5", "-0.25"], ["1,234.50", "-0.25"]),
        (["-0.004", "+1.2345678"], ["-0.004000", "+1.234568"]),
        (["99.5%", "100.00%"], ["99.50%", "100.00%"]),
        # A count among measures stays a count.
        (["2738", "2.5"], ["2738", "2.5"]),
        (["1e-05", "0.25"], ["1e-05", "0.25"]),
        (["NaN", "0.25", "1.5"], ["NaN", "0.25", "1.50"]),
    ],
)
def test_a_column_of_numbers_stands_to_the_right_in_one_format(
    tmp_path: Path, values: list[str], texts: list[str]
) -> None:
    rows = "".join(f"<tr><th>row</th><td>{value}</td></tr>" for value in values)
    html = shown(tmp_path, f"<table><tr><th></th><th>x</th></tr>{rows}</table>")
    assert column(html, 1)[-len(values) :] == texts
    assert re.search(r'<th[^>]*class="number"[^>]*>x</th>', html)
    assert len(re.findall(r'<td[^>]*class="(?:none )?number"', html)) == len(values)


def test_a_number_that_lost_digits_has_them_in_its_title(tmp_path: Path) -> None:
    html = shown(tmp_path, "<table><tr><td>0.30000000000000004</td></tr><tr><td>2.5</td></tr>")
    assert 'title="0.30000000000000004"' in html
    html = shown(tmp_path, "<table><tr><td>12</td></tr><tr><td>2.5</td></tr></table>")
    assert re.search(r'<td data-pad="\.0"[^>]*>12</td>', html)


@pytest.mark.parametrize("values", [["1", "one"], ["2021-01-02", "2021-01-03"], ["", "NaN"]])
def test_what_is_no_column_of_numbers_stays_as_it_is(tmp_path: Path, values: list[str]) -> None:
    rows = "".join(f"<tr><td>a</td><td>{value}</td></tr>" for value in values)
    html = shown(tmp_path, f"<table>{rows}</table>")
    assert column(html, 1) == values
    assert 'number"' not in html


def test_the_index_of_a_frame_has_its_name_beside_the_other_headings(tmp_path: Path) -> None:
    index = pd.Index([132, 138], name="zone_id")
    frame = pd.DataFrame({"trips": [10, 200], "name": ["a", "b"]}, index=index)
    html = shown(tmp_path, frame.to_html())
    head = html[: html.index("<tbody")]
    assert re.findall(r"<th[^>]*>(.*?)</th>", head) == ["zone_id", "trips", "name"]
    assert html.count('scope="row"') == 2
    assert 'role="region" tabindex="0" aria-label="Table 1: Some numbers"' in html


def test_levels_of_headings_and_of_an_index_keep_their_columns(tmp_path: Path) -> None:
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["letter", "digit"])
    columns = pd.MultiIndex.from_product([["error"], ["mean", "most"]])
    frame = pd.DataFrame([[0.5, "x"]] * 4, index=index, columns=columns)
    html = shown(tmp_path, frame.to_html())
    assert re.search(r'<th colspan="2"[^>]*scope="colgroup">error</th>', html)
    numbers = re.findall(r'<td class="number">(.*?)</td>', html[html.index("<tbody") :])
    assert numbers == ["0.5"] * 4
    assert html.count('class="number first"') + html.count('class="first"') >= 3


def test_raw_names_get_words_from_the_file_beside_the_notebooks(tmp_path: Path) -> None:
    words = tmp_path / "notebooks" / "words.yaml"
    words.parent.mkdir()
    run = tmp_path / "runs" / "one"
    run.parent.mkdir()
    table = "<table><tr><th>fare_usd</th><th>other</th></tr><tr><td>1</td><td>2</td></tr></table>"
    words.write_text("fare_usd: fare <b>(dollars)</b>\n")
    html = shown(run, table)
    assert 'fare_usd <span class="meaning">fare &lt;b&gt;(dollars)&lt;/b&gt;</span></th>' in html
    assert html.count("meaning") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b\nfare_usd: 12\n", "words.yaml, line 2: &#39;fare_usd&#39; must have words, got 12"),
        ("a: [\n", "words.yaml, line "),
        ("- a\n", "words.yaml must name words"),
    ],
)
def test_a_file_of_words_that_is_none_is_told_on_the_page(
    tmp_path: Path, text: str, said: str
) -> None:
    words = tmp_path / "notebooks" / "words.yaml"
    words.parent.mkdir()
    (tmp_path / "runs").mkdir()
    words.write_text(text)
    page = page_of(tmp_path / "runs" / "one", new_markdown_cell("# A"))
    assert f"Columns are shown without words: {said}" in page


HOSTILE: list[tuple[str, str]] = [
    ("<table><td title='<td class=alarm>'>1</td></table>", 'class="alarm"'),
    ("<table><td class='first alarm' onclick='x()'>1</td></table>", "alarm"),
    ("<table><td data-pad='9999' colspan='999'>1</td></table>", "9999"),
    ("<table><tr><td><table><td>1<table><td>2", "<script"),
    ("<table><td>1</table><script>x()</script><table>", "<script"),
    ('<p title="<pre>">a</p>', '<pre tabindex="0">"'),
]


@pytest.mark.parametrize(("html", "bad"), HOSTILE)
def test_hostile_tables_stay_harmless(tmp_path: Path, html: str, bad: str) -> None:
    found = shown(tmp_path, html)
    assert bad not in found
    assert found.count("<table") == found.count("</table>")


def failed_in(count: int, **other: Any) -> Any:
    lines = f"\x1b[36mCell\x1b[39m\x1b[32m In[{count}]\x1b[39m, line 1\nInput In [77], in f()"
    error = new_output("error", ename="KeyError", evalue="'x'", traceback=lines.split("\n"))
    return new_code_cell("f()", execution_count=count, outputs=[error], **other)


def test_a_traceback_calls_cells_by_the_pages_numbers(tmp_path: Path) -> None:
    cells = [new_markdown_cell("# A"), new_code_cell("1", execution_count=1)]
    page = page_of(tmp_path, *cells, new_markdown_cell("text"), failed_in(2))
    assert re.search(r'Cell</span>(<[^>]*>|\s)*<a href="#a--cell-4">4</a>', page)
    assert "In[2]" not in page
    # A count that no cell of the page has stays what it was.
    assert "Input In [77]" in page


def test_every_cell_and_heading_can_be_linked_to(tmp_path: Path) -> None:
    cells = [new_markdown_cell("# One\n\n## Two & more"), new_code_cell("1")]
    page = page_of(tmp_path, *cells)
    for number in (1, 2):
        link = f'<a class="here" href="#a--cell-{number}" aria-label="Link to cell {number}">'
        assert link in page
        assert f'id="a--cell-{number}"' in page
    assert '<a class="here" href="#a--two-more" aria-label="Link to Two &amp; more"></a>' in page


def test_the_projects_own_words_can_be_read() -> None:
    words = words_of(REPOSITORY / "notebooks")
    assert words.problem is None
    assert words.by_name["trip_distance"] == "distance (miles)"
