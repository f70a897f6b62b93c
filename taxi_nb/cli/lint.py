"""`taxi-nb lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taxi_nb.cli._arguments import outside
from taxi_nb.cli._stopping import FAILURE, USAGE, stop
from taxi_nb.project import path_within, project_root


def lint(
    notebooks: Annotated[
        list[Path] | None,
        typer.Argument(metavar="NOTEBOOK", help="All in notebooks/ if left out."),
    ] = None,
) -> None:
    """Hold notebooks to the house style.

    A notebook has a title, typed parameters, a conclusion and no outputs. The exit code is 1 if
    one of them is not in the style.

    Example:
      taxi-nb lint notebooks/01_measure.ipynb
    """
    from taxi_nb.pipeline.house_style import complaints_about, notebooks_in

    root = project_root()
    paths = [path.absolute() for path in notebooks or ()] or notebooks_in(root / "notebooks")
    if not paths:
        stop(f"there is no notebook in {root / 'notebooks'}{outside()}", USAGE)
    found = [
        f"{path_within(root, path)}: {complaint}"
        for path in paths
        for complaint in complaints_about(path)
    ]
    print("\n".join(found) or f"{len(paths)} notebook{'s are' if len(paths) > 1 else ' is'} clean")
    if found:
        raise typer.Exit(FAILURE)
