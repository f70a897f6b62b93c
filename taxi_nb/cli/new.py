"""`taxi-nb new`."""

from __future__ import annotations

from typing import Annotated

import typer

from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop
from taxi_nb.cli.adopt import OfPipeline, require_project
from taxi_nb.project import path_within, project_file, project_root


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The step's name: 08_fares.")],
    pipeline: OfPipeline = None,
) -> None:
    """Write a new notebook in the house style, a step of the pipeline.

    Examples:
      taxi-nb new 08_fares
      taxi-nb new 08_fares --pipeline params/green-2021.yaml
    """
    from taxi_nb.pipeline.adoption import AdoptionError, new_step

    require_project()
    root = project_root()
    with errors_stop({AdoptionError: USAGE, OSError: FAILURE}):
        made = new_step(name, root, pipeline=pipeline and project_file(pipeline))
        made.write()
    places = (path_within(root, made.notebook), path_within(root, made.pipeline))
    print("{} is a step of {}; open it in JupyterLab".format(*places))
