"""`taxi-nb` as its users meet it: exit codes, messages, signals."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from taxi_nb.pipeline.record import RunRecord
from tests.conftest import Project, mounted_disk, runs_of
from tests.running import CommandLine, all_dead, end, wait_for

SLEEPER = (
    "import os, subprocess, time\nfrom pathlib import Path\n"
    "child = subprocess.Popen(['sleep', '300'])\n"
    "Path('pids.part').write_text(f'{os.getpid()} {child.pid}')\n"
    "os.replace('pids.part', 'pids')\n"
    "time.sleep(300)"
)


def latest(project: Project) -> RunRecord:
    return RunRecord.from_json((project.root / "runs" / "latest" / "run.json").read_text())


def test_a_good_run_exits_0_and_tells_where_to_look(project: Project, taxi_nb: CommandLine) -> None:
    project.notebook("01_a", "1")
    project.pipeline("steps: [{notebook: 01_a}]")
    code, out, err = taxi_nb("run", "params/test.yaml", "--kernel", "spawn")
    assert (code, err) == (0, "")
    assert "01_a  started" in out
    assert "01_a  ok" in out
    page = next(line.split()[-1] for line in out.splitlines() if line.startswith("page:"))
    assert Path(page).is_file()
    # A spawned kernel tells what it uses as a forked one does.
    assert latest(project).steps[0].inputs == "01_a.inputs.json"


@pytest.mark.slow
def test_a_failed_run_exits_1_and_names_notebook_cell_and_error(
    project: Project, taxi_nb: CommandLine
) -> None:
    project.notebook("01_a", "1/0")
    project.pipeline("steps: [{notebook: 01_a}]")
    code, _, err = taxi_nb("run", "params/test.yaml")
    assert code == 1
    assert "notebooks/01_a.ipynb (01_a) failed: cell 2: ZeroDivisionError" in err
    assert "Traceback" not in err


def test_a_wrong_file_exits_2_before_anything_runs(project: Project, taxi_nb: CommandLine) -> None:
    project.notebook("01_a", "1", parameters="x: int = 1")
    project.pipeline("steps:\n  - notebook: 01_a\n    params: {x: one, y: 2}")
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == "params/test.yaml: 2 mistakes; nothing has been run"
    assert "params/test.yaml:3: steps[0].params.x: must be int, got str 'one'" in err
    assert not (project.root / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "params/none.yaml"),
        ("run", "--jobs", "0"),
        ("run", "--kernel", "thread"),
        ("run", "params/test.yaml", "--set", "nonsense"),
        ("report", "nowhere"),
        ("nonsense",),
    ],
)
def test_wrong_usage_exits_2_without_a_traceback(
    project: Project, taxi_nb: CommandLine, arguments: tuple[str, ...]
) -> None:
    project.notebook("01_a", "1")
    project.pipeline("steps: [{notebook: 01_a}]")
    code, out, err = taxi_nb(*arguments)
    assert code == 2
    assert err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:secret@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://127.0.0.1:9/?password=secret", "http://127.0.0.1:9/"),
        ("nonsense://x", "nonsense://x"),
        ("sqlite:///params/test.yaml", "sqlite:///params/test.yaml"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_clear_error(
    project: Project,
    taxi_nb: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    shown: str,
) -> None:
    project.notebook("01_a", "1")
    project.pipeline("steps: [{notebook: 01_a}]")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert code == 1
    assert f"the MLflow store {shown} cannot be used" in err
    assert "secret" not in out + err
    assert "Traceback" not in err
    assert not list((project.root / "runs").glob("[!.]*"))


def test_the_default_pipeline_is_found_from_a_folder_below(
    project: Project, taxi_nb: CommandLine
) -> None:
    project.notebook("01_a", "1")
    project.pipeline("steps: [{notebook: 01_a}]", name="default")
    taxi_nb.root = project.root / "notebooks"
    code, out, _ = taxi_nb("plan")
    assert code == 0
    assert "01_a" in out


def test_plan_lists_the_steps_and_runs_nothing(project: Project, taxi_nb: CommandLine) -> None:
    project.notebook("01_a", "1", parameters="x: int = 1")
    project.pipeline("steps: [{notebook: 01_a, matrix: {x: [1, 2]}}]")
    code, out, _ = taxi_nb("plan", "params/test.yaml", "--set", "x=[3]")
    assert code == 0
    assert "01_a[3]" in out
    assert not (project.root / "runs").exists()


def start_sleeping(
    project: Project, taxi_nb: CommandLine, start: Callable[..., Any]
) -> tuple[Any, list[int]]:
    project.notebook("01_a", SLEEPER)
    project.notebook("02_b", "1")
    project.pipeline("steps: [{notebook: 01_a}, {notebook: 02_b}]")
    process = start("run", "params/test.yaml")
    pids = project.root / "notebooks" / "pids"
    wait_for(pids.exists)
    return process, [int(pid) for pid in pids.read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)],
    ids=["Ctrl-C", "SIGTERM", "a closed terminal", "SIGQUIT"],
)
def test_a_signal_ends_kernels_too_and_closes_the_runs(
    project: Project, store: str, taxi_nb: CommandLine, number: signal.Signals, code: int
) -> None:
    # One as a user's shell starts it, which takes ten times as long.
    start = taxi_nb.start if number is signal.SIGINT else taxi_nb.fork
    process, pids = start_sleeping(project, taxi_nb, start)
    assert not all_dead(pids)
    ended, out, err = end(process, number)
    assert ended == code
    assert "01_a  interrupted" in out
    page = project.root / "runs" / latest(project).id / "index.html"
    assert err.splitlines()[-2:] == ["interrupted: kernels ended, runs closed", f"page: {page}"]
    assert "interrupted" in page.read_text()
    assert "Traceback" not in err
    wait_for(lambda: all_dead(pids), 10)
    record = latest(project)
    assert [step.status.value for step in record.steps] == ["interrupted", "skipped"]
    assert record.status.value == "interrupted"
    assert [r.info.status for r in runs_of(store)] == ["KILLED", "KILLED"]


@pytest.mark.slow
def test_after_sigkill_kernels_die_and_the_next_run_is_right(
    project: Project, store: str, taxi_nb: CommandLine
) -> None:
    process, pids = start_sleeping(project, taxi_nb, taxi_nb.start)
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: all_dead(pids[:1]), 20)
    assert latest(project).status.value == "running"
    project.notebook("01_a", "1")
    code, _, _ = taxi_nb("run", "params/test.yaml")
    assert code == 0
    assert latest(project).status.value == "ok"
    states = [r.info.status for r in runs_of(store)]
    assert sorted(states) == ["FINISHED"] * 3 + ["KILLED"] * 2


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """A disk of half a megabyte where the runs go."""
    with mounted_disk(project.root / "runs", "512k") as runs:
        yield runs


def test_a_full_disk_fails_the_run_says_so_and_leaves_no_half_notebook(
    project: Project, store: str, taxi_nb: CommandLine, small_disk: Path
) -> None:
    # A figure that fits in the notebook, and then once more into its page it does not.
    project.notebook(
        "01_a",
        "import base64, os",
        "display({'image/png': base64.b64encode(os.urandom(260_000)).decode()}, raw=True)",
    )
    project.notebook("02_b", "1")
    project.pipeline("steps: [{notebook: 01_a}, {notebook: 02_b}]")
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert code == 1
    assert "No space left on device" in out + err
    assert "Traceback" not in out + err
    assert [r.info.status for r in runs_of(store)] == ["FAILED", "FAILED"]
    for notebook in small_disk.glob("*/*.ipynb"):
        nbformat.validate(nbformat.read(notebook, as_version=4))


@pytest.mark.slow
def test_report_writes_pages_again_compares_runs_and_makes_one_file(
    project: Project, taxi_nb: CommandLine
) -> None:
    project.notebook("01_a", "print('alpha is', alpha)", parameters="alpha: int = 1  # a number")
    project.pipeline("params: {alpha: 1}\nsteps: [{notebook: 01_a}]")
    for alpha in (1, 2):
        assert taxi_nb("run", "params/test.yaml", "--set", f"alpha={alpha}")[0] == 0
    runs = sorted(path for path in (project.root / "runs").glob("[!.]*") if not path.is_symlink())
    code, out, _ = taxi_nb("report", runs[0].name, "--against", runs[1].name)
    page = runs[0] / "against" / f"{runs[1].name}.html"
    assert (code, out.strip()) == (0, str(page))
    assert "alpha is <del>2</del>" in page.read_text()
    code, out, _ = taxi_nb("report", "--single-file", "--output", "all.html")
    assert (code, out.strip()) == (0, str(project.root / "all.html"))
    assert "alpha is <ins>2</ins>" in (project.root / "all.html").read_text()
    newest = project.root / "runs" / "latest" / "index.html"
    before = newest.read_text()
    newest.write_text("")
    code, out, _ = taxi_nb("report")
    assert (code, out.strip()) == (0, str(newest.resolve()))
    assert newest.read_text() == before
    for wrong, said in (
        (("report", "no-such-run"), "no-such-run is not a run"),
        (("report", "--output", "all.html"), "--single-file"),
        (("report", "--single-file", "--against", runs[0].name), "leave out --against"),
        (("report", runs[0].name, "--against", runs[0].name), "is the run itself"),
    ):
        code, _, err = taxi_nb(*wrong)
        assert code == 2
        assert said in err
        assert "Traceback" not in err
