"""Results of earlier steps, kept to be used again: `runs/.results/`."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from taxi_nb.pipeline._code_digest import digest
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.record import StepResult, is_run_name, slug
from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.project import file_inside, is_inside, write_whole

FOLDER = ".results"


@dataclass(frozen=True)
class Attempt:
    """The last time that a step of a pipeline was begun."""

    key: str
    # Why it left nothing that can be used again: ``failed``, ``did not end``.
    problem: str | None
    # The file of the last result that can.
    last_good: str | None


class KeptResults:
    """The results that a project keeps in its ``runs/``.

    Results are found by the part of their inputs that is known before a step runs; results of
    one key differ in what was recorded. Nothing is replaced, so that branches and variants keep
    theirs. Files are written aside and renamed: a file that can be read is whole.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.folder = runs / FOLDER

    def candidates(self, pipeline: str, step: str, key: str) -> list[StepResult]:
        """Return the results of a key, the newest first, and the last one of the step."""
        files: list[Path] = []
        with suppress(OSError):
            kept = [Path(entry) for entry in os.scandir(self._of_key(key))]
            files += sorted(kept, key=lambda file: file.stat().st_mtime_ns, reverse=True)
        attempt = self.attempt(pipeline, step)
        if attempt and attempt.last_good and is_inside(attempt.last_good):
            files.append(self.folder / attempt.last_good)
        return [found for file in dict.fromkeys(files) if (found := _read(file)) is not None]

    def keep(self, pipeline: str, result: StepResult) -> None:
        """Keep a result, and that the step's last attempt was good."""
        assert result.used is not None
        key = result.used.key
        path = self._of_key(key) / f"{result.executed_in}-{secrets.token_hex(3)}.json"
        write_whole(path, to_json(_written(result)))
        where = str(path.relative_to(self.folder))
        self._write_attempt(pipeline, result.name, Attempt(key, None, last_good=where))

    def note(self, pipeline: str, step: str, key: str, problem: str) -> None:
        """Note that a step was begun, or why it left nothing that can be used again."""
        before = self.attempt(pipeline, step)
        last_good = before.last_good if before else None
        self._write_attempt(pipeline, step, Attempt(key, problem, last_good))

    def attempt(self, pipeline: str, step: str) -> Attempt | None:
        try:
            return from_plain(Attempt, json.loads(self._of_step(pipeline, step).read_bytes()))
        except (OSError, ValueError):
            return None

    def has_files_of(self, result: StepResult) -> bool:
        """Whether the executed notebook is still there, whole."""
        if result.executed_notebook is None or result.executed_in is None:
            return False
        try:
            path = file_inside(self.runs / result.executed_in, result.executed_notebook)
            return path.stat().st_size == result.notebook_size
        except (OSError, ValueError):
            return False

    def of_run(self, run: str) -> dict[str, StepResult]:
        """Return the results that a run has left, by the step's name."""
        files = self.folder.glob(f"keys/*/{run}-??????.json")
        found = (_read(file) for file in files)
        return {result.name: result for result in found if result is not None}

    def speak_of(self, run: str) -> bool:
        """Whether a result is kept that a run of this name left, be its folder there or not."""
        return any(self.folder.glob(f"keys/*/{run}-??????.json"))

    def same_run(self, results: Sequence[StepResult]) -> Path | None:
        """Return the folder of the run that consists of these very results, if there is one."""
        try:
            name = self._of_run(results).read_text("utf-8")
        except (OSError, ValueError):
            return None
        folder = self.runs / name
        return folder if is_run_name(name) and (folder / "index.html").is_file() else None

    def note_run(self, results: Sequence[StepResult], run: str) -> None:
        write_whole(self._of_run(results), run)

    def _write_attempt(self, pipeline: str, step: str, attempt: Attempt) -> None:
        write_whole(self._of_step(pipeline, step), to_json(attempt))

    def _of_key(self, key: str) -> Path:
        return self.folder / "keys" / key

    def _of_step(self, pipeline: str, step: str) -> Path:
        name = f"{slug(step)[:80]}-{digest(step)[:8]}.json"
        return self.folder / "steps" / slug(pipeline) / name

    def _of_run(self, results: Sequence[StepResult]) -> Path:
        ids = json.dumps([[result.executed_in, result.mlflow_run_id] for result in results])
        return self.folder / "runs" / digest(ids)


def _written(result: StepResult) -> dict[str, object]:
    return {
        "run": result.executed_in,
        "kind": result.kind,
        "notebook_size": result.notebook_size,
        "step": result.recorded(),
        "inputs": result.used,
    }


def _read(path: Path) -> StepResult | None:
    """Read a kept result; one of another version of this form is none."""
    try:
        known = json.loads(path.read_bytes())
        return replace(
            StepResult.of_record(known["step"]),
            executed_in=known["run"],
            kind=known["kind"],
            notebook_size=known["notebook_size"],
            used=from_plain(Inputs, known["inputs"]),
        ).checked()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
