"""`taxi-nb plan`."""

from __future__ import annotations

from taxi_nb.cli._arguments import (
    DEFAULT_FILE,
    Accept,
    Force,
    Month,
    NoPromote,
    Only,
    Overrides,
    ParameterFile,
    Since,
    Until,
    data_errors_stop,
    make_plan,
    read,
)
from taxi_nb.cli._terminal import cut


def plan(
    params: ParameterFile = DEFAULT_FILE,
    overrides: Overrides = None,
    month: Month = None,
    force: Force = None,
    only: Only = None,
    until: Until = None,
    since: Since = None,
    accept: Accept = None,
    no_promote: NoPromote = False,
) -> None:
    """Say which steps would run, and why, without running anything.

    Examples:
      taxi-nb plan
      taxi-nb plan params/green-2021.yaml --set max_evals=20
    """
    from taxi_nb.pipeline.expected import Expected
    from taxi_nb.pipeline.part import Part

    pipeline = read(params, overrides, month, accept=accept, no_promote=no_promote)
    with data_errors_stop(pipeline):
        memory, made = make_plan(pipeline, force, Part(only or (), until or (), since or ()))
    if pipeline.month:
        print(f"months are relative to {pipeline.month}\n")
    for line in (lines := str(made).splitlines()):
        print(cut(line))
    if expected := str(Expected.of(made, memory)):
        print(expected)
    if any(cut(line) != line for line in lines):
        print("Reasons are cut to the terminal's width; `| cat` shows them whole.")
