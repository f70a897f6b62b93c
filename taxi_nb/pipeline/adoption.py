"""A person's notebook made into a pipeline's step, and the skeleton of a new one.

What would be written is made first, so that it can be looked at: the notebook with a parameters
cell and without outputs, and the pipeline file with one more step.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taxi_nb.close_names import close_to
from taxi_nb.pipeline._another_step import AdoptionError, PipelineText
from taxi_nb.pipeline._committed_notebook import (
    as_lines,
    has_parameters,
    skeleton,
    with_parameters,
    without_questions,
    written,
)
from taxi_nb.pipeline._notebook_file import NotebookError, code_cells, notebook_of
from taxi_nb.pipeline._parameter_candidates import Candidate, find_candidates
from taxi_nb.pipeline.house_style import complaints
from taxi_nb.pipeline.parameters import Parameter, parameters_of
from taxi_nb.pipeline.pipeline_file import NOTEBOOKS
from taxi_nb.project import path_within, read_regular, write_whole


@dataclass(frozen=True)
class Adoption:
    """What would be written, and was not yet."""

    root: Path
    notebook: Path
    # Texts of the notebook's file and of the pipeline's, as they are and as they would be; None
    # where there is no file yet.
    notebook_before: bytes | None
    notebook_after: bytes
    pipeline: Path
    pipeline_before: bytes | None
    pipeline_after: bytes
    # The notebook that it is made from.
    source: Path
    # The names that could be parameters, with their lines.
    candidates: Mapping[str, str]
    # Whether the person has said which are to be.
    is_chosen: bool
    # What is left to do for the house style, and names to look at.
    complaints: tuple[str, ...]

    def diff(self) -> str:
        """Return what would change, notebooks as prose and code; empty if nothing would."""
        source = self.source.read_bytes() if self.source.is_file() else None
        before = as_lines(source) if source else []
        named = self.notebook if self.notebook_before is not None else self.source
        parts = [
            _diff(before, as_lines(self.notebook_after), self._names(named, self.notebook)),
            _diff(
                (self.pipeline_before or b"").decode().splitlines(),
                self.pipeline_after.decode().splitlines(),
                self._names(self.pipeline, self.pipeline),
            ),
        ]
        return "".join(parts)

    def write(self) -> None:
        """Write both files.

        AdoptionError if the person has not said which names are to be parameters, or if a file is
        no longer as it was read.
        """
        if not self.is_chosen:
            could = ", ".join(self.candidates)
            raise AdoptionError(f"which of {could} are parameters? Name them, or --all or --none")
        for path, before in (
            (self.notebook, self.notebook_before),
            (self.pipeline, self.pipeline_before),
        ):
            if (path.read_bytes() if path.is_file() else None) != before:
                raise AdoptionError(f"{self._shown(path)} has changed meanwhile: look again")
        # The step after its notebook: a pipeline that names none would not run.
        self.notebook.parent.mkdir(parents=True, exist_ok=True)
        self.pipeline.parent.mkdir(parents=True, exist_ok=True)
        for path, after in (
            (self.notebook, self.notebook_after),
            (self.pipeline, self.pipeline_after),
        ):
            if not path.is_file() or path.read_bytes() != after:
                write_whole(path, after)

    def says(self, is_written: bool, command: str) -> list[str]:
        """Return what a person should know, in lines; `command` is what was asked for."""
        where = f"{self._shown(self.notebook)}, a step of {self._shown(self.pipeline)}"
        lines = [f"Look at this: {complaint}" for complaint in self.complaints]
        if is_written:
            again = (
                "; in JupyterLab: File, Reload Notebook from Disk" if self.notebook_before else ""
            )
            return [*lines, f"Written: {where}{again}"]
        if not self.is_chosen:
            lines.append(f"Names that could be parameters: {', '.join(self.candidates)}")
            picked = "name those that you want after the step's name, or say --all or --none"
            return [*lines, f"Nothing is written yet: {picked}, and --write"]
        return [*lines, f"Nothing is written yet: {command} --write makes {where}"]

    def _names(self, before: Path, after: Path) -> tuple[str, str]:
        return self._shown(before), self._shown(after)

    def _shown(self, path: Path) -> str:
        return path_within(self.root, path)


def adopt(
    notebook: Path,
    root: Path,
    *,
    name: str | None = None,
    parameters: Sequence[str] | Literal["all"] | None = None,
    pipeline: Path | None = None,
    types: Mapping[str, Any] | None = None,
) -> Adoption:
    """Make a notebook a step of a pipeline file of the project at `root`; nothing is written.

    `name` is the step's: the notebook goes to ``notebooks/<name>.ipynb``. If it is left out, a
    notebook of the project stays where it is. `parameters` are names that it assigns once,
    ``"all"`` those that could be, None where the person has not said. `types` are those that it
    may import.

    Raises AdoptionError, with what would be right.
    """
    shown = path_within(root, notebook)
    if notebook.suffix != ".ipynb":
        raise AdoptionError(f"{shown}: only a notebook whose name ends with .ipynb can be adopted")
    try:
        content = notebook_of(source := read_regular(notebook))
    except OSError as error:
        raise AdoptionError(f"{shown} cannot be read: {error.strerror}") from None
    except NotebookError as error:
        raise AdoptionError(f"{shown} {error}") from None
    place = _place(notebook, root, name)
    is_own_place = place.exists() and place.samefile(notebook)
    if place.exists() and not is_own_place:
        raise AdoptionError(f"{path_within(root, place)} is there already: give another name")
    found = find_candidates(content)
    has_cell = has_parameters(content)
    # Where there is one, names are added to it only if they are asked for.
    asked = () if has_cell and parameters is None else parameters
    file = PipelineText.read(root, pipeline)
    return _Making(root, file, types or {}).adoption(
        with_parameters(content, _chosen(found.candidates, found.refused, asked)),
        place,
        source=notebook,
        before=source if is_own_place else None,
        candidates={name: one.line for name, one in found.candidates.items()},
        is_chosen=parameters is not None or has_cell or not found.candidates,
    )


def new_step(name: str, root: Path, *, pipeline: Path | None = None) -> Adoption:
    """Make the skeleton of a notebook in the house style, a step of a pipeline file.

    Nothing is written. Raises AdoptionError, with what would be right.
    """
    step = _step_name(name)
    place = root / NOTEBOOKS / f"{step}.ipynb"
    if place.exists():
        shown = path_within(root, place)
        raise AdoptionError(f"{shown} is there already: `taxi-nb adopt` makes it a step")
    number, _, words = step.partition("_") if step[:1].isdigit() else ("", "", step)
    title = words.replace("_", " ").capitalize()
    heading = f"{int(number)}. {title}" if number.isdecimal() else title
    file = PipelineText.read(root, pipeline)
    return _Making(root, file, {}).adoption(skeleton(heading), place, source=place)


@dataclass(frozen=True)
class _Making:
    """Puts notebook and pipeline file together, having looked at whether they fit."""

    root: Path
    pipeline: PipelineText
    types: Mapping[str, Any]

    def adoption(
        self,
        content: Mapping[str, Any],
        place: Path,
        *,
        source: Path,
        before: bytes | None = None,
        candidates: Mapping[str, str] | None = None,
        is_chosen: bool = True,
    ) -> Adoption:
        try:
            declared = parameters_of(content, self.types)
        except NotebookError as error:
            raise AdoptionError(f"{path_within(self.root, source)} {error}") from None
        return Adoption(
            root=self.root,
            notebook=place,
            notebook_before=before,
            notebook_after=written(content),
            pipeline=self.pipeline.path,
            pipeline_before=self.pipeline.before,
            pipeline_after=self.pipeline.with_step(place, self.root),
            source=source,
            candidates=candidates or {},
            is_chosen=is_chosen,
            complaints=(*complaints(content), *self._given(declared)),
        )

    def _given(self, declared: Mapping[str, Parameter]) -> Iterator[str]:
        """Yield what the file gives to every notebook that has such a name."""
        file = self.pipeline
        for name, value in file.params.items():
            if (parameter := declared.get(name)) is None:
                continue
            if mistake := parameter.mistake(value):
                raise AdoptionError(
                    f"{file.shown} gives {name!r} to every notebook, which {mistake}: "
                    "rename it, or change its value"
                )
            yield f"{file.shown} gives {name} = {value!r}, whatever the notebook has"


def _place(notebook: Path, root: Path, name: str | None) -> Path:
    """Return where a step's notebook is to be: where it is, if that is in the project."""
    if name is None and notebook.is_relative_to(root):
        _step_name(notebook.stem)
        return notebook
    return root / NOTEBOOKS / f"{_step_name(name or notebook.stem)}.ipynb"


def is_saved(notebook: Path, executed: Sequence[str]) -> bool:
    """Return whether a notebook's file has the cell of code that a person executed last.

    Cells that only ask for something, such as ``%to_step``, need not be in it.
    """
    try:
        content = notebook_of(read_regular(notebook))
    except (OSError, NotebookError):
        return True  # Whoever reads it says what is wrong.
    ran = [source.strip() for source in map(without_questions, executed) if source.strip()]
    return not ran or ran[-1] in {without_questions(s).strip() for _, s, _ in code_cells(content)}


def _step_name(name: str) -> str:
    step = name.removesuffix(".ipynb")
    if not re.fullmatch(r"[^\W_][\w.\- ]*", step):
        raise AdoptionError(f"a step's name is a word such as 08_fares, without folders: {name!r}")
    return step


def _chosen(
    candidates: Mapping[str, Candidate],
    refused: Mapping[str, str],
    asked: Sequence[str] | Literal["all"] | None,
) -> list[Candidate]:
    if asked is None or asked == "all":
        return list(candidates.values())
    for name in asked:
        if name not in candidates:
            why = refused.get(name, f"is not assigned here{close_to(name, list(candidates))}")
            could = ", ".join(candidates) or "none"
            raise AdoptionError(f"{name!r} {why}; names that could be parameters: {could}")
    return [candidates[name] for name in dict.fromkeys(asked)]


def _diff(before: Sequence[str], after: Sequence[str], names: tuple[str, str]) -> str:
    lines = difflib.unified_diff(before, after, *names, lineterm="")
    return "".join(f"{line}\n" for line in lines)
