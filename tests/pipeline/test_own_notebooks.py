"""Notebooks as people have them who never heard of us: as steps, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

import taxi_nb as package
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import RunRecord
from taxi_nb.pipeline.spec import PipelineFileError
from tests.conftest import Project, texts
from tests.running import CommandLine, Run

# Stands for the program, since tests reach no network.
WGET = "#!/bin/sh\nprintf 'height\\n1\\n2\\n' > \"$2\"\n"


def ran(project: Project) -> RunRecord:
    return RunRecord.read(project.root / "runs" / "latest" / "run.json")


@pytest.mark.slow
def test_course_homework_with_magics_and_a_download(
    project: Project,
    store: str,
    taxi_nb: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "wget").write_text(WGET)
    (tmp_path / "bin" / "wget").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    project.notebook(
        "homework-1",
        "%matplotlib inline\n%config InlineBackend.figure_format = 'svg'\nimport csv",
        "#md # Homework 1\n\nQuestion 1: how many?",
        "!wget -O heights.csv https://example.org/heights.csv",
        "%%time\nwith open('heights.csv') as file:\n    rows = list(csv.reader(file))",
        "files = !ls *.csv\nprint(len(rows) - 1, 'rows of', files[0])",
        parameters=None,
    )
    project.pipeline("steps: [{notebook: homework-1}]")
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert (code, err) == (0, "")
    assert "2 rows of heights.csv" in texts(project.root / "runs" / "latest" / "homework-1.ipynb")
    assert ran(project).experiment == "project"
    # Nobody here has a Makefile, nor our model.
    assert "(taxi-nb ui)" in out or "/taxi-nb ui)" in out
    assert "make" not in out
    assert "nyc" not in out
    # What it fetched is an input like another.
    assert "up to date" in taxi_nb("plan", "params/test.yaml")[1]
    (project.root / "notebooks" / "heights.csv").write_text("height\n1\n")
    assert "notebooks/heights.csv changed" in taxi_nb("plan", "params/test.yaml")[1]


def test_a_papermill_tutorial_with_sub_folders(
    project: Project, store: str, taxi_nb: CommandLine
) -> None:
    """As papermill leaves them: executed, of an older format, with its cells and its metadata."""
    for folder, name, source in (
        ("extract", "extract", "open('../../numbers.txt', 'w').write(str(alpha))"),
        ("report", "report", "print('alpha was', open('../../numbers.txt').read())"),
    ):
        path = project.notebook(name, source, parameters="# papermill's\nalpha = 0.1")
        notebook: dict[str, Any] = json.loads(path.read_text())
        notebook["nbformat_minor"] = 2
        for cell in notebook["cells"]:
            del cell["id"]
            cell["metadata"]["papermill"] = {"status": "completed", "duration": 0.1}
            cell["execution_count"] = 7
        injected: dict[str, Any] = {
            **{"cell_type": "code", "execution_count": 2, "outputs": [], "source": "alpha = 0.9"},
            "metadata": {"tags": ["injected-parameters"]},
        }
        notebook["cells"].insert(1, injected)
        path.unlink()
        (project.root / "notebooks" / folder).mkdir()
        (project.root / "notebooks" / folder / path.name).write_text(json.dumps(notebook))
    project.pipeline(
        "params: {alpha: 0.6}\n"
        "steps: [{notebook: notebooks/extract/extract}, {notebook: notebooks/report/report}]"
    )
    code, _, err = taxi_nb("run", "params/test.yaml", "--jobs", "2")
    assert (code, err) == (0, "")
    assert "alpha was 0.6" in texts(project.root / "runs" / "latest" / "report.ipynb")
    # Papermill's working folder was the one that it was called from.
    project.notebook("look", "open('numbers.txt')", parameters=None)
    project.pipeline("steps: [{notebook: look}]")
    code, _, err = taxi_nb("run", "params/test.yaml")
    assert code == 1
    assert "from there the project's file is '../numbers.txt'" in err
    project.pipeline("steps: [{notebook: extract/extract}]")
    code, _, err = taxi_nb("plan", "params/test.yaml")
    assert code == 2
    assert "did you mean 'notebooks/extract/extract'?" in err


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["fork", "spawn"])
def test_a_notebook_that_imports_modules_beside_it(
    project: Project, store: str, taxi_nb: CommandLine, kernel: str
) -> None:
    """One in its own folder, one in the project's; a name of the standard library stays its."""
    (project.root / "notebooks" / "sibling.py").write_text("def doubled(x):\n    return 2 * x\n")
    (project.root / "helpers").mkdir()
    (project.root / "helpers" / "__init__.py").write_text("from random import Random\nHALF = 0.5\n")
    (project.root / "random.py").write_text("raise ImportError('this is not the library')\n")
    project.notebook(
        "01_a",
        "from sibling import doubled\nimport helpers\nprint('is', doubled(helpers.HALF))",
        parameters=None,
    )
    project.pipeline("steps: [{notebook: 01_a}]")
    code, _, err = taxi_nb("run", "params/test.yaml", "--kernel", kernel)
    assert (code, err) == (0, "")
    assert "is 1.0" in texts(project.root / "runs" / "latest" / "01_a.ipynb")
    (project.root / "helpers" / "__init__.py").write_text("from random import Random\nHALF = 0.6\n")
    out = taxi_nb("plan", "params/test.yaml")[1]
    assert "01_a  will run: helpers/__init__.py: HALF changed" in out


@pytest.mark.slow
def test_a_notebook_that_writes_files_for_the_next(
    project: Project, store: str, taxi_nb: CommandLine
) -> None:
    project.notebook("prepare", "n = 3\nopen('clean.csv', 'w').write('1\\n' * n)", parameters=None)
    project.notebook("analyse", "print(len(open('clean.csv').readlines()))", parameters=None)
    project.pipeline("steps: [{notebook: prepare}, {notebook: analyse}]")
    assert taxi_nb("run", "params/test.yaml")[0] == 0
    assert "up to date" in taxi_nb("plan", "params/test.yaml")[1]
    project.notebook("prepare", "n = 4\nopen('clean.csv', 'w').write('1\\n' * n)", parameters=None)
    out = taxi_nb("plan", "params/test.yaml")[1]
    assert "prepare  will run: notebook cell 1 changed" in out
    assert "analyse  will run: needs prepare, which will run" in out


def test_a_notebook_in_r_is_refused_before_anything_runs(
    project: Project, taxi_nb: CommandLine
) -> None:
    project.notebook("01_a", "1", parameters=None)
    path = project.notebook("02_model", "summary(lm(y ~ x))", parameters=None)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {
        "kernelspec": {"name": "ir", "display_name": "R", "language": "R"},
        "language_info": {"name": "R", "version": "4.3.1"},
    }
    nbformat.write(notebook, path)
    project.pipeline("steps:\n  - notebook: 01_a\n  - notebook: 02_model\n")
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert (code, out) == (2, "")
    assert "test.yaml:3: steps[1].notebook: notebooks/02_model.ipynb is written for the" in err
    assert "kernel 'ir' (R)" in err
    assert not (project.root / "runs").exists()


def test_a_value_that_would_not_arrive_is_told(project: Project) -> None:
    project.notebook("01_a", "%load_ext autoreload", "seed = 1", parameters=None)
    file = project.pipeline("params: {seed: 2}\nsteps: [{notebook: 01_a}]")
    with pytest.raises(PipelineFileError, match="cell 2 sets 'seed', which would not be given"):
        read_pipeline(file, project.root)
    text = "steps: [{notebook: 01_a, params: {seed: 2}}]"
    with pytest.raises(PipelineFileError, match="declares no parameter 'seed': give the cell"):
        read_pipeline(project.pipeline(text), project.root)


def test_magics_have_no_place_among_parameters(project: Project) -> None:
    project.notebook("01_a", parameters="%matplotlib inline\nseed = 1")
    with pytest.raises(PipelineFileError, match="'%matplotlib inline' is IPython's own: put it"):
        read_pipeline(project.pipeline("steps: [{notebook: 01_a}]"), project.root)


def test_types_are_known_though_magics_stand_beside_their_import(project: Project) -> None:
    from taxi_nb.training.notebook_parameters import PARAMETERS

    path = project.notebook("01_a", "1", parameters="month: Month = '2021-01'  # a month")
    notebook = nbformat.read(path, as_version=4)
    first = nbformat.v4.new_code_cell("%matplotlib inline\nfrom taxi_nb import Month")
    notebook.cells.insert(0, first)
    nbformat.write(notebook, path)
    file = project.pipeline("params: {month: 2021-13}\nsteps: [{notebook: 01_a}]")
    with pytest.raises(PipelineFileError, match="2021-13"):
        read_pipeline(file, project.root, subject=PARAMETERS)


def test_a_notebook_may_lie_in_the_projects_own_folder(project: Project, run: Run) -> None:
    project.notebook("01_a", "print(1)", parameters=None).rename(project.root / "01_a.ipynb")
    assert run("steps: [{notebook: 01_a}]")[0].status == "ok"


def test_in_jupyterlab_modules_are_found_as_in_a_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys, "path", ["/usr/lib/python3", "", "/usr/lib/site-packages"])
    package.load_ipython_extension(InteractiveShell.instance())
    InteractiveShell.clear_instance()
    assert sys.path[1:3] == ["", str(project.root)]
