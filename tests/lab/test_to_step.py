"""`%to_step`: the notebook that a person works in as a step, in three actions at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from taxi_nb.pipeline.pipeline_file import read_pipeline
from tests.conftest import Project

CELLS = ("#md # Which fares are high?", "seed = 42", "print(seed)", "%to_step 08_fares")


@pytest.fixture
def explored(project: Project) -> Path:
    project.notebook("01_a", parameters="seed: int = 1  # a")
    project.pipeline("steps:\n  - notebook: 01_a  # first\n", "default")
    return project.notebook("Untitled", *CELLS, parameters=None)


@pytest.fixture
def shell(explored: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """The shell of that notebook in JupyterLab, in which two cells ran."""
    monkeypatch.setenv("JPY_SESSION_NAME", str(explored))
    made = InteractiveShell.instance()
    made.run_line_magic("load_ext", "taxi_nb")
    for cell in CELLS[1:3]:
        made.run_cell(cell, store_history=True)
    yield made
    made.history_manager.end_session()  # type: ignore[union-attr]
    InteractiveShell.clear_instance()


def test_it_shows_what_it_would_write_and_then_writes_it(
    shell: InteractiveShell, explored: Path, project: Project
) -> None:
    shown = shell.run_line_magic("to_step", "08_fares")
    assert "+seed: int = 42" in repr(shown)
    assert "Names that could be parameters: seed" in repr(shown)
    assert "Look at this: the last cell draws no conclusion" in repr(shown)
    assert "<span style='color: #1a7f37'>+  - notebook: 08_fares</span>" in shown._repr_html_()
    shown = shell.run_line_magic("to_step", "08_fares seed")
    assert repr(shown).endswith(
        "Nothing is written yet: %to_step 08_fares seed --write makes notebooks/08_fares.ipynb, "
        "a step of params/default.yaml"
    )
    assert not (project.root / "notebooks/08_fares.ipynb").exists()
    shown = shell.run_line_magic("to_step", "08_fares seed --write")
    assert "+seed: int = 42" in repr(shown)
    assert "Written: notebooks/08_fares.ipynb, a step of params/default.yaml" in repr(shown)
    made = nbformat.read(project.root / "notebooks/08_fares.ipynb", as_version=4)
    assert [cell.source for cell in made.cells] == [CELLS[0][4:], "seed: int = 42", "print(seed)"]
    pipeline = read_pipeline(project.root / "params/default.yaml", project.root)
    assert [step.name for step in pipeline.steps] == ["01_a", "08_fares"]
    # The notebook that was explored is as it was.
    assert nbformat.read(explored, as_version=4).cells[1].source == "seed = 42"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("08_fares --write", "which of seed are parameters"),
        ("08_fares sed", "'sed' is not assigned here; did you mean 'seed'"),
        ("08_fares seed --all", "%to_step .NAME"),
        ("08_fares --wrte", "%to_step .NAME"),
        ("08_fares --pipeline", "%to_step .NAME"),
        ("01_a seed", "notebooks/01_a.ipynb is there already"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    shell: InteractiveShell, project: Project, line: str, why: str
) -> None:
    before = {path: path.read_bytes() for path in project.root.rglob("*.*") if path.is_file()}
    with pytest.raises(UsageError, match=why):
        shell.run_line_magic("to_step", line)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_notebook_that_is_not_saved_is_refused(shell: InteractiveShell) -> None:
    shell.run_cell("unsaved = 1", store_history=True)
    with pytest.raises(UsageError, match=r"Untitled.ipynb on disk lacks the cell that ran last"):
        shell.run_line_magic("to_step", "08_fares --all")


def test_where_no_notebook_is_known_the_terminal_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "taxi_nb")
    with pytest.raises(UsageError, match="`taxi-nb adopt NOTEBOOK` does it"):
        shell.run_line_magic("to_step", "")
    shell.history_manager.end_session()  # type: ignore[union-attr]
