"""What `%load_ext taxi_nb` gives a notebook, in a real IPython shell."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.kernelspec import KernelSpec

from taxi_nb import load_trips, tracked_run, train
from taxi_nb.lab.server import ManagerOfKernels
from taxi_nb.tracking.progress_bar import progress_bar
from taxi_nb.trips.judging import CheckError
from tests.conftest import Project, runs_of
from tests.warm import WarmPython

PIPELINE = """
params: {seed: 7}
steps:
  - notebook: 01_a
  - notebook: 02_b
    matrix: {model: [linear, lasso]}
"""


@pytest.fixture
def shell(project: Project) -> Iterator[InteractiveShell]:
    """A shell with the extension, in a project of two notebooks."""
    project.notebook("01_a", parameters="seed: int = 1  # a\nrows: int = 10  # b")
    typed = "from taxi_nb import ModelName\nseed: int = 1  # a\nmodel: ModelName = 'ridge'  # b"
    project.notebook("02_b", parameters=typed)
    project.pipeline(PIPELINE)
    made = InteractiveShell()
    made.run_line_magic("load_ext", "taxi_nb")
    yield made
    made.history_manager.end_session()  # type: ignore[union-attr]


def test_params_sets_and_shows_what_the_pipeline_would_give(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_NOTEBOOK", "notebooks/01_a.ipynb")
    shell.run_cell("seed, rows = 1, 10")
    shown = shell.run_line_magic("params", "params/test.yaml")
    assert (shell.user_ns["seed"], shell.user_ns["rows"]) == (7, 10)
    assert "seed = 7" in str(shown)
    assert "As the parameters cell has them: rows" in str(shown)
    assert "<code>7</code>" in shown._repr_html_()


def test_params_lets_the_files_checks_count_in_the_notebook(
    shell: InteractiveShell, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_CHECKS", "")
    project.pipeline(f"checks: {{rows: {{min: 5000}}}}{PIPELINE}", "checked")
    shown = shell.run_line_magic("params", "params/checked.yaml 01_a")
    assert "Checks of the data, as in the file: rows" in str(shown)
    with pytest.raises(CheckError, match=r"rows 1,000 records of 2021-01, at least 5,000: FAIL"):
        load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    # What a call gives goes before.
    load_trips("green", ["2021-01"], "sample", sample_rows=1_000, checks={"rows": {"min": 1}})
    shell.run_line_magic("params", "params/test.yaml 01_a")
    load_trips("green", ["2021-01"], "sample", sample_rows=1_000)


def test_plan_shows_what_would_run_and_why(shell: InteractiveShell) -> None:
    made = shell.run_line_magic("plan", "params/test.yaml seed=3")
    assert "02_b[lasso]   will run: never ran" in str(made)
    assert "<td style='text-align: left'>will run: never ran</td>" in made._repr_html_()
    assert made._repr_html_().endswith("<p>3 of 3 steps will run</p>")
    with pytest.raises(UsageError, match="%plan FILE"):
        shell.run_line_magic("plan", "")


def test_params_takes_a_step_and_other_values(shell: InteractiveShell) -> None:
    shell.run_line_magic("params", "params/test.yaml 02_b[lasso] seed=3")
    assert (shell.user_ns["seed"], shell.user_ns["model"]) == (3, "lasso")
    shown = shell.run_line_magic("params", "params/test.yaml 02_b")
    assert shell.user_ns["model"] == "linear"
    assert "02_b[lasso], too" in str(shown)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "%params FILE"),
        ("params/none.yaml", "cannot be read"),
        ("params/test.yaml", "name a step, one of 01_a, 02_b[linear], 02_b[lasso]"),
        ("params/test.yaml 03_c", "no step '03_c'"),
        ("params/test.yaml 01_a sed=1", "did you mean 'seed'"),
        ("params/test.yaml 02_b model=laso", "did you mean 'lasso'"),
    ],
)
def test_a_mistake_is_one_line_and_sets_nothing(
    shell: InteractiveShell, line: str, said: str
) -> None:
    with pytest.raises(UsageError) as error:
        shell.run_line_magic("params", line)
    assert said in str(error.value)
    assert "seed" not in shell.user_ns


def html_of(shell: InteractiveShell, shown: object) -> str:
    assert shell.display_formatter is not None
    data, _ = shell.display_formatter.format(shown)
    return str(data["text/html"])


def test_trips_show_where_they_came_from(shell: InteractiveShell) -> None:
    trips = load_trips("green", ["2021-01"], "sample", sample_rows=2_000)
    shown = html_of(shell, trips)
    assert f"{len(trips):,} trips" in shown
    for part in ("2021-01", "(synthetic)", "of 2,000 rows kept", "5 of them"):
        assert part in shown
    # A frame that is not of trips is shown as pandas shows it.
    assert html_of(shell, trips.describe()).startswith("<div>")


def test_a_training_result_shows_itself_against_the_champion(
    shell: InteractiveShell, store: str
) -> None:
    from taxi_nb import promote_if_better, training_runs
    from taxi_nb.trips.origin import provenance

    months = [load_trips("green", [m], "sample", sample_rows=2_000) for m in ("2021-01", "2021-02")]
    first = train("lasso", *months)
    assert "no champion" in html_of(shell, first)
    assert "Top to bottom" not in html_of(shell, first)  # It is of no notebook.
    (run,) = training_runs(*(provenance(month).digest for month in months))
    promote_if_better(run, months[1])
    assert "This is the champion" in html_of(shell, first)
    second = html_of(shell, train("linear", *months))
    assert "than the champion, nyc-taxi-duration, version 1" in second
    assert f"/runs/{first.run_id}" not in second
    assert "make ui" in second


def test_a_search_shows_what_it_chose_and_the_model_as_any_other(
    shell: InteractiveShell, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taxi_nb.training.tune import TuningResult

    months = [load_trips("green", [m], "sample", sample_rows=1_000) for m in ("2021-01", "2021-02")]
    trials = pd.DataFrame({"rmse": [5.0, 4.9]})
    tuned = TuningResult(trials, 0, "no gain <beyond chance>", train("linear", *months))
    shown = html_of(shell, tuned)
    assert "2 trials, number 0 chosen: no gain &lt;beyond chance&gt;" in shown
    assert "There is no champion to compare with yet." in shown
    assert repr(tuned).startswith("2 trials, number 0 chosen: no gain <beyond chance>\n")
    assert "validation" in repr(tuned)


def offered(shell: InteractiveShell, text: str) -> list[str]:
    assert shell.Completer is not None
    with provisionalcompleter():
        return [one.text for one in shell.Completer.completions(text, len(text))]


def test_names_of_models_are_offered_where_one_is_to_be_written(shell: InteractiveShell) -> None:
    assert {"linear", "xgboost-rich"} <= set(offered(shell, 'train("'))
    assert offered(shell, "x = 1\ntrain(\n    'xgboost-r") == ["xgboost-rich"]
    assert offered(shell, 'taxi_nb.train(model="rid') == ["ridge", "ridge-exact"]
    assert "ridge" in offered(shell, 'model: ModelName = "')
    assert "ridge" not in offered(shell, 'open("')
    assert "ridge" not in offered(shell, 'train("linear", "')


def test_an_error_shows_the_persons_frames_and_the_function_that_was_called(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("def mine():\n    from taxi_nb import make_model\n    make_model('lnear')")
    shell.run_cell("mine()")
    said = capsys.readouterr()
    assert "`model` must be one of" in said.out
    plain = re.sub(r"\x1b\[[\d;]*m", "", said.out)
    frames = re.findall(r"^File \S+, in (\w+)|^File (<ipython\S+):1$", plain, re.MULTILINE)
    assert [name or "cell" for name, _ in frames] == ["cell", "mine", "make_model"]
    assert "2 frames inside taxi_nb are not shown: %tb shows all." in said.err
    shell.run_line_magic("tb", "")
    assert "__post_init__" in capsys.readouterr().out
    # What is not ours is shown as ever; a mistake in a magic's line is one line.
    shell.run_cell("import json\njson.loads('{')")
    assert "raw_decode" in capsys.readouterr().out
    shell.run_cell("%params")
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "has_it"),
    [
        ([sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], True),
        (["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"], True),
        (["/opt/other/bin/python", "-m", "ipykernel_launcher"], False),
        (["R", "--slave", "-e", "IRkernel::main()"], False),
    ],
)
def test_kernels_of_this_python_have_the_extension_and_no_others(
    argv: list[str], has_it: bool
) -> None:
    manager = ManagerOfKernels(kernel_name="some")
    manager._kernel_spec = KernelSpec(argv=argv)
    command = manager.format_kernel_cmd()
    assert ("--InteractiveShellApp.extra_extensions=taxi_nb" in command) is has_it


def test_progress_is_shown_to_who_watches_and_stays_out_of_executed_notebooks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar(total=2) as bar:
        assert not bar.disable
    monkeypatch.setenv("TAXI_NB_NOTEBOOK", "notebooks/04_tune.ipynb")
    with progress_bar(total=2) as bar:
        assert bar.disable


def test_a_run_whose_kernel_was_killed_is_closed_by_the_next_one(
    store: str, warm_python: WarmPython
) -> None:
    killed = "import os, signal, taxi_nb\nwith taxi_nb.tracked_run('killed'):\n    {}"
    code = killed.format("os.kill(os.getpid(), signal.SIGKILL)")
    assert warm_python.start(["-c", code], Path.cwd(), os.environ).wait(60) == -signal.SIGKILL
    with tracked_run("living"), tracked_run("nested"):
        statuses = {run.info.run_name: run.info.status for run in runs_of(store)}
    assert statuses == {"killed": "KILLED", "living": "RUNNING", "nested": "RUNNING"}
    statuses = {run.info.run_name: run.info.status for run in runs_of(store)}
    assert statuses == {"killed": "KILLED", "living": "FINISHED", "nested": "FINISHED"}


def test_a_run_fails_when_its_cell_raises(shell: InteractiveShell, store: str) -> None:
    shell.run_cell("import taxi_nb\nwith taxi_nb.tracked_run('broken'):\n    1 / 0")
    assert [run.info.status for run in runs_of(store)] == ["FAILED"]
