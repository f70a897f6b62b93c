"""`taxi-nb plan` and `run` for a second time: nothing changed, forced, killed, two at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kills import disagreements
from taxi_nb.pipeline.record import RunRecord, Status
from tests.conftest import Project, runs_of, texts
from tests.running import CommandLine, wait_for
from tests.test_house import HEAVY

pytestmark = pytest.mark.slow

WRITES = (
    "import os, time\ntime.sleep(0.3)\n"
    "with open('../made.part', 'w') as file:\n    file.write('42')\n"
    "os.replace('../made.part', '../made.txt')"
)
READS = "import time\ntime.sleep(0.3)\nprint('read', open('../made.txt').read())"
STEPS = "steps: [{notebook: 01_a}, {notebook: 02_b}]"


@pytest.fixture
def two_steps(project: Project) -> Project:
    """A step that writes a file and one that reads it."""
    project.notebook("01_a", WRITES)
    project.notebook("02_b", READS)
    project.pipeline(STEPS)
    return project


def imported_by_planning(project: Project) -> set[str]:
    """Return the top-level modules that the whole command imports, results being there."""
    script = (
        "import sys\nfrom taxi_nb.cli import app\n"
        "app(['plan', 'params/test.yaml'], standalone_mode=False)\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=project.root
    )
    assert "nothing will run" in done.stdout
    return {name.partition(".")[0] for name in done.stdout.split()}


def latest(project: Project) -> RunRecord:
    return RunRecord.from_json((project.root / "runs" / "latest" / "run.json").read_text())


def test_a_session_of_planning_and_running(two_steps: Project, taxi_nb: CommandLine) -> None:
    command = ("params/test.yaml",)
    code, out, err = taxi_nb("plan", *command)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "01_a  will run: never ran",
        "02_b  will run: never ran",
        "",
        "2 of 2 steps will run",
    ]
    code, out, err = taxi_nb("run", *command)
    assert (code, err) == (0, "")
    assert "01_a  started: never ran" in out
    first = latest(two_steps)
    code, out, err = taxi_nb("run", *command)
    assert (code, err) == (0, "")
    assert out.startswith("test: nothing changed, all 2 steps are up to date\npage: ")
    assert latest(two_steps) == first
    assert taxi_nb("plan", *command)[1].endswith("nothing will run\n")
    assert not imported_by_planning(two_steps) & HEAVY
    code, out, err = taxi_nb("run", *command, "--force", "02_b")
    assert (code, err) == (0, "")
    assert f"01_a  up to date  (run {first.id})" in out
    assert re.search(r"02_b  started, last time .* s: forced", out)
    assert [step.status for step in latest(two_steps).steps] == [Status.CACHED, Status.OK]
    code, out, _ = taxi_nb("plan", "--force", *command)
    assert "2 of 2 steps will run" in out
    code, out, err = taxi_nb("plan", *command, "--force", "2_b")
    assert (code, out) == (2, "")
    assert err == "--force: there is no step named '2_b'; did you mean '02_b'?\n"


def test_all_results_of_several_runs_make_a_run_of_their_own(
    two_steps: Project, taxi_nb: CommandLine
) -> None:
    """No run consists of just these results, so one is made that points at them."""
    taxi_nb("run", "params/test.yaml")
    (two_steps.root / "params" / "other.yaml").write_text(STEPS)
    code, out, err = taxi_nb("run", "params/other.yaml")
    assert (code, err) == (0, "")
    # The same results, though of another pipeline.
    assert "nothing changed" in out
    (two_steps.root / "params" / "more.yaml").write_text("steps: [{notebook: 01_a}]")
    code, out, err = taxi_nb("run", "params/more.yaml")
    assert (code, err) == (0, "")
    assert "01_a  up to date" in out
    assert [step.status for step in latest(two_steps).steps] == [Status.CACHED]


@pytest.mark.parametrize("after", ["run ", "01_a  started", "01_a  ok", "02_b  started"])
def test_after_a_kill_the_next_run_does_what_is_missing_and_is_right(
    two_steps: Project, taxi_nb: CommandLine, store: str, after: str
) -> None:
    process = taxi_nb.fork("run", "params/test.yaml")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(after):
            break
    process.kill()
    process.communicate()
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert code == 0
    assert [line for line in err.splitlines() if "was killed: run.json and page" not in line] == []
    assert "read 42" in texts(two_steps.root / "runs" / "latest" / "02_b.ipynb")
    assert {run.info.status for run in runs_of(store)} <= {"FINISHED", "KILLED"}
    assert disagreements(two_steps.root) == []
    was_done = after in ("01_a  ok", "02_b  started")
    assert ("01_a  up to date" in out) == was_done
    if after == "02_b  started":
        assert "02_b  started: last time did not end" in out
    assert taxi_nb("plan", "params/test.yaml")[1].endswith("nothing will run\n")


def test_the_second_of_two_runs_waits_and_then_has_nothing_to_do(
    two_steps: Project, taxi_nb: CommandLine, store: str
) -> None:
    first = taxi_nb.fork("run", "params/test.yaml")
    holder = two_steps.root / "runs" / ".lock-holder.json"
    wait_for(holder.exists)
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert first.wait(60) == 0
    assert code == 0
    assert err.startswith(f"waiting for process {first.pid} on ")
    assert "run params/test.yaml, since " in err
    assert "nothing changed" in out
    assert len(runs_of(store, "tags.`taxi_nb.kind` = 'step'")) == 2
    assert json.loads(holder.read_text())["pid"] != os.getpid()


def test_one_who_waits_can_be_interrupted(two_steps: Project, taxi_nb: CommandLine) -> None:
    first = taxi_nb.fork("run", "params/test.yaml")
    wait_for((two_steps.root / "runs" / ".lock-holder.json").exists)
    second = taxi_nb.fork("run", "params/test.yaml")
    assert second.stderr is not None
    assert second.stderr.readline().startswith("waiting for process")
    second.send_signal(signal.SIGINT)
    _, err = second.communicate(timeout=10)
    assert second.returncode == 130
    assert "Traceback" not in err
    assert first.wait(60) == 0


def test_a_store_that_cannot_be_asked_is_one_clear_error(
    two_steps: Project, taxi_nb: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    taxi_nb("run", "params/test.yaml")
    database = Path(two_steps.root / "mlflow.db")
    database.write_bytes(b"this is no database, but it is long enough to be taken for one" * 20)
    code, out, err = taxi_nb("plan", "params/test.yaml")
    assert (code, out) == (1, "")
    assert err.startswith("the MLflow store sqlite:///")
    assert "cannot be asked for runs: file is not a database" in err
    assert "Traceback" not in err
