"""`taxi-nb review`: a person's decision about a run."""

from __future__ import annotations

from typing import Annotated

import typer

from taxi_nb.cli._arguments import ChosenRun, run_folder
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, stop


def review(
    chosen: ChosenRun = None,
    approve: Annotated[bool, typer.Option("--approve", help="It may be relied on.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="It may not.")] = False,
    reason: Annotated[
        str, typer.Option("--message", "-m", metavar="TEXT", help="Why, in a sentence.")
    ] = "",
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who decides; whom git knows, if left out."),
    ] = None,
) -> None:
    """Approve or reject a run, or show who did, when and why.

    A decision is bound to the run's record and executed notebooks as they are now, and is never
    changed: another one may follow. MLflow and the run's page show it. Exit code 1 where what was
    approved is no longer what is there.

    Examples:
      taxi-nb review 20260203-140501-default --approve -m "Queens looks right again"
      taxi-nb review
    """
    from taxi_nb.review.sign_off import ReviewError, reviews
    from taxi_nb.review.sign_off import review as decide
    from taxi_nb.tracking.store_errors import StoreError

    if approve and reject:
        stop("either --approve or --reject", USAGE)
    if (reason or by) and not (approve or reject):
        stop("-m and --by belong to --approve or --reject", USAGE)
    folder = run_folder(chosen)
    failures = {StoreError: FAILURE, OSError: FAILURE}
    with errors_stop({ReviewError: USAGE, **failures}, "the review could not be kept: "):
        if approve or reject:
            made = decide(folder, "approved" if approve else "rejected", reason=reason, by=by)
            print(f"{folder.name} {made}")
            print(f"page: {folder / 'index.html'}")
            return
        found, now = reviews(folder)
    if not found:
        print(f"{folder.name}: nobody has reviewed it")
    for one in found:
        other = "" if one.reviewed == now else "; it is not what was reviewed"
        print(f"{folder.name} {one}{other}")
    if found and found[-1].reviewed != now:
        raise typer.Exit(FAILURE)
