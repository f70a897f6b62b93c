"""`%reopen`: a step of a run in a kernel, without waiting for the run again."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from tests.conftest import Project
from tests.running import Run

PIPELINE = """
params: {seed: 7}
steps:
  - notebook: 01_first
  - notebook: 02_fails
    matrix: {model: [good, bad]}
  - notebook: 03_after
    needs: [02_fails]
"""


@pytest.fixture
def shell(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell as Lab gives one to a notebook of the project."""
    for name in ("TAXI_NB_UPSTREAM", "TAXI_NB_PROMOTE", "TAXI_NB_CHECKS"):
        monkeypatch.setenv(name, "")
    project.notebook("01_first", "first = seed + 1", parameters="seed: int = 1  # a")
    project.notebook(
        "02_fails",
        "#md # Why does it fail?",
        "import helper, pathlib\npathlib.Path('noted.txt').write_text('x')",
        "doubled = helper.twice(seed)\nprint('never shown')\ndoubled",
        "{'good': doubled}[model]",
        "after = 1",
        parameters="seed: int = 1  # a\nmodel: str = 'good'  # b",
    )
    project.notebook("03_after", "pass")
    (project.root / "notebooks" / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    made = InteractiveShell()
    made.run_line_magic("load_ext", "taxi_nb")
    yield made
    made.history_manager.end_session()  # type: ignore[union-attr]


def committed(root: Path) -> None:
    (root / ".gitignore").write_text("runs/\nmlflow.db*\nmlartifacts/\n")
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)


def test_a_failed_step_is_reopened_as_it_stood_before_the_cell_that_failed(
    shell: InteractiveShell,
    project: Project,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.pipeline(PIPELINE)
    committed(project.root)
    record, _ = run(PIPELINE)
    monkeypatch.syspath_prepend(project.root / "notebooks")
    capsys.readouterr()
    # It is the one of the newest run that failed: it need not be named.
    shell.run_line_magic("reopen", "")
    said = capsys.readouterr().out
    before, _, after = said.partition("executed here.")
    assert f"02_fails[bad] of the run {record.id} failed in cell 6: KeyError: 'bad'" in before
    assert "its 4 cells of code before it took" in before
    assert "4 cells executed in" in after
    assert "Cell 6, which failed, is below" in after
    assert "never shown" not in said
    assert "Code that git knows is as in the run's commit" in said
    # What it gave to the step: parameters, upstream runs, the current folder.
    assert (shell.user_ns["doubled"], shell.user_ns["model"]) == (14, "bad")
    assert "after" not in shell.user_ns
    assert json.loads(os.environ["TAXI_NB_UPSTREAM"]).keys() == {"01_first", "02_fails[good]"} or (
        json.loads(os.environ["TAXI_NB_UPSTREAM"]).keys() == {"01_first"}
    )
    assert os.environ["TAXI_NB_PROMOTE"] == "no"
    assert Path.cwd() == project.root / "notebooks"
    assert "The current folder is" in said
    # It is executed with today's code, and says so.
    (project.root / "notebooks" / "helper.py").write_text("def twice(x):\n    return 3 * x\n")
    project.notebook("02_fails", parameters="seed: int = 1  # a\nmodel: str = 'good'  # b")
    shell.run_line_magic("reopen", f"02_fails[good] {record.id}")
    said = capsys.readouterr().out
    assert "02_fails[good] of the run" in said
    assert "ended as ok" in said
    assert "notebooks/helper.py. Today's is used." in said
    assert "notebooks/02_fails.ipynb has changed since: the cells are those of the run." in said
    assert shell.user_ns["after"] == 1
    # A cell that fails here, and did not there, ends it.
    (project.root / "notebooks" / "helper.py").unlink()
    shell.run_cell("import sys\ndel sys.modules['helper']")
    capsys.readouterr()
    shell.run_line_magic("reopen", "02_fails[good]")
    said = capsys.readouterr().out
    assert "Cell 4 failed here, and did not in the pipeline: ModuleNotFoundError" in said
    for line, why in {
        "03_after": "03_after was not executed in the run .*: it needs 02_fails.bad.",
        "04_none": "has no step '04_none'; it has 01_first, 02_fails",
        "01_first none": "there is no run 'none'",
        "a b c": "%reopen .STEP",
    }.items():
        with pytest.raises(UsageError, match=why):
            shell.run_line_magic("reopen", line)


def test_without_a_run_there_is_nothing_to_reopen(shell: InteractiveShell) -> None:
    with pytest.raises(UsageError, match="no run yet in"):
        shell.run_line_magic("reopen", "02_fails")
    with pytest.raises(UsageError, match="no run yet in"):
        shell.run_line_magic("report", "")


def test_cells_that_may_fail_or_are_not_executed_are_as_in_the_pipeline(
    shell: InteractiveShell, project: Project, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project.notebook("04_tags", "skipped = 1", "1 / 0", "last = 3")
    notebook = nbformat.read(path, as_version=4)
    for cell, tag in zip(notebook.cells[1:], ("skip-execution", "raises-exception"), strict=False):
        cell.metadata["tags"] = [tag]
    nbformat.write(notebook, path)
    run("steps: [{notebook: 04_tags}]")
    capsys.readouterr()
    shell.run_line_magic("reopen", "04_tags")
    assert "2 cells executed in" in capsys.readouterr().out
    assert shell.user_ns["last"] == 3
    assert "skipped" not in shell.user_ns
