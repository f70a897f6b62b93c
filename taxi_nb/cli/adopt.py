"""`taxi-nb adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taxi_nb.cli._arguments import outside
from taxi_nb.cli._completion import complete_file
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, stop
from taxi_nb.project import is_project, project_file, project_root

OfPipeline = Annotated[
    Path | None,
    typer.Option(
        "--pipeline",
        metavar="FILE",
        help="The pipeline file; params/default.yaml, or the only one, if left out.",
        autocompletion=complete_file,
    ),
]


def adopt(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A notebook's file.")],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PARAMETER]", help="Names that a pipeline may set."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The step's name; the notebook's if left out."),
    ] = None,
    pipeline: OfPipeline = None,
    all_: Annotated[
        bool, typer.Option("--all", help="All names that could be parameters are to be.")
    ] = False,
    none: Annotated[bool, typer.Option("--none", help="No name is to be a parameter.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write it, and not only show it.")] = False,
) -> None:
    """Make a step of a notebook.

    It gets one parameters cell and loses its outputs, and the pipeline file gets a line. Without
    --write it shows the differences, the names that could be parameters, and what is left to do
    for the house style. %to_step does the same in JupyterLab.

    Examples:
      taxi-nb adopt notebooks/fares.ipynb
      taxi-nb adopt notebooks/fares.ipynb seed rows --write
      taxi-nb adopt ~/Untitled.ipynb --as 08_fares --none --write
    """
    from taxi_nb.pipeline.adoption import AdoptionError
    from taxi_nb.pipeline.adoption import adopt as made_of
    from taxi_nb.training.notebook_parameters import PARAMETERS

    require_project()
    if all_ + none + bool(parameters) > 1:
        stop("name parameters, or give --all or --none: one of them", USAGE)
    with errors_stop({AdoptionError: USAGE, OSError: FAILURE}):
        made = made_of(
            project_file(notebook.expanduser()),
            project_root(),
            name=name,
            parameters="all" if all_ else parameters or () if parameters or none else None,
            pipeline=pipeline and project_file(pipeline),
            types=PARAMETERS.types,
        )
        print(made.diff(), end="")
        if write:
            made.write()
    words = ["taxi-nb adopt", str(notebook), *(parameters or ())]
    words += [f"--as {name}"] if name else []
    words += [f"--pipeline {pipeline}"] if pipeline else []
    words += ["--all"] if all_ else ["--none"] if none else []
    print(*made.says(write, " ".join(words)), sep="\n")


def require_project() -> None:
    """Stop where there is no project that a notebook could be a step of."""
    if not is_project(project_root()):
        stop(f"there is nothing that a notebook could be a step of{outside()}", USAGE)
