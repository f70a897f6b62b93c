"""`taxi-nb trace`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli._arguments import outside
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop
from taxi_nb.plain_data import to_json
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from rich.tree import Tree

    from taxi_nb.review.trace.nodes import Node
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

    Shown are training run, step, pipeline run, notebook and cell, parameters, data with digests,
    commit and lock; what is not known is said. It ends in the commands that do it again.

    Examples:
      taxi-nb trace models:/nyc-taxi-duration@champion
      taxi-nb trace runs/latest/04_tune.ipynb
      taxi-nb trace latest --json
    """
    from taxi_nb.review.trace.chain import trace as lead_back
    from taxi_nb.review.trace.run_chain import TraceError
    from taxi_nb.tracking.store_errors import StoreError

    with errors_stop({TraceError: USAGE, StoreError: FAILURE}, after=outside()):
        found = lead_back(what, project_root())
    if as_json:
        print(to_json(found, indent=2))
    else:
        _show(found)


def _show(found: Trace) -> None:
    from rich.console import Console

    # Where nobody looks at it, nothing is broken into lines.
    width = None if Console().is_terminal else 10_000
    Console(highlight=False, width=width).print(_tree_of(found.root))
    if found.commands:
        print("\nTo do it again:\n")
        print("\n".join(f"  {command}" for command in found.commands))
    for remark in found.remarks:
        print(f"\nNote: {remark}.")


def _tree_of(node: Node, above: Tree | None = None) -> Tree:
    """Return a node and all that it was made from, as Rich prints it."""
    from rich.text import Text
    from rich.tree import Tree

    label = Text.assemble((node.kind, "dim"), "  ", (node.title, "bold"))
    tree = Tree(label, guide_style="dim") if above is None else above.add(label)
    for name, value in node.facts.items():
        tree.add(Text.assemble((f"{name}: ", "cyan"), value))
    for missing in node.missing:
        tree.add(Text.assemble(("missing: ", "yellow"), missing))
    for below in node.made_from:
        _tree_of(below, tree)
    return tree
