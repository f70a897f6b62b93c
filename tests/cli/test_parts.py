"""`--only`, `--until` and `--from`: part of a pipeline runs, and what does not is said."""

from __future__ import annotations

import pytest

from taxi_nb.pipeline.record import RunRecord
from tests.conftest import Project
from tests.running import CommandLine

STEPS = """
steps:
  - notebook: 01_a
  - {notebook: 02_b, needs: [01_a], matrix: {k: [1, 2]}}
  - {notebook: 03_c, needs: ["02_b[2]"]}
  - {notebook: 04_d, needs: []}
"""
EVERY = ["01_a", "02_b[1]", "02_b[2]", "03_c", "04_d"]


@pytest.fixture
def four(project: Project) -> Project:
    project.notebook("01_a", "1")
    project.notebook("02_b", "k", parameters="k = 0")
    project.notebook("03_c", "3")
    project.notebook("04_d", "4")
    project.pipeline(STEPS)
    return project


def latest(project: Project) -> RunRecord:
    return RunRecord.read(project.root / "runs" / "latest" / "run.json")


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (["--only", "01_a"], ["01_a"]),
        (["--only", "01_a", "--only", "04_d"], ["01_a", "04_d"]),
        (["--until", "02_b"], ["01_a", "02_b[1]", "02_b[2]"]),
        (["--until", "03_c"], ["01_a", "02_b[2]", "03_c"]),
        (["--from", "01_a"], ["01_a", "02_b[1]", "02_b[2]", "03_c"]),
        (["--from", "01_a", "--until", "02_b[1]"], ["01_a", "02_b[1]"]),
    ],
)
def test_a_plan_says_what_is_chosen_and_what_is_left_out(
    four: Project, taxi_nb: CommandLine, options: list[str], chosen: list[str]
) -> None:
    code, out, err = taxi_nb("plan", "params/test.yaml", *options)
    assert (code, err) == (0, "")
    given = " ".join(options)
    lines = {line.partition("  ")[0]: line for line in out.splitlines()}
    for name in EVERY:
        says = "will run: " if name in chosen else f"left out by {given}; it would run: never ran"
        assert says in lines[name]
    left = 5 - len(chosen)
    assert f"{len(chosen)} of 5 steps will run, {left} left out by {given}" in out


@pytest.mark.slow
def test_a_run_of_a_part_says_so_everywhere_and_what_is_left_runs_later(
    four: Project, store: str, taxi_nb: CommandLine
) -> None:
    code, out, err = taxi_nb("run", "params/test.yaml", "--until", "02_b[1]")
    assert (code, err) == (0, "")
    assert "03_c  skipped  left out by --until 02_b[1]; it would run: never ran" in out
    assert "part:     3 of 5 steps left out: 02_b[2], 03_c, 04_d" in out
    record = latest(four)
    assert record.status == "ok"
    assert [step.name for step in record.left_out] == ["02_b[2]", "03_c", "04_d"]
    assert record.settings == ["--only", "01_a", "--only", "02_b[1]"]
    page = (four.root / "runs" / "latest" / "index.html").read_text()
    assert "3 of 5 steps left out: 02_b[2], 03_c, 04_d" in page
    assert "left out by --until 02_b[1]; it would run: never ran" in page
    # Nothing is left to do of it, and no run is made of that.
    code, out, _ = taxi_nb("run", "params/test.yaml", "--until", "02_b[1]")
    assert code == 0
    assert "--until 02_b[1] is up to date" in out
    assert latest(four) == record
    # What was left out is not taken for done.
    code, out, _ = taxi_nb("run", "params/test.yaml")
    assert code == 0
    assert "03_c  started: never ran" in out
    statuses = [step.status.value for step in latest(four).steps]
    assert statuses == ["cached", "cached", "ok", "ok", "ok"]
    assert latest(four).settings == []


def test_a_step_never_runs_without_what_it_declares_that_it_needs(
    four: Project, taxi_nb: CommandLine
) -> None:
    for command in ("plan", "run"):
        code, out, err = taxi_nb(command, "params/test.yaml", "--only", "03_c")
        assert (code, out) == (2, "")
        assert err == (
            "--only 03_c: 03_c needs 02_b[2], which is left out and is not up to date (never "
            "ran): add --only '02_b[2]', or ask for --until 03_c\n"
        )


def test_what_is_undeclared_is_left_to_the_notebook(
    project: Project, store: str, taxi_nb: CommandLine
) -> None:
    """It waits for all before it in a whole run; whether it uses them nobody knows before."""
    project.notebook("01_slow", "raise SystemExit('never asked for')")
    project.notebook("02_b", "print('alone')")
    project.pipeline("steps: [{notebook: 01_slow}, {notebook: 02_b}]")
    code, out, _ = taxi_nb("run", "params/test.yaml", "--from", "02_b")
    assert code == 0
    assert "01_slow  skipped  left out by --from 02_b" in out
    assert "02_b  ok" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--only", "2_b"], "--only: there is no step named '2_b'; did you mean '02_b'?"),
        (["--from", "nope"], "--from: there is no step named 'nope'"),
        (["--until", "01_a", "--from", "04_d"], "--from 04_d --until 01_a: no step is in all of"),
        (["--only", "01_a", "--force", "04_d"], "--force 04_d: --only 01_a leaves that step out"),
    ],
)
def test_what_names_no_step_is_one_message(
    four: Project, taxi_nb: CommandLine, options: list[str], says: str
) -> None:
    code, out, err = taxi_nb("run", "params/test.yaml", *options)
    assert (code, out) == (2, "")
    assert err.startswith(says)
    assert len(err.splitlines()) == 1
