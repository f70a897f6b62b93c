"""What every engine has to know of a pipeline: its steps, and what may be set for a run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.parameters import declared_parameters
from taxi_nb.pipeline.pipeline_file import MONTH
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.project import path_within, require_replaceable, write_whole
from taxi_nb.secrets.references import secret_variables

# Stands in the first lines of each exported file.
MARK = "Written by `taxi-nb export"
# What an engine calls the checks that may be failed once, each as `check=reason`.
ACCEPT = "accept"


class ExportError(ValueError):
    """A pipeline, or an option, of which no file can be made."""


@dataclass(frozen=True)
class Setting:
    """A parameter that may have another value in a run."""

    name: str
    # As the notebooks write it, such as ``list[str]``; ``Any`` where they differ.
    type: str
    # None where not all steps have the same: each then keeps its own.
    default: Any


@dataclass(frozen=True)
class Outline:
    """A pipeline as an engine sees it."""

    name: str
    # The pipeline file, from the project's folder.
    params: str
    # Of that file's text: the exported file refuses to run another.
    digest: str
    steps: tuple[Step, ...]
    settings: tuple[Setting, ...]


def outline(pipeline: Pipeline) -> Outline:
    """Return what an engine has to know of a pipeline.

    Raises ExportError if the pipeline file lies outside of the project: where the engine runs
    there would be none.
    """
    params = params_of(pipeline)
    text = pipeline.file.read_text(encoding="utf-8")
    return Outline(
        name=pipeline.name,
        params=params,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        steps=pipeline.steps,
        settings=tuple(_settings(pipeline)),
    )


def params_of(pipeline: Pipeline) -> str:
    """Return the pipeline file as an engine's file names it; ExportError if it cannot."""
    params = path_within(pipeline.root, pipeline.file)
    if Path(params).is_absolute():
        raise ExportError(f"{params} is not in the project {pipeline.root}, which the engine calls")
    if re.search(r'["\\\x00-\x1f]', params):
        raise ExportError(f"{params!r} cannot be named in the file of an engine")
    return Path(params).as_posix()


def write_export(file: Path, text: str, *, overwrite: bool = False) -> None:
    """Write an exported file whole; FileExistsError if what is there is no former one."""
    require_replaceable(file, "former export", _is_export, overwrite=overwrite)
    write_whole(file, text)


def _is_export(file: Path) -> bool:
    with file.open("rb") as opened:
        return MARK.encode() in opened.read(1_000)


def identifier(text: str, joint: str = "_") -> str:
    """Return a text as a name for engines: letters, digits and the joint.

    >>> identifier("03_train[lasso]"), identifier("03_Train[lasso]", "-").lower()
    ('03_train_lasso', '03-train-lasso')
    """
    return re.sub(r"[^A-Za-z0-9]+", joint, text).strip(joint)


def names_of(steps: tuple[Step, ...], joint: str) -> dict[str, str]:
    """Return a name for each step that engines take, and that no other step has."""
    names: dict[str, str] = {}
    for step in steps:
        short = plain = f"step{joint}{identifier(step.name, joint).lower()}"
        number = 2
        while short in names.values():
            short, number = f"{plain}{joint}{number}", number + 1
        names[step.name] = short
    return names


def _settings(pipeline: Pipeline) -> Iterator[Setting]:
    """Yield what the pipeline file gives values to, unless it decides which steps there are."""
    declared = cache(declared_parameters)
    axes = {axis for step in pipeline.steps for axis in step.axes}
    if moving := sorted(axes & pipeline.relative):
        raise ExportError(
            f"the matrix axis {moving[0]} is relative to a month: an engine's file has its steps "
            "once and for all"
        )
    if pipeline.month:
        yield Setting(MONTH, "str", None)
    named = dict.fromkeys(name for step in pipeline.steps for name in step.parameters)
    if ACCEPT in named:
        raise ExportError(f"a parameter cannot be called {ACCEPT!r}: engines let checks pass by it")
    for name in named:
        users = [step for step in pipeline.steps if name in declared(step.notebook)]
        values = [step.parameters[name] for step in users if name in step.parameters]
        # A secret is said where the pipeline runs, never in what an engine shows.
        if (
            name in axes
            or name in pipeline.relative
            or any(secret_variables(values))
            or not _is_json(values)
        ):
            continue
        is_shared = len(values) == len(users) and all(value == values[0] for value in values)
        types = {declared(step.notebook)[name].plain for step in users}
        kind = types.pop() if len(types) == 1 else "Any"
        yield Setting(name, kind, values[0] if is_shared else None)


def _is_json(value: Any) -> bool:
    """Whether JSON, in which engines hand values over, gives the same again."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False
