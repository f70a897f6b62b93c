"""Files that a record names: only regular ones in the run's own folder are read or written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from typer.testing import CliRunner

from taxi_nb.cli import app
from taxi_nb.pipeline._results import KeptResults
from taxi_nb.pipeline.record import StepResult
from tests.conftest import Project
from tests.running import run_record

SECRET = "the neighbour's notes"


@pytest.fixture
def folder(project: Project) -> Path:
    """The folder of a run of one step, as it is written, and a file outside of it."""
    made = project.root / "runs" / "20260101-000000-test"
    made.mkdir(parents=True)
    cell = nbformat.v4.new_markdown_cell(SECRET)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), project.root / "outside.ipynb")
    nbformat.write(nbformat.v4.new_notebook(), made / "step.ipynb")
    (project.root / "outside.html").write_text(SECRET)
    name(made)
    return made


def name(folder: Path, **files: Any) -> None:
    """Write a record whose step has these files."""
    given = {"executed_notebook": "step.ipynb", "html": "step.html", **files}
    step = StepResult("step", "notebooks/step.ipynb", **given)
    record = run_record(id=folder.name, steps=(step,), seconds=1.0)
    (folder / "run.json").write_text(record.to_json())


def report(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["report", *arguments])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.output


@pytest.mark.parametrize(("key", "suffix"), [("html", "html"), ("executed_notebook", "ipynb")])
@pytest.mark.parametrize(
    "place", ["../../outside.{}", "{root}/outside.{}", "a/../../x.{}", "run.json"]
)
def test_a_record_that_names_files_elsewhere_is_refused(
    folder: Path, project: Project, key: str, suffix: str, place: str
) -> None:
    name(folder, **{key: place.replace("{root}", str(project.root)).replace("{}", suffix)})
    for more in ([], ["--single-file"]):
        code, said = report(folder.name, *more)
        assert code == 2
        assert f"step step: {key} must be a file …" in said
    assert (project.root / "outside.html").read_text() == SECRET
    for command in ("trace", "verify"):
        refused = CliRunner().invoke(app, [command, str(folder)])
        assert refused.exit_code != 0
        assert SECRET not in refused.output


def test_links_that_lead_out_of_the_folder_are_neither_read_nor_written(
    folder: Path, project: Project
) -> None:
    code, _ = report(folder.name)
    assert code == 0
    for file, target in {"step.ipynb": "outside.ipynb", "step.html": "outside.html"}.items():
        kept = (folder / file).read_bytes()
        (folder / file).unlink()
        (folder / file).symlink_to(project.root / target)
        code, said = report(folder.name)
        assert code == 2
        assert f"{file} is a link that leads out of the folder" in said
        (folder / file).unlink()
        (folder / file).write_bytes(kept)
    (project.root / "elsewhere").mkdir()
    (folder / "pages").symlink_to(project.root / "elsewhere")
    name(folder, html="pages/step.html")
    assert report(folder.name)[0] == 2
    assert not list((project.root / "elsewhere").iterdir())


def test_what_is_no_regular_file_is_not_waited_for(folder: Path) -> None:
    (folder / "step.ipynb").unlink()
    os.mkfifo(folder / "step.ipynb")
    code, said = report(folder.name)
    (folder / "step.ipynb").unlink()
    assert code == 2
    assert "step.ipynb is not a regular file" in said


def test_a_run_that_names_files_elsewhere_spoils_no_other_run(folder: Path) -> None:
    bad = folder.with_name("20250101-000000-test")
    bad.mkdir()
    name(bad, executed_notebook="../../outside.ipynb")
    code, said = report(folder.name)
    assert code == 0, said
    assert bad.name in (folder / "index.html").read_text()
    assert SECRET not in (folder / "index.html").read_text()


def test_only_reports_are_replaced(folder: Path, project: Project) -> None:
    def write(file: Path | str, *more: str) -> tuple[int, str]:
        return report(folder.name, "--single-file", "-o", str(file), *more)

    mine = project.pipeline("steps: []", "q")
    code, said = write(mine)
    assert code == 1
    assert "q.yaml is there, and is no report" in said
    assert mine.read_text() == "steps: []"

    for special in ("/dev/full", "/dev/null", str(project.root)):
        for more in ([], ["--overwrite"]):
            code, said = write(special, *more)
            assert code == 1
            assert "is not a regular file" in said
        assert Path(special).exists()
    (project.root / "link.html").symlink_to(mine)
    assert write(project.root / "link.html", "--overwrite")[0] == 1

    fresh = project.root / "report.html"
    assert write(fresh)[0] == 0
    assert write(fresh)[0] == 0  # A report is made again.
    assert write(mine, "--overwrite")[0] == 0
    assert mine.read_text().startswith("<!doctype html>")


def test_a_kept_result_of_another_place_is_none(project: Project) -> None:
    results = KeptResults(project.root / "runs")
    for run, notebook in (("../..", "outside.ipynb"), ("one", "../../outside.ipynb")):
        kept = results.folder / "keys" / "k" / "one-abcdef.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        inputs = json.loads(
            (Path(__file__).parents[1] / "data" / "kept_result_of_3c1461c.json").read_text()
        )
        inputs["run"] = run
        inputs["step"]["executed_notebook"] = notebook
        kept.write_text(json.dumps(inputs))
        assert results.candidates("test", "step", "k") == []
    inputs["run"], inputs["step"]["executed_notebook"] = "one", "step.ipynb"
    kept.write_text(json.dumps(inputs))
    assert len(results.candidates("test", "step", "k")) == 1
