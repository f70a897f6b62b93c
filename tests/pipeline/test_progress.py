"""What is seen of a run while it goes on: on a terminal of 80 columns, and in a log."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from taxi_nb.pipeline.expected import Expected, duration
from taxi_nb.pipeline.progress import LiveProgress, PlainProgress
from taxi_nb.pipeline.record import RunRecord, Status, StepError, StepResult
from taxi_nb.tracking.progress_bar import progress_bar
from tests.running import run_record

STEPS = (
    StepResult("03_train[random_forest]", "notebooks/03_train.ipynb", reason="never ran"),
    StepResult("04_tune", "notebooks/04_tune.ipynb", reason=f"params.a 1 -> {'9' * 200}"),
    StepResult("05_evaluate", "notebooks/05_evaluate.ipynb", reason="needs 04_tune"),
)
EXPECTED = Expected({"04_tune": 18.2, "05_evaluate": 4.0}, 22.2, 1)


def finished(step: StepResult, **given: object) -> StepResult:
    return replace(step, status=Status.OK, seconds=12.34, **given)  # type: ignore[arg-type]


def shown(progress: LiveProgress, width: int = 80) -> list[str]:
    """The table as it is now, without colours."""
    console = Console(width=width, file=io.StringIO())
    console.print(progress._table())
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.fixture
def live(tmp_path: Path) -> LiveProgress:
    live = LiveProgress(Console(width=80, file=io.StringIO()), EXPECTED)
    live.run_started(run_record(steps=STEPS), tmp_path)
    return live


def line_of(step: str, lines: list[str]) -> str:
    (line,) = (line for line in lines if line.startswith(f"{step} "))
    return line


def test_before_it_runs_a_step_shows_how_long_it_took_last_time(live: LiveProgress) -> None:
    lines = shown(live)
    assert re.fullmatch(r"04_tune +pending +\(18 s\)", line_of("04_tune", lines))
    assert any("about 22 s expected, and what is new: 1 step" in line for line in lines)


def test_while_it_runs_a_step_shows_its_cell_and_the_trials_that_are_done(
    live: LiveProgress,
) -> None:
    live.step_started(replace(STEPS[1], attempts=1))
    live.cell_started("04_tune", 5, 16)
    assert re.search(r"running +0 s \(18 s\) +cell 5/16", line_of("04_tune", shown(live)))
    live.progressed("04_tune", "3 of 10 trials, best 5.203 min")
    line = line_of("04_tune", shown(live))
    assert line.endswith("3 of 10 trials, best 5.203 min")


def test_when_it_is_done_a_step_shows_what_it_came_to_and_no_reason(
    live: LiveProgress, tmp_path: Path
) -> None:
    says = {"text/markdown": "**Conclusion.** Of 9 models `linear` is best."}
    output = {"output_type": "display_data", "data": says, "metadata": {}}
    cell = {"cell_type": "code", "source": "", "metadata": {}, "outputs": [output]}
    (tmp_path / "05.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}}))
    live.step_ended(finished(STEPS[1], metrics={"valid_rmse": 5.15678, "trials": 10.0}))
    live.step_ended(finished(STEPS[2], executed_notebook="05.ipynb"))
    lines = shown(live)
    assert re.fullmatch(r"04_tune +ok +12.3 s +valid_rmse 5.157", line_of("04_tune", lines))
    assert line_of("05_evaluate", lines).endswith("Of 9 models linear is best.")
    assert "params.a" not in "\n".join(lines)


@pytest.mark.parametrize("width", [80, 60])
def test_each_step_is_one_line_and_its_name_is_whole(live: LiveProgress, width: int) -> None:
    error = StepError(7, "ValueError", "a long\nstory " * 40)
    live.step_ended(replace(STEPS[0], status=Status.FAILED, error=error, seconds=1.0))
    live.step_ended(replace(STEPS[1], status=Status.CACHED, reused_from="20260203-140501-test"))
    lines = shown(live, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == len(STEPS) + 3  # The title, the head, and what is expected.
    assert line_of("03_train[random_forest]", lines).endswith("…")
    assert "up to date" in line_of("04_tune", lines)
    assert "cached" not in "\n".join(lines)


def test_after_a_signal_no_step_is_shown_as_running(live: LiveProgress) -> None:
    live.step_started(replace(STEPS[0], attempts=1, status=Status.RUNNING))
    ended = (replace(STEPS[0], status=Status.INTERRUPTED), *STEPS[1:])
    live.run_ended(run_record(status=Status.INTERRUPTED, steps=ended))
    assert "interrupted" in line_of("03_train[random_forest]", shown(live))
    assert "running" not in "\n".join(shown(live))


def test_a_log_says_the_same_in_lines(tmp_path: Path) -> None:
    console = Console(width=80, file=io.StringIO())
    plain = PlainProgress(console, EXPECTED)
    record: RunRecord = run_record(steps=STEPS)
    plain.run_started(record, tmp_path)
    plain.step_started(replace(STEPS[1], attempts=1))
    plain.progressed("04_tune", "1 of 10 trials")  # A moment later it is not worth a line.
    plain.step_ended(finished(STEPS[1], metrics={"valid_rmse": 5.15678}))
    plain.step_ended(replace(STEPS[2], status=Status.CACHED, reused_from="another"))
    plain.step_started(replace(STEPS[0], attempts=1))
    interrupted = replace(STEPS[0], status=Status.INTERRUPTED)
    plain.run_ended(replace(record, steps=(interrupted, *STEPS[1:])))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "run one: 3 steps, about 22 s expected, and what is new: 1 step",
        f"04_tune  started, last time 18.2 s: {STEPS[1].reason}",
        "04_tune  ok  12.3 s  valid_rmse 5.157",
        "05_evaluate  up to date  (run another)",
        "03_train[random_forest]  started: never ran",
        "03_train[random_forest]  interrupted",
    ]


def test_a_bar_in_a_step_says_in_a_file_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / ".04_tune.progress"
    monkeypatch.setenv("TAXI_NB_PROGRESS", str(place))
    step = {"run_id": "1", "uri": "sqlite://", "experiment": "x"}
    monkeypatch.setenv("TAXI_NB_STEP_RUN", json.dumps(step))
    monkeypatch.setenv("TAXI_NB_NOTEBOOK", "notebooks/04_tune.ipynb")
    with progress_bar(total=10, unit="trial", desc="tuning", mininterval=0) as bar:
        assert place.read_text() == "0 of 10 trials"
        bar.set_postfix(best="5.203 min", refresh=False)
        bar.update(3)
        assert place.read_text() == "3 of 10 trials, best 5.203 min"
    assert capsys.readouterr() == ("", "")


def test_durations_are_told_as_people_do() -> None:
    assert [duration(seconds) for seconds in (None, 0.04, 59.9, 60, 3_700)] == [
        *("–", "0.0 s", "59.9 s", "1 min 0 s", "1 h 1 min")
    ]
    assert duration(59.7, 0) == "1 min 0 s"
