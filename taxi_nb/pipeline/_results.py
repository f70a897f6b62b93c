"""Results of earlier steps, kept to be used again: `runs/.results/`."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._code_digest import digest
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.record import (
    RUN_FILE,
    RunRecord,
    Sharing,
    StepResult,
    is_run_name,
    slug,
)
from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.project import file_inside, is_inside, read_regular, write_whole

FOLDER = ".results"

# Of a result's inputs: most of its bytes, and the same in many results. Each content is kept
# once, in a file that is named for its digest; here with the type that it has.
_COMMON: dict[str, Any] = {"modules": dict[str, dict[str, str]], "packages": dict[str, str]}
_PART = "$part"


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
        # What it is of, and its digest -> what a file of `parts/` holds.
        self._parts: dict[tuple[str, str], Any] = {}

    def candidates(self, pipeline: str, step: str, key: str) -> list[StepResult]:
        """Return the results of a key, the newest first, and the last one of the step."""
        files: list[str] = []
        with suppress(OSError), os.scandir(self._of_key(key)) as kept:
            newest = sorted(kept, key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
            files += (entry.path for entry in newest)
        attempt = self.attempt(pipeline, step)
        if attempt and attempt.last_good and is_inside(attempt.last_good):
            files.append(os.path.join(self.folder, attempt.last_good))
        return [found for file in dict.fromkeys(files) if (found := self._read(file)) is not None]

    def keep(self, pipeline: str, result: StepResult) -> None:
        """Keep a result, and that the step's last attempt was good."""
        assert result.used is not None
        key = result.used.key
        name = f"{result.executed_in}-{secrets.token_hex(3)}"
        if result.shared and result.shared.place:  # No run here has left it.
            name = Path(result.shared.place).name
        path = Path(self._of_key(key), f"{name}.json")
        kept = written(result)
        parts = {name: self._keep_part(getattr(result.used, name)) for name in _COMMON}
        kept["inputs"] = {**vars(result.used), **parts}
        write_whole(path, to_json(kept))
        where = str(path.relative_to(self.folder))
        self._write_attempt(pipeline, result.name, Attempt(key, None, last_good=where))

    def note(self, pipeline: str, step: str, key: str, problem: str) -> None:
        """Note that a step was begun, or why it left nothing that can be used again."""
        before = self.attempt(pipeline, step)
        last_good = before.last_good if before else None
        self._write_attempt(pipeline, step, Attempt(key, problem, last_good))

    def attempt(self, pipeline: str, step: str) -> Attempt | None:
        try:
            return from_plain(Attempt, _json_in(self._of_step(pipeline, step)))
        except (OSError, ValueError):
            return None

    def damage(self, result: StepResult, digests: FileDigests) -> Iterator[str]:
        """Say what of a result's files and artifacts is gone, or is not as it was kept.

        Files are compared by digest, artifacts by size, those on this machine. What else holds
        artifacts, such as a bucket, is not asked.
        """
        yield from self._damaged_files(result, digests)
        artifacts = result.artifacts or {}
        lost = [path for path, size in artifacts.items() if _size(self.runs.parent / path) != size]
        if lost:
            others = f" and {len(lost) - 1} others" if len(lost) > 1 else ""
            yield f"its artifacts are gone or not whole: {lost[0]}{others}"

    def place(self, result: StepResult) -> Path:
        """Return the folder with a result's files."""
        fetched = result.shared and result.shared.place
        return self.runs / (fetched or result.executed_in or "")

    def _damaged_files(self, result: StepResult, digests: FileDigests) -> Iterator[str]:
        folder = self.place(result)
        try:
            notebook = file_inside(folder, result.executed_notebook or "")
        except ValueError:
            notebook = None
        if notebook is None or not notebook.is_file():
            yield "its executed notebook is gone"
            return
        is_as_kept = _size(notebook) == result.notebook_size
        if not result.digests and not (is_as_kept and digests.is_json(notebook)):
            yield "its executed notebook is not whole"  # As older commits kept it.
        for key, kept in result.digests.items():
            found = digests.content(folder / (getattr(result, key) or ""))
            if found != kept:
                file = f"its {key.replace('_', ' ')} in {folder.name}"
                yield f"{file} changed since" if found else f"{file} cannot be read"

    def of_run(self, run: str) -> dict[str, StepResult]:
        """Return the results that a run has left, by the step's name."""
        found = map(self._read, self._left_by(run))
        return {result.name: result for result in found if result is not None}

    def speak_of(self, run: str) -> bool:
        """Whether a result is kept that a run of this name left, be its folder there or not."""
        return any(self._left_by(run))

    def _left_by(self, run: str) -> Iterator[Path]:
        return self.folder.glob(f"keys/*/{run}-??????.json")

    def same_run(self, results: Sequence[StepResult], digests: FileDigests) -> Path | None:
        """Return the folder of the run that consists of these very results, if it is whole."""
        try:
            name = self._of_run(results).read_text("utf-8")
            if not is_run_name(name):
                return None
            folder = self.runs / name
            record = RunRecord.read(folder / RUN_FILE)
        except (OSError, ValueError):
            return None
        steps = {step.name: step for step in record.steps}
        pages = [folder / "index.html", *(folder / s.html for s in record.steps if s.html)]
        is_whole = all(map(_is_page, pages)) and all(
            digests.content(folder / (getattr(steps[result.name], key) or "")) == kept
            for result in results
            for key, kept in result.digests.items()
        )
        return folder if is_whole else None

    def note_run(self, results: Sequence[StepResult], run: str) -> None:
        write_whole(self._of_run(results), run)

    def _read(self, path: str | Path) -> StepResult | None:
        """Read a kept result; one of another version of this form is none."""
        try:
            kept = _json_in(path)
            inputs = dict(kept["inputs"])
            # Older commits kept all of it here.
            named = {of: inputs[of][_PART] for of in _COMMON if _PART in (inputs.get(of) or ())}
            kept["inputs"] = {**inputs, **{of: {} for of in named}}
            return result_of(kept, {of: self._part(of, name) for of, name in named.items()})
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _keep_part(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep a part if it is not kept yet; return what stands for it in a result."""
        content = to_json(value, sort_keys=True).encode()
        name = hashlib.sha256(content).hexdigest()
        path = self._of_part(name)
        with suppress(OSError):
            if not path.is_symlink() and read_regular(path) == content:
                return {_PART: name}
        try:
            write_whole(path, content)
        except OSError:  # Something else is in its place: then the result has it, too.
            return value
        return {_PART: name}

    def _part(self, of: str, name: str) -> Any:
        """Return a part: the same object for all results that have it. ValueError if damaged."""
        if (of, name) not in self._parts:
            content = file_inside(self.folder / "parts", f"{name}.json").read_bytes()
            if hashlib.sha256(content).hexdigest() != name:
                raise ValueError(f"{name} has another content")
            self._parts[of, name] = from_plain(_COMMON[of], json.loads(content))
        return self._parts[of, name]

    def _write_attempt(self, pipeline: str, step: str, attempt: Attempt) -> None:
        write_whole(Path(self._of_step(pipeline, step)), to_json(attempt))

    # As texts: of a thousand steps they are put together several thousand times.
    def _of_key(self, key: str) -> str:
        return f"{self.folder}/keys/{key}"

    def _of_step(self, pipeline: str, step: str) -> str:
        return f"{self.folder}/steps/{slug(pipeline)}/{slug(step)[:80]}-{digest(step)[:8]}.json"

    def _of_part(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.json"

    def _of_run(self, results: Sequence[StepResult]) -> Path:
        ids = json.dumps([[result.executed_in, result.mlflow_run_id] for result in results])
        return self.folder / "runs" / digest(ids)


def _json_in(path: str | Path) -> Any:
    with open(path, "rb") as file:
        return json.loads(file.read())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _is_page(path: Path) -> bool:
    """Whether a page is there to its end."""
    end = b"</html>"
    try:
        with path.open("rb") as file:
            file.seek(-min(64, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return file.read().rstrip().endswith(end)
    except OSError:
        return False


def written(result: StepResult) -> dict[str, object]:
    """Return what is kept of a result, for JSON."""
    always = {
        "run": result.executed_in,
        "kind": result.kind,
        "notebook_size": result.notebook_size,
        "step": result.recorded(),
        "inputs": result.used,
    }
    # Older commits kept neither.
    known: dict[str, object] = {
        "digests": result.digests or None,
        "artifacts": result.artifacts,
        "shared": result.shared,
    }
    return always | {name: value for name, value in known.items() if value is not None}


def result_of(known: Any, parts: Mapping[str, Any] | None = None) -> StepResult:
    """Make a result again from what `written` gave; ValueError, KeyError or TypeError if not.

    `parts` are inputs that were kept apart.
    """
    shared, used = known.get("shared"), from_plain(Inputs, known["inputs"])
    return StepResult.of_record(
        known["step"],
        executed_in=known["run"],
        kind=known["kind"],
        notebook_size=known["notebook_size"],
        digests=dict(known.get("digests") or {}),
        artifacts=known.get("artifacts"),
        used=replace(used, **parts) if parts else used,
        shared=from_plain(Sharing, shared) if shared else None,
    )
