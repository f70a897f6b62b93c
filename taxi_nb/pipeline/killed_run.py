"""The run of this project that was killed last: its books are closed by the next one.

One run at a time holds a project's lock. So whoever holds it, and finds a run noted as running,
knows that it was killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.pipeline._results import FOLDER, KeptResults
from taxi_nb.pipeline.record import RUN_FILE, RunRecord, Status, StepError, StepResult
from taxi_nb.project import file_inside, write_whole
from taxi_nb.tracking.names import PIPELINE_RUN_TAG, STEP_TAG, RunStatus

if TYPE_CHECKING:
    from mlflow.entities import Run

_NOTE = ".running.json"
# A file is half written for as long as one write takes.
_HALF_SECONDS = 1


def note_running(folder: Path) -> None:
    """Note that a run has begun to fill its folder."""
    write_whole(folder.parent / _NOTE, json.dumps({"run": folder.name}))


def forget_running(folder: Path) -> None:
    """Note that it is done, whatever became of it."""
    (folder.parent / _NOTE).unlink(missing_ok=True)


def ended(step: StepResult, run_status: Status) -> StepResult:
    """Return what a step has come to when its run ends."""
    if step.status is Status.RUNNING:
        return replace(step, status=Status.INTERRUPTED)
    if step.status is Status.PENDING:
        reason = StepError(None, "Skipped", f"the run ended before it: {run_status}")
        return replace(step, status=Status.SKIPPED, error=reason)
    return step


def clear_half_files(runs: Path) -> None:
    """Remove what killed processes left half written in the folders of runs.

    The caller holds the project's lock; a command that needs none may write there.
    """
    now = time.time()
    places = (runs, *runs.glob("*/"), *(runs / FOLDER).glob("**/"))
    for file in (file for place in places for file in place.glob(".*.part")):
        owner = file.name.split(".")[-2].partition("-")[0]
        import psutil  # Of which most runs have no need: there is no such file.

        with suppress(OSError):
            is_old = now - file.stat().st_mtime > _HALF_SECONDS
            if is_old and not (owner.isdecimal() and psutil.pid_exists(int(owner))):
                file.unlink()


def close_killed_run(runs: Path, say: Callable[[str], None]) -> None:
    """Let record and page of the run that was killed, if one was, say what it had come to.

    The caller holds the project's lock. `say` takes a line about it.
    """
    try:
        name = str(json.loads((runs / _NOTE).read_bytes())["run"])
        folder = file_inside(runs, f"{name}/{RUN_FILE}").parent
        record = RunRecord.read(folder / RUN_FILE)
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        return forget_running(runs / "none")
    if record.status is Status.RUNNING:
        from taxi_nb.pipeline.report.site import write_site

        kept = KeptResults(runs).of_run(folder.name)
        steps = tuple(ended(kept.get(s.name, s), Status.INTERRUPTED) for s in record.steps)
        seconds = sum(step.seconds or 0 for step in steps)
        record = replace(record, status=Status.INTERRUPTED, steps=steps, seconds=seconds)
        write_whole(folder / RUN_FILE, record.to_json())
        with suppress(OSError, ValueError):
            write_site(folder)
        for left in (*folder.glob(".*.inputs.jsonl"), *folder.glob(".*.progress")):
            left.unlink(missing_ok=True)
        say(f"{record.id} was killed: {RUN_FILE} and page say so now")
    forget_running(folder)


def ending_of(runs: Path, run: Run) -> RunStatus:
    """Return how a run in MLflow ended whose owner was killed, as the files here have it.

    A step whose result was kept had done all that it had to; so had a pipeline whose record
    says how it ended.
    """
    name, step = run.data.tags.get(PIPELINE_RUN_TAG), run.data.tags.get(STEP_TAG)
    if name is None:
        return "KILLED"
    if step is not None:
        kept = KeptResults(runs).of_run(name).get(step)
        return "FINISHED" if kept and kept.mlflow_run_id == run.info.run_id else "KILLED"
    try:
        record = RunRecord.read(file_inside(runs, f"{name}/{RUN_FILE}"))
    except (OSError, ValueError):
        return "KILLED"
    is_its = record.mlflow_run_id == run.info.run_id and record.status is not Status.RUNNING
    return record.status.of_run if is_its else "KILLED"
