"""The front desk in JupyterLab: `%load_ext taxi_nb`, `%params`, `%plan`, objects that show well."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.project import command, path_within, project_file, project_root
from taxi_nb.registry.versions import champion_run
from taxi_nb.tracking.origin import Origin
from taxi_nb.tracking.store import run_address

if TYPE_CHECKING:
    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from taxi_nb.pipeline.planned import Plan
    from taxi_nb.pipeline.spec import Pipeline, Step
    from taxi_nb.training.train import TrainingResult

PLAN_USAGE = "%plan FILE [NAME=VALUE ...], such as %plan params/green-2021.yaml"
USAGE = "%params FILE [STEP] [NAME=VALUE ...], such as %params params/green-2021.yaml"
_SAMPLE_ROWS = 5


def register(shell: InteractiveShell) -> None:
    """Give a shell the magics `%params` and `%plan`, and its formatter our objects."""

    def params(line: str) -> GivenParameters:
        return set_parameters(shell, line)

    def plan(line: str) -> Plan:
        return plan_of(line)

    plan.__doc__ = f"Say which steps of a pipeline would run, and why.\n\n{PLAN_USAGE}"
    params.__doc__ = f"Set what a pipeline would give this notebook.\n\n{USAGE}"
    # IPython's types leave out that a plain function is taken, too.
    shell.register_magic_function(plan, "line", "plan")  # type: ignore[arg-type]
    shell.register_magic_function(params, "line", "params")  # type: ignore[arg-type]
    assert shell.display_formatter is not None
    html = shell.display_formatter.formatters["text/html"]
    # By name: a notebook that never sees a frame need not import pandas.
    for module in ("pandas", "pandas.core.frame"):
        html.for_type_by_name(module, "DataFrame", frame_html)
    html.for_type_by_name("taxi_nb.training.train", "TrainingResult", training_result_html)


@dataclass(frozen=True)
class GivenParameters:
    """The parameters that a pipeline gives a step; they show themselves as a table."""

    file: str
    step: str
    values: Mapping[str, Any]
    others: tuple[str, ...]  # Executions of the same notebook that could have been meant.
    kept: tuple[str, ...]  # The parameters that stay at the notebook's own values.
    checks: tuple[str, ...] = ()  # What data have to pass that are loaded from now on.

    def __str__(self) -> str:
        lines = [f"{name} = {value!r}" for name, value in self.values.items()]
        return "\n".join([f"# As {self.file} gives them to {self.step}", *lines, *self._notes()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align: left'>{escape(name)}</th>"
            f"<td style='text-align: left'><code>{escape(repr(value))}</code></td></tr>"
            for name, value in self.values.items()
        )
        notes = "".join(f"<p>{escape(note.removeprefix('# '))}</p>" for note in self._notes())
        title = f"Set as {escape(self.file)} gives them to <b>{escape(self.step)}</b>:"
        return f"<p>{title}</p><table>{rows}</table>{notes}"

    def _notes(self) -> list[str]:
        notes = []
        if self.kept:
            notes.append(f"# As the parameters cell has them: {', '.join(self.kept)}")
        if self.checks:
            notes.append(f"# Checks of the data, as in the file: {', '.join(self.checks)}")
        if self.others:
            notes.append(f"# This notebook is executed as {', '.join(self.others)}, too")
        return notes


def set_parameters(shell: InteractiveShell, line: str) -> GivenParameters:
    """Set a shell's variables as a pipeline would give them, for the line after ``%params``.

    Mistakes are a `UsageError`, which IPython shows without a traceback.
    """
    words = shlex.split(line)
    overrides = [word for word in words if "=" in word]
    places = [word for word in words if "=" not in word]
    if not 1 <= len(places) <= 2:
        raise _usage(USAGE)
    pipeline = _read(Path(places[0]), overrides)
    step, *others = _candidates(pipeline, places[1] if len(places) == 2 else None)
    shell.push(dict(step.parameters))  # type: ignore[no-untyped-call]
    for name, value in pipeline.variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    from taxi_nb.pipeline.parameters import declared_parameters

    return GivenParameters(
        file=path_within(pipeline.root, pipeline.file),
        step=step.name,
        values=step.parameters,
        others=tuple(other.name for other in others),
        kept=tuple(n for n in declared_parameters(step.notebook) if n not in step.parameters),
        checks=tuple(pipeline.checks),
    )


def plan_of(line: str) -> Plan:
    """Plan a pipeline, as ``taxi-nb plan`` does, for the line after ``%plan``."""
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.plan import plan
    from taxi_nb.tracking.store_errors import StoreError

    file, *overrides = shlex.split(line) or [""]
    if not file or not all("=" in override for override in overrides):
        raise _usage(PLAN_USAGE)
    try:
        pipeline = _read(Path(file), overrides)
        return plan(pipeline, Memory(pipeline))
    except StoreError as error:
        raise _usage(str(error)) from None


def _read(file: Path, overrides: Sequence[str]) -> Pipeline:
    from taxi_nb.pipeline.pipeline_file import read_pipeline
    from taxi_nb.pipeline.spec import PipelineFileError
    from taxi_nb.training.notebook_parameters import PARAMETERS
    from taxi_nb.trips.newest_month import newest_month_of

    try:
        return read_pipeline(
            project_file(file),
            project_root(),
            overrides,
            newest_month_of,
            subject=PARAMETERS,
        )
    except PipelineFileError as error:
        raise _usage("\n".join([f"{file} has mistakes", str(error)])) from None


def _candidates(pipeline: Pipeline, wanted: str | None) -> list[Step]:
    """Return the executions that are meant, the chosen one first."""
    names = ", ".join(step.name for step in pipeline.steps)
    if wanted is not None:
        if found := [step for step in pipeline.steps if wanted in (step.name, step.group)]:
            return found
        raise _usage(f"{pipeline.file.name} has no step {wanted!r}; it has {names}")
    here, root = Origin.here(), pipeline.root
    if here.kind != "NOTEBOOK":
        raise _usage(f"which notebook this is cannot be told here; name a step, one of {names}")
    found = [step for step in pipeline.steps if path_within(root, step.notebook) == here.name]
    if not found:
        raise _usage(f"{pipeline.file.name} does not run {here.name}; name a step, one of {names}")
    return found


def _usage(message: str) -> Exception:
    from IPython.core.error import UsageError

    return UsageError(message)


def frame_html(frame: pd.DataFrame) -> str | None:
    """Show trips with where they came from; any other frame as pandas does."""
    from taxi_nb.trips.origin import ATTRS_KEY, provenance

    # What is computed from trips carries their record along, but its rows are no trips.
    holds_trips = "pickup_datetime" in frame.columns and frame.index.dtype.kind in "iu"
    if ATTRS_KEY not in frame.attrs or not holds_trips:
        return frame._repr_html_()  # type: ignore[operator]
    origin = provenance(frame)
    synthetic = " <b>(synthetic)</b>" if origin.synthetic else ""
    shown = frame if len(frame) <= _SAMPLE_ROWS else frame.sample(_SAMPLE_ROWS, random_state=0)
    return (
        f"<p><b>{len(frame):,} trips</b>, {escape(origin.taxi)} taxis, "
        f"{escape(', '.join(origin.months))}, from {escape(origin.source)}{synthetic}; "
        f"digest <code>{origin.digest}</code></p>"
        f"<details><summary>cleaning: {origin.cleaning.rows_kept:,} of "
        f"{origin.cleaning.rows_in:,} rows kept</summary>{origin.cleaning._repr_html_()}</details>"
        f"<p>{len(shown)} of them:</p>{shown.to_html()}"
    )


def training_result_html(result: TrainingResult) -> str:
    """Show a training result's metrics against the champion, with a link to its run."""
    table = result.to_frame().to_html(float_format="{:.4f}".format)
    address = run_address(result.run_id)
    link = f'<a href="{escape(address)}" target="_blank">run {result.run_id[:8]}</a>'
    return f"{table}<p>{_against_champion(result)}</p><p>MLflow: {link} ({command('ui', 'ui')})</p>"


def _against_champion(result: TrainingResult) -> str:
    from taxi_nb.registry.versions import DEFAULT_NAME

    found = champion_run(DEFAULT_NAME, result.run_id)
    if found is None:
        return "There is no champion to compare with yet."
    if found.run_id == result.run_id:
        return f"This is the champion, {escape(found.version)}."
    if not found.comparable:
        return f"The champion, {escape(found.version)}, was judged on other trips."
    gain = found.metrics["valid_rmse"] - result.metrics["valid_rmse"]
    verdict = "better" if gain > 0 else "worse"
    return (
        f"Validation RMSE {result.metrics['valid_rmse']:.3f} minutes, {abs(gain):.3f} {verdict} "
        f"than the champion, {escape(found.version)}, with {found.metrics['valid_rmse']:.3f}."
    )
