"""A pipeline as a Prefect flow: one file to read, run and deploy."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from taxi_nb.export.outline import (
    MARK,
    ExportError,
    Setting,
    identifier,
    names_of,
    outline,
    params_of,
)
from taxi_nb.pipeline.spec import Pipeline

_CRON = re.compile(r"[0-9A-Za-z*/,#?L-]+")
_CRON_FIELDS = 5
_WIDTH = 100


@dataclass(frozen=True)
class Deployment:
    """Where a flow runs, and when."""

    work_pool: str | None = None
    # That a pool of containers starts; the project, the flow and `taxi-nb` are in it.
    image: str | None = None
    # Five fields, in UTC.
    cron: str | None = None

    def __post_init__(self) -> None:
        """Refuse what Prefect would refuse only when the flow is deployed."""
        if self.image and not self.work_pool:
            raise ExportError("--image needs --work-pool: a pool of containers starts the image")
        fields = (self.cron or "* * * * *").split()
        if len(fields) != _CRON_FIELDS or not all(map(_CRON.fullmatch, fields)):
            raise ExportError(
                "--cron must be five fields, minute hour day month weekday, such as '0 6 2 * *', "
                f"got: {self.cron!r}"
            )


def prefect_flow(pipeline: Pipeline, file: Path, deployment: Deployment, jobs: int = 1) -> str:
    """Return the text of a flow that is to stand in `file`.

    Raises ExportError if the file would not find the project from where it stands.
    """
    made = outline(pipeline)
    variables = names_of(made.steps, "_")
    taken = {"dict", "locals", "_carry_out"}
    if clash := next((one.name for one in made.settings if one.name in taken), None):
        raise ExportError(f"the parameter {clash!r} has the name of something else in a flow")
    return (
        _templates(variables)
        .get_template("flow.py.j2")
        .render(
            _shared(pipeline, file, deployment, jobs, made.name),
            digest=made.digest,
            steps=made.steps,
            variables=variables,
            settings=[{"typed": _typed(one), **vars(one)} for one in made.settings],
            typing=" ".join(_typed(one) for one in made.settings),
        )
    )


def monthly_flow(pipeline: Pipeline, file: Path, deployment: Deployment, jobs: int = 1) -> str:
    """Return the text of a flow that calls `taxi-nb monthly`, and is to stand in `file`.

    Raises ExportError as `prefect_flow`, and if the pipeline's months stand still.
    """
    if not pipeline.month:
        raise ExportError(
            f"{params_of(pipeline)} has no months that move, such as "
            'train_months: "{month-1}": taxi-nb monthly has nothing to move'
        )
    # The pipeline itself may be a flow of Prefect's, too.
    shared = _shared(pipeline, file, deployment, jobs, name=f"{pipeline.name}-months")
    return _templates({}).get_template("monthly.py.j2").render(shared, monthly=True)


def _shared(
    pipeline: Pipeline, file: Path, deployment: Deployment, jobs: int, name: str
) -> dict[str, Any]:
    up = os.path.relpath(pipeline.root, file.absolute().parent)
    return {
        "mark": MARK,
        "file": file.name,
        "name": name,
        "function": _function(name),
        "params": params_of(pipeline),
        "up": "" if up == "." else f' / "{up}"',
        "pool": deployment.work_pool,
        "image": deployment.image,
        "cron": deployment.cron,
        "store": pipeline.tracking_uri or "",
        "jobs": jobs,
        "monthly": False,
    }


def _function(name: str) -> str:
    """Return a name for the flow's function, which nothing else in the file has."""
    made = identifier(name) or "pipeline"
    return f"run_{made}" if made[0].isdigit() or keyword.iskeyword(made) else f"{made}_flow"


def _typed(setting: Setting) -> str:
    written = setting.type if '"' in setting.type else setting.type.replace("'", '"')
    is_open = setting.default is None and written != "Any" and "None" not in written
    return f"{written} | None" if is_open else written


def _templates(variables: dict[str, str]) -> Environment:
    def in_variables(steps: Iterable[str], indent: int) -> str:
        names = [variables[step] for step in steps]
        line, margin = f"[{', '.join(names)}]", " " * indent
        if len(line) + indent + len("needs=,") < _WIDTH:
            return line
        return "\n".join(["[", *(f"{margin}    {name}," for name in names), f"{margin}]"])

    found = Environment(  # noqa: S701 - it is Python, not HTML
        loader=PackageLoader("taxi_nb.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"literal": _literal, "in_variables": in_variables}
    return found


def _literal(value: Any) -> str:
    """Return Python for a plain value, texts in double quotes where that needs no escapes.

    >>> print(_literal({"names": ["a", "it's"], "rate": 0.5}))
    {"names": ["a", "it's"], "rate": 0.5}
    """
    match value:
        case dict():
            pairs = (f"{_literal(key)}: {_literal(one)}" for key, one in value.items())
            return f"{{{', '.join(pairs)}}}"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case str() if repr(value) == f"'{value}'" and '"' not in value:
            return f'"{value}"'
    return repr(value)
