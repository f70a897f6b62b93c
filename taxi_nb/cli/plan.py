"""`taxi-nb plan`."""

from __future__ import annotations

from taxi_nb.cli._arguments import (
    DEFAULT_FILE,
    Accept,
    Force,
    Month,
    Overrides,
    ParameterFile,
    data_errors_stop,
    make_plan,
    read,
)


def plan(
    params: ParameterFile = DEFAULT_FILE,
    overrides: Overrides = None,
    month: Month = None,
    force: Force = None,
    accept: Accept = None,
) -> None:
    """Say which steps would run, and why, without running anything."""
    pipeline = read(params, overrides, month, accept=accept)
    with data_errors_stop(pipeline):
        _, made = make_plan(pipeline, force)
    if pipeline.month:
        print(f"months are relative to {pipeline.month}\n")
    print(made)
