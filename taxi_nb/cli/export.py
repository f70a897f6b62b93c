"""`taxi-nb export`: the pipeline as a file of an engine that calls us step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from taxi_nb.cli._arguments import Jobs, RequiredFile, name_and_value, read
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say

export = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write the pipeline for an engine: Prefect or Kubeflow Pipelines.",
)

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a file that is there and no former export.")
]


@export.command()
def prefect(
    params: RequiredFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The flow's file.")
    ],
    work_pool: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The pool whose workers run it; else `serve` does."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="The image that a pool of containers starts."),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(metavar="TIMES", help="When it runs by itself, in UTC: '0 6 2 * *'."),
    ] = None,
    jobs: Jobs = 1,
    monthly: Annotated[
        bool, typer.Option("--monthly", help="A flow that calls `taxi-nb monthly` instead.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a Prefect flow: a task for each step.

    Each task is a call of `taxi-nb step`.

    Examples:
      taxi-nb export prefect params/smoke.yaml -o flow.py
      taxi-nb export prefect params/monthly.yaml --monthly --cron '0 6 * * *' -o months.py
    """
    with _errors():
        from taxi_nb.export.outline import write_export
        from taxi_nb.export.prefect import Deployment, monthly_flow, prefect_flow

        deployment = Deployment(work_pool, image, cron)
        make = monthly_flow if monthly else prefect_flow
        text = make(read(params, None, newest=_any_month), output, deployment, jobs)
        write_export(output, text, overwrite=overwrite)
    print(output)


@export.command()
def kubeflow(
    params: RequiredFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The pipeline's file.")
    ],
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help="An image with the project and `taxi-nb`.")
    ],
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A variable in each container; may be repeated."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a pipeline for Kubeflow: a component for each step.

    Each component is a call of `taxi-nb step`.

    Example:
      taxi-nb export kubeflow params/smoke.yaml -o pipeline.yaml --image team/taxi:1.2
    """
    with _errors():
        from taxi_nb.export.kubeflow import kubeflow_pipeline
        from taxi_nb.export.outline import write_export

        variables = dict(name_and_value("--env", text, may_be_secret=True) for text in env or [])
        pipeline = read(params, None, newest=_any_month)
        text = kubeflow_pipeline(pipeline, image, variables)
        write_export(output, text, overwrite=overwrite)
    print(output)
    said = {"MLFLOW_TRACKING_URI": pipeline.tracking_uri, "TAXI_NB_RESULTS": pipeline.results}
    if missing := [name for name in said if not (said[name] or name in variables)]:
        say(
            f"containers share no disk: the image has to set {' and '.join(missing)}, or give "
            "them here with --env NAME=VALUE"
        )


def _any_month(_: object) -> str:
    """Stand for the newest month, which is found out when the engine opens a run."""
    return "2021-01"


@contextmanager
def _errors() -> Iterator[None]:
    from taxi_nb.export.outline import ExportError

    codes = {ExportError: USAGE, FileExistsError: USAGE, OSError: FAILURE}
    with errors_stop(codes, "the file could not be written: "):
        yield
