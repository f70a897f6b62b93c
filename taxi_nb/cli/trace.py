"""`taxi-nb trace`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli.stopping import FAILURE, USAGE, errors_stop
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from taxi_nb.review.trace.run_chain import Trace


def trace(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="models:/NAME@champion, models:/NAME/3, the id of an MLflow run or its beginning, "
            "a run's id below runs/, or the file of an executed notebook.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the chain as JSON.")] = False,
) -> None:
    """Lead a model, a run or a notebook back to all that made it.

    Shows training run, step, pipeline run, notebook and cell, parameters, data with digests,
    commit and lock; what is not known is said. Ends in the commands that do it again.
    """
    from taxi_nb.review.trace.chain import trace as lead_back
    from taxi_nb.review.trace.run_chain import TraceError
    from taxi_nb.tracking.store_errors import StoreError

    with errors_stop({TraceError: USAGE, StoreError: FAILURE}):
        found = lead_back(what, project_root())
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _show(found)


def _show(found: Trace) -> None:
    from rich.console import Console

    from taxi_nb.review.trace.tree import tree_of

    # Where nobody looks at it, nothing is broken into lines.
    width = None if Console().is_terminal else 10_000
    Console(highlight=False, width=width).print(tree_of(found.root))
    if found.commands:
        print("\nTo do it again:\n")
        print("\n".join(f"  {command}" for command in found.commands))
    for remark in found.remarks:
        print(f"\nNote: {remark}.")
