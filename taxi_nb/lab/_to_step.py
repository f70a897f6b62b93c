"""`%to_step`: the notebook at hand as a step of a pipeline."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.lab._words import usage
from taxi_nb.project import path_within, project_file, project_root

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from taxi_nb.pipeline.adoption import Adoption

USAGE = (
    "%to_step [NAME [PARAMETER ...]] [--all | --none] [--pipeline FILE] [--write], such as "
    "%to_step 08_fares seed --write"
)
_COLOURS = {"+": "#1a7f37", "-": "#cf222e", "@": "#8250df"}


@dataclass(frozen=True)
class Proposal:
    """What would be written, or was; it shows itself as a diff."""

    adoption: Adoption
    # As lines, from before it was written.
    diff: str
    is_written: bool
    asked: str = field(repr=False)

    def __repr__(self) -> str:
        return "\n".join(filter(None, [self.diff.rstrip(), *self._says()]))

    def _repr_html_(self) -> str:
        coloured = "".join(
            f"<span style='color: {_COLOURS.get(line[:1], 'inherit')}'>{escape(line)}</span>\n"
            for line in self.diff.splitlines()
        )
        said = "".join(f"<p>{escape(line)}</p>" for line in self._says())
        return f"<pre>{coloured}</pre>{said}"

    def _says(self) -> list[str]:
        return self.adoption.says(self.is_written, f"%to_step {self.asked}".strip())


def to_step(shell: InteractiveShell, line: str) -> Proposal:
    """Make a step of the notebook that a shell belongs to, for the line after ``%to_step``.

    Nothing is written unless the line says ``--write``. Mistakes are a `UsageError`.
    """
    from taxi_nb.pipeline.adoption import AdoptionError, adopt
    from taxi_nb.training.notebook_parameters import PARAMETERS

    words = shlex.split(line)
    flags = {word for word in words if word in ("--all", "--none", "--write")}
    words = [word for word in words if word not in flags]
    pipeline = _pipeline(words)
    if any(word.startswith("-") for word in words):
        raise usage(USAGE)
    name, picked = (words[0], words[1:]) if words else (None, [])
    chosen = {"--all": "all", "--none": ()}
    asked = [chosen[flag] for flag in sorted(flags & chosen.keys())] + ([picked] if picked else [])
    if len(asked) > 1:
        raise usage(USAGE)
    try:
        made = adopt(
            _notebook(shell),
            project_root(),
            name=name,
            parameters=asked[0] if asked else None,
            pipeline=pipeline,
            types=PARAMETERS.types,
        )
        diff = made.diff()
        if "--write" in flags:
            made.write()
    except AdoptionError as error:
        raise usage(str(error)) from None
    shown = line.replace("--write", "").strip()
    return Proposal(made, diff, "--write" in flags, shown)


def _pipeline(words: list[str]) -> Path | None:
    """Take the option that names a pipeline file out of some words."""
    if "--pipeline" not in words:
        return None
    at = words.index("--pipeline")
    if len(words) == at + 1:
        raise usage(USAGE)
    _, given = words.pop(at), words.pop(at)
    return project_file(Path(given))


def _notebook(shell: InteractiveShell) -> Path:
    """Return the notebook's file; it has to be saved as it is on the screen."""
    from taxi_nb.pipeline.adoption import is_saved
    from taxi_nb.tracking.origin import Origin

    here = Origin.here()
    if here.kind != "NOTEBOOK" or here.file is None:
        raise usage("which notebook this is cannot be told here: `taxi-nb adopt NOTEBOOK` does it")
    if shell.history_manager and not is_saved(here.file, shell.history_manager.input_hist_raw):
        shown = path_within(project_root(), here.file)
        raise usage(f"{shown} on disk lacks the cell that ran last: save it first (Ctrl-S)")
    return here.file
