"""The committed notebooks, and the check that `make lint` holds them to."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

from tests.conftest import REPOSITORY
from tests.notebooks_are_clean import complaints, main

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_clean(path: Path) -> None:
    assert list(complaints(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_needs_no_name_from_within_the_package(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    nodes = [node for source in cells for node in ast.walk(ast.parse(source))]
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    ours = {module for module in modules if module.split(".")[0] == "taxi_nb"}
    assert ours == {"taxi_nb"}


def test_there_are_seven_and_they_are_numbered() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"0{n}" for n in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) == 7


def test_the_check_finds_what_it_looks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]}, execution_count=3)
    path = tmp_path / "01_untidy.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert main([str(path)]) == 1
    said = capsys.readouterr().out
    for wrong in ("execution count", "title", "conclusion", "has no type", "has no comment"):
        assert wrong in said
