"""Results of earlier steps, kept to be used again: `runs/.results/`."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.code_digest import digest
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.record import StepResult, slug, step_result
from taxi_nb.project import write_whole

FOLDER = ".results"


@dataclass(frozen=True)
class StoredResult:
    """What a step once left, and all that it used.

    Attributes
    ----------
    run : str
        The pipeline run that executed it: a folder's name in ``runs/``.
    kind : str or None
        Of the step's MLflow run, such as ``training``.
    notebook_size : int
        Bytes of the executed notebook: half of one is none.
    """

    run: str
    kind: str | None
    notebook_size: int
    step: StepResult
    inputs: Inputs


@dataclass(frozen=True)
class Attempt:
    """The last time that a step of a pipeline was begun.

    Attributes
    ----------
    problem : str or None
        Why it left nothing that can be used again: ``failed``, ``did not end``.
    last_good : str or None
        The file of the last result that can.
    """

    key: str
    problem: str | None
    last_good: str | None


class StepResults:
    """The results that a project keeps.

    Results are found by what is known before a step runs; each differs from others of the
    same key in what was recorded. Nothing is replaced, so that branches and variants keep
    theirs. Files are written aside and renamed: what can be read is whole.

    Parameters
    ----------
    runs : Path
        The project's ``runs/``.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.folder = runs / FOLDER

    def candidates(self, pipeline: str, step: str, key: str) -> list[StoredResult]:
        """Return the results of a key, the newest first, and the last one of the step."""
        folder = self._of_key(key)
        try:
            kept = sorted(os.scandir(folder), key=lambda e: e.stat().st_mtime_ns, reverse=True)
            files = [Path(entry) for entry in kept]
        except OSError:
            files = []
        attempt = self.attempt(pipeline, step)
        if attempt is not None and attempt.last_good is not None:
            files.append(self.folder / attempt.last_good)
        found = map(self._read, dict.fromkeys(files))
        return [result for result in found if result is not None]

    def keep(self, pipeline: str, result: StoredResult) -> None:
        """Keep a result, and that the step's last attempt was good."""
        folder = self._of_key(result.inputs.key)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{result.run}-{secrets.token_hex(3)}.json"
        content = {**asdict(result), "inputs": result.inputs.to_dict()}
        write_whole(path, json.dumps(content))
        where = str(path.relative_to(self.folder))
        self._write_attempt(
            pipeline, result.step.name, Attempt(result.inputs.key, None, last_good=where)
        )

    def note(self, pipeline: str, step: str, key: str, problem: str) -> None:
        """Note that a step was begun, or why it left nothing that can be used again."""
        before = self.attempt(pipeline, step)
        last_good = before.last_good if before else None
        self._write_attempt(pipeline, step, Attempt(key, problem, last_good))

    def attempt(self, pipeline: str, step: str) -> Attempt | None:
        """Return the last attempt at a step, if there was one."""
        try:
            return Attempt(**json.loads(self._of_step(pipeline, step).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def has_files_of(self, result: StoredResult) -> bool:
        """Whether the executed notebook is still there, whole."""
        if result.step.executed_notebook is None:
            return False
        try:
            path = self.runs / result.run / result.step.executed_notebook
            return path.stat().st_size == result.notebook_size
        except OSError:
            return False

    def speak_of(self, run: str) -> bool:
        """Whether a result is kept that a run of this name left, be its folder there or not."""
        return any(self.folder.glob(f"keys/*/{run}-??????.json"))

    def same_run(self, results: Sequence[StoredResult]) -> Path | None:
        """Return the folder of the run that consists of these very results, if there is one."""
        try:
            folder = self.runs / self._of_run(results).read_text("utf-8")
        except OSError:
            return None
        return folder if (folder / "index.html").is_file() else None

    def note_run(self, results: Sequence[StoredResult], run: str) -> None:
        """Note which run consists of these results."""
        path = self._of_run(results)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, run)

    def _read(self, path: Path) -> StoredResult | None:
        """Read a result; one of another version of this file's form is none."""
        try:
            known: dict[str, Any] = json.loads(path.read_bytes())
            return StoredResult(
                **{
                    **known,
                    "step": step_result(known["step"]),
                    "inputs": Inputs.from_dict(known["inputs"]),
                }
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_attempt(self, pipeline: str, step: str, attempt: Attempt) -> None:
        path = self._of_step(pipeline, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(attempt)))

    def _of_key(self, key: str) -> Path:
        return self.folder / "keys" / key

    def _of_step(self, pipeline: str, step: str) -> Path:
        name = f"{slug(step)[:80]}-{digest(step)[:8]}.json"
        return self.folder / "steps" / slug(pipeline) / name

    def _of_run(self, results: Sequence[StoredResult]) -> Path:
        ids = json.dumps([[result.run, result.step.mlflow_run_id] for result in results])
        return self.folder / "runs" / digest(ids)
