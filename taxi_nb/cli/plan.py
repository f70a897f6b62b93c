"""`taxi-nb plan`."""

from __future__ import annotations

from taxi_nb.cli._arguments import DEFAULT_FILE, Force, Overrides, ParameterFile, make_plan, read


def plan(
    params: ParameterFile = DEFAULT_FILE, overrides: Overrides = None, force: Force = None
) -> None:
    """Say which steps would run, and why, without running anything."""
    _, made = make_plan(read(params, overrides), force)
    print(made)
