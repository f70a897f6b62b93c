"""`taxi-nb results`: what machines share."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say, stop
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from taxi_nb.pipeline.shared_results import Entry, SharedResults

results = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, check and prune the results that machines share.",
)
Address = Annotated[
    str | None,
    typer.Option("--results", metavar="ADDRESS", help="The place; TAXI_NB_RESULTS if left out."),
]


@results.command("list")
def list_results(address: Address = None) -> None:
    """List the results, their sizes, who shared them and when.

    Example:
      taxi-nb results list --results s3://bucket/prefix
    """
    from taxi_nb.pipeline.object_store import ObjectStoreError

    with errors_stop({ObjectStoreError: FAILURE}):
        entries = list(_shared(address).entries())
    for entry in sorted(entries, key=str):
        print(entry)
    print(f"{len(entries)} results, {_megabytes(entries)} MB")


@results.command()
def check(address: Address = None) -> None:
    """Read every file of every result.

    The exit code is 1 if one is not as it was kept.

    Example:
      taxi-nb results check
    """
    from taxi_nb.pipeline.object_store import ObjectStoreError

    damaged = 0
    with errors_stop({ObjectStoreError: FAILURE}):
        shared = _shared(address)
        entries = list(shared.entries())
        for entry in entries:
            if problem := shared.damage(entry):
                damaged += 1
                say(f"{entry.name} {problem}")
    print(f"{len(entries)} results, {damaged} damaged")
    if damaged:
        say("`taxi-nb results prune --damaged` removes them; their steps run again")
        raise typer.Exit(FAILURE)


@results.command()
def prune(
    address: Address = None,
    older: Annotated[
        int | None, typer.Option(metavar="DAYS", min=1, help="Remove what is older than this.")
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Remove what is damaged.")] = False,
) -> None:
    """Remove results, and files that no result has any more.

    A file without a result is left for a day: its result may be on its way.

    Examples:
      taxi-nb results prune --older 90
      taxi-nb results prune --damaged
    """
    from taxi_nb.pipeline.object_store import ObjectStoreError

    if older is None and not damaged:
        stop("say what to remove: --older DAYS, or --damaged", USAGE)
    before = datetime.now(UTC) - timedelta(days=older) if older else None
    with errors_stop({ObjectStoreError: FAILURE}):
        removed, files = _shared(address).prune(before, damaged=damaged)
    print(f"removed {removed} results and {files} files")


def _shared(address: str | None) -> SharedResults:
    from taxi_nb.pipeline.memory import RESULTS_VARIABLE
    from taxi_nb.pipeline.shared_results import SharedResults

    place = address or os.environ.get(RESULTS_VARIABLE)
    if not place:
        stop(f"no place is named: give --results ADDRESS, or set {RESULTS_VARIABLE}", USAGE)
    return SharedResults(place, project_root())


def _megabytes(entries: list[Entry]) -> str:
    files = {file.digest: file.size for entry in entries for file in entry.files.values()}
    return f"{sum(files.values()) / 1e6:,.1f}"
