"""`taxi-nb open`, `step` and `close`: an engine calls one command for each step."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from taxi_nb.pipeline.record import RunRecord, Status
from tests.conftest import Project, runs_of
from tests.running import CommandLine, end, wait_for

pytestmark = pytest.mark.slow

PARAMS = "params/test.yaml"
WRITES = "open('../made.txt', 'w').write('42')\nimport mlflow\nmlflow.log_metric('answer', 42)"
READS = "print('read', open('../made.txt').read())"
STEPS = "steps: [{notebook: 01_a}, {notebook: 02_b}]"


@pytest.fixture
def two_steps(project: Project) -> Project:
    project.notebook("01_a", WRITES)
    project.notebook("02_b", READS)
    project.pipeline(STEPS)
    return project


def record_of(project: Project, run: str) -> RunRecord:
    return RunRecord.read(project.root / "runs" / run / "run.json")


def test_three_commands_do_what_run_does(
    two_steps: Project, taxi_nb: CommandLine, store: str
) -> None:
    code, out, err = taxi_nb("open", PARAMS, "--tag", "engine=a test")
    assert (code, err) == (0, "")
    run = out.removesuffix("\n")
    assert "\n" not in run

    code, _, err = taxi_nb("step", PARAMS, "02_b", "--run", run)
    assert (code, err) == (2, "02_b needs 01_a, which has not run in this run\n")
    code, _, err = taxi_nb("step", PARAMS, "01_x", "--run", run)
    assert (code, err) == (2, "test.yaml has no step '01_x'; did you mean '01_a'?\n")

    code, out, err = taxi_nb("step", PARAMS, "01_a", "--run", run)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "01_a  started: never ran"
    # Another run in the project, meanwhile, takes nobody for dead.
    assert taxi_nb("run", PARAMS)[0] == 0
    assert [r.info.status for r in runs_of(store, "tags.engine = 'a test'")] == ["RUNNING"]

    assert taxi_nb("step", PARAMS, "02_b", "--run", run)[0] == 0
    # An engine that did not hear the answer asks again.
    assert "done already" in taxi_nb("step", PARAMS, "02_b", "--run", run)[1]

    code, out, err = taxi_nb("close", run)
    assert (code, err) == (0, "")
    assert "test: ok in " in out
    assert taxi_nb("close", run)[:2] == (code, out)
    record = record_of(two_steps, run)
    assert [step.status for step in record.steps] == [Status.OK, Status.CACHED]
    assert record.steps[0].metrics == {"answer": 42}
    assert "read 42" in (two_steps.root / "runs" / run / "02_b.ipynb").read_text()
    page = (two_steps.root / "runs" / run / "index.html").read_text()
    assert page.rstrip().endswith("</html>")
    assert {r.info.status for r in runs_of(store)} == {"FINISHED"}
    assert taxi_nb("step", PARAMS, "02_b", "--run", run)[2] == f"run {run} is closed: ok\n"
    code, _, err = taxi_nb("open", PARAMS, "--run", run)
    assert (code, err) == (2, f"run {run} is closed: ok\n")
    assert taxi_nb("run", PARAMS)[1].startswith("test: nothing changed")

    again = taxi_nb("open", PARAMS)[1].removesuffix("\n")
    code, out, err = taxi_nb("step", PARAMS, "01_a", "--run", again, "--force")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"01_a  started, last time \d.*s: forced", out.splitlines()[0])
    assert taxi_nb("close", again)[0] == 1  # 02_b has not run.


def test_a_failure_is_told_and_what_needs_it_is_skipped(
    project: Project, taxi_nb: CommandLine, store: str
) -> None:
    project.notebook("01_a", "1 / 0")
    project.notebook("02_b")
    project.notebook("03_c")
    project.pipeline(
        "steps: [{notebook: 01_a, needs: []}, {notebook: 02_b, needs: [01_a]}, {notebook: 03_c}]"
    )
    run = taxi_nb("open", PARAMS, "--run", "mine")[1].strip()
    assert taxi_nb("open", PARAMS, "--run", "mine")[:2] == (0, "mine\n")  # Opened again: the same.
    code, _, err = taxi_nb("step", PARAMS, "01_a", "--run", run)
    assert code == 1
    assert "cell 2: ZeroDivisionError: division by zero" in err
    code, out, _ = taxi_nb("step", PARAMS, "02_b", "--run", run)
    assert code == 1
    assert "it needs 01_a, which did not succeed" in out
    code, out, _ = taxi_nb("close", run)
    assert code == 1
    assert "test: failed" in out
    assert [step.status for step in record_of(project, run).steps] == [
        Status.FAILED,
        Status.SKIPPED,
        Status.SKIPPED,
    ]
    assert {r.info.status for r in runs_of(store)} == {"FAILED"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_step_that_is_ended_can_be_called_again(
    project: Project, taxi_nb: CommandLine, store: str, number: signal.Signals
) -> None:
    project.notebook(
        "01_a", "import os, time\nif not os.path.exists('../on'): time.sleep(60)", "print('done')"
    )
    project.pipeline("steps: [{notebook: 01_a}]")
    run = taxi_nb("open", PARAMS)[1].strip()
    process = taxi_nb.fork("step", PARAMS, "01_a", "--run", run)
    state = project.root / "runs" / run / ".steps" / "01_a.json"
    wait_for(lambda: state.exists() and json.loads(state.read_text())["step"]["mlflow_run_id"])
    # While it lives nobody else carries it out, and nobody closes the run.
    code, _, err = taxi_nb("step", PARAMS, "01_a", "--run", run)
    assert code == 2
    assert "01_a is being carried out already, by " in err
    assert taxi_nb("close", run)[0] == 2
    code, _, _ = end(process, number)
    assert code == (-9 if number is signal.SIGKILL else 143)

    (project.root / "on").touch()
    assert taxi_nb("step", PARAMS, "01_a", "--run", run)[0] == 0
    assert taxi_nb("close", run)[0] == 0
    statuses = [(r.info.run_name, r.info.status) for r in runs_of(store)]
    assert sorted(statuses) == [("01_a", "FINISHED"), ("01_a", "KILLED"), (run, "FINISHED")]


def test_machines_that_share_no_disk_share_a_run(
    two_steps: Project, taxi_nb: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    monkeypatch.setenv("TAXI_NB_RESULTS", str(results))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    shutil.copy(two_steps.root / "mlflow.db", tmp_path / "mlflow.db")
    (two_steps.root / "mlflow.db").unlink()
    machines = []
    for number in range(4):
        root = shutil.copytree(two_steps.root, tmp_path / f"machine {number}" / f"copy {number}")
        machines.append(CommandLine(root, taxi_nb.warm))

    def on(number: int, *arguments: str) -> str:
        monkeypatch.setenv("TAXI_NB_ROOT", str(machines[number].root))
        code, out, err = machines[number](*arguments)
        assert (code, err) == (0, "")
        return out

    run = on(0, "open", PARAMS).strip()
    on(1, "step", PARAMS, "01_a", "--run", run)
    on(2, "step", PARAMS, "02_b", "--run", run)
    assert "test: ok" in on(3, "close", run)
    folder = machines[3].root / "runs" / run
    assert "read 42" in (folder / "02_b.ipynb").read_text()
    assert "read 42" in (folder / "02_b.html").read_text()
    assert (results / "runs" / run / "index.html").is_file()
    # Nothing names the project but its folder, and these have several names: it is one run.
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    runs = runs_of(store)
    assert sorted(one.info.run_name for one in runs) == ["01_a", "02_b", run]
    assert len({one.info.experiment_id for one in runs}) == 1


def test_all_steps_are_of_one_commit_and_one_file(two_steps: Project, taxi_nb: CommandLine) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
        subprocess.run(["git", *who, *arguments], cwd=two_steps.root, check=True)

    git("init", "-q")
    git("add", "notebooks", "params")
    git("commit", "-qm", "one")
    run = taxi_nb("open", PARAMS)[1].strip()
    two_steps.pipeline("steps: [{notebook: 01_a}, {notebook: 02_b, name: other}]")
    code, _, err = taxi_nb("step", PARAMS, "01_a", "--run", run)
    assert code == 2
    assert "is not what run" in err
    two_steps.pipeline(STEPS)
    git("commit", "-q", "--allow-empty", "-m", "two")
    code, _, err = taxi_nb("step", PARAMS, "01_a", "--run", run)
    assert code == 2
    assert "all its steps have to be of one commit" in err


def test_an_unknown_run_is_said_with_what_to_do(two_steps: Project, taxi_nb: CommandLine) -> None:
    code, _, err = taxi_nb("close", "20200101-000000-test")
    assert code == 2
    assert err.startswith("there is no run 20200101-000000-test in ")
    assert "TAXI_NB_RESULTS" in err
    code, _, err = taxi_nb("step", PARAMS, "01_a", "--run", "../elsewhere")
    assert (code, err) == (2, "no run is called '../elsewhere'\n")
    for name in ("latest", ".results", "../other", "a b"):
        code, out, err = taxi_nb("open", PARAMS, "--run", name)
        assert (code, out) == (2, "")
        assert f"a run cannot be called {name!r}" in err


def test_store_and_secrets_of_the_pipeline_file_count_in_each_call(
    project: Project, taxi_nb: CommandLine, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARES_TOKEN", "hush-1234567890")
    project.notebook("01_a", "print('with', token)", parameters="token: str = ''")
    shutil.copy(project.root / "mlflow.db", project.root / "other.db")
    other = f"sqlite:///{project.root / 'other.db'}"
    project.pipeline(
        f"tracking_uri: {other}\nsteps: [{{notebook: 01_a, params: {{token: 'env:FARES_TOKEN'}}}}]"
    )
    run = taxi_nb("open", PARAMS)[1].strip()
    assert taxi_nb("step", PARAMS, "01_a", "--run", run)[0] == 0
    assert taxi_nb("close", run)[0] == 0
    assert runs_of(store) == []
    assert [found.info.status for found in runs_of(other)] == ["FINISHED", "FINISHED"]
    notebook = (project.root / "runs" / run / "01_a.ipynb").read_text()
    assert "with" in notebook
    assert "hush-1234567890" not in notebook


def test_on_another_machine_too_a_step_whose_need_failed_is_skipped(
    project: Project, taxi_nb: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_RESULTS", str(tmp_path / "results"))
    project.notebook("01_a", "1 / 0")
    project.notebook("02_b")
    project.pipeline(STEPS)
    run = taxi_nb("open", PARAMS)[1].strip()
    assert taxi_nb("step", PARAMS, "01_a", "--run", run)[0] == 1
    code, out, _ = taxi_nb("step", PARAMS, "02_b", "--run", run)
    assert code == 1
    assert "it needs 01_a, which did not succeed" in out
