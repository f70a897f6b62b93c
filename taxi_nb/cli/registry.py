"""`taxi-nb registry`: which model people should use, since when, why, and who agreed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from taxi_nb.cli._arguments import outside
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say, stop
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from taxi_nb.registry.history import Promotion
    from taxi_nb.registry.sign_off import Approval, Approvals
    from taxi_nb.registry.versions import RegisteredVersion
    from taxi_nb.scoring.serving.comparison import Answered

registry = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Which model people should use, since when, and why.",
)

Name = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="The registered model; the store's if left out."),
]
Version = Annotated[str | None, typer.Argument(metavar="VERSION", help="The champion if left out.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it stays in the history.")]


@contextmanager
def registry_errors_stop() -> Iterator[None]:
    """End with one message if the store or the registry cannot be used as asked."""
    from taxi_nb.tracking.file_addresses import sqlite_file
    from taxi_nb.tracking.run_tree import is_there
    from taxi_nb.tracking.store import tracking_uri
    from taxi_nb.tracking.store_errors import StoreError, errors_of_store

    if not is_there(tracking_uri()):
        stop(
            f"there is no store yet: {sqlite_file(tracking_uri())} does not exist. "
            f"`taxi-nb run` makes it, MLFLOW_TRACKING_URI names another{outside()}",
            FAILURE,
        )
    from taxi_nb.registry.versions import RegistryError

    failures: dict[type[Exception], int] = {RegistryError: FAILURE, StoreError: FAILURE}
    with errors_stop(failures), errors_of_store(tracking_uri()):
        yield


def model_name(name: str | None) -> str:
    """Return the name given, or the project's own."""
    from taxi_nb.registry.versions import usual_model

    return name or usual_model()


@registry.command(name="list")
def list_versions(name: Name = None) -> None:
    """Show the versions of the model, the newest first.

    Example:
      taxi-nb registry list
    """
    with registry_errors_stop():
        from taxi_nb.registry.sign_off import approvals
        from taxi_nb.registry.versions import registered_versions

        found = registered_versions(model_name(name))
        agreed = approvals(model_name(name))
    columns = ("version", "alias", "model", "RMSE (min)", "commit", "created", "signed off by")
    rows = ([*_version_row(one), _signers(agreed, one.version)] for one in found)
    _print_table(model_name(name), columns, rows)
    if agreed.protection:
        print(f"the champion is {agreed.protection}")


@registry.command()
def history(name: Name = None) -> None:
    """Show every change of champion, the oldest first.

    Example:
      taxi-nb registry history
    """
    with registry_errors_stop():
        from taxi_nb.registry.promotion import promotion_history
        from taxi_nb.registry.sign_off import approvals
        from taxi_nb.registry.versions import registered_versions

        found, agreed = promotion_history(model_name(name)), approvals(model_name(name))
        if not found.promotions:
            registered_versions(model_name(name))  # Says so if there is no such model.
    if not found.promotions:
        print(f"{found.name} has no promotions yet")
    else:
        columns = ("", "when (UTC)", "what", "from", "to", "by", "why")
        _print_table(found.name, columns, map(_promotion_row, found.promotions))
    if agreed.all:
        columns = ("", "when (UTC)", "what", "version", "by", "run by", "why")
        _print_table("protection and sign-offs", columns, map(_approval_row, agreed.all))
    if found.remark:
        print(f"note: {found.remark}")


@registry.command()
def card(version: Version = None, name: Name = None) -> None:
    """Print the model card of a version, in Markdown.

    Example:
      taxi-nb registry card 3
    """
    with registry_errors_stop():
        from taxi_nb.registry.card import model_card

        print(model_card(model_name(name), version or champion_number(model_name(name))))


@registry.command()
def promote(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="The version that shall be champion.")
    ],
    reason: Reason,
    name: Name = None,
) -> None:
    """Make a version champion by hand, past the gate.

    Example:
      taxi-nb registry promote 4 --reason "the gate was too strict in a week of snow"
    """
    if not reason.strip():
        stop("--reason must say why", USAGE)
    with registry_errors_stop():
        from taxi_nb.registry.promotion import promote as promote_version
        from taxi_nb.review.sign_off import ReviewError, require_as_reviewed

        with errors_stop({ReviewError: FAILURE}):
            require_as_reviewed(model_name(name), version, project_root())
        _show_change(promote_version(version, reason=reason, name=model_name(name)), name)


@registry.command()
def rollback(
    to: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="A champion from further back, by its number."),
    ] = None,
    reason: Reason = "rolled back",
    name: Name = None,
) -> None:
    """Make the champion before this one champion again.

    Examples:
      taxi-nb registry rollback --reason "wrong in Queens"
      taxi-nb registry rollback --to 3 --reason "wrong in Queens"
    """
    with registry_errors_stop():
        from taxi_nb.registry.promotion import rollback as roll_back

        _show_change(roll_back(to, reason=reason, name=model_name(name)), name)


@registry.command()
def compare(
    taxi: Annotated[
        Literal["green", "yellow"],
        typer.Option(metavar="green|yellow", help="Whose months have the durations."),
    ] = "green",
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Where these months are: tlc, a folder, an address."),
    ] = None,
    name: Name = None,
) -> None:
    """Compare what champion and challenger answered with the truth.

    `taxi-nb serve --challenger 20%` keeps what each answered. Months that the source does not have
    yet are named.

    Example:
      taxi-nb registry compare --source tlc
    """
    import pandas as pd

    from taxi_nb.pipeline.memory import RUNS
    from taxi_nb.scoring.serving.answers_log import read_answers
    from taxi_nb.scoring.serving.comparison import compare as compared
    from taxi_nb.trips.errors import TripsError
    from taxi_nb.trips.loading import load_trips

    with errors_stop({LookupError: FAILURE, OSError: FAILURE}):
        answers = read_answers(project_root() / RUNS, model_name(name))
    parts, missing = [], []
    for month in sorted(answers["pickup_datetime"].dropna().dt.strftime("%Y-%m").unique()):
        try:
            parts.append(load_trips(taxi, [month], source))
        except TripsError as error:
            missing.append(f"{month}: {error}")
    for reason in missing:
        say(f"not known yet: {reason}")
    if not parts:
        stop("nothing can be compared: no month of these trips is there", FAILURE)
    found = compared(answers, pd.concat(parts))
    for pair in found.compared:
        print(pair)
    columns = ("version", "role", "trips", "known", "RMSE (min)", "bias (min)")
    _print_table(model_name(name), columns, map(_answered_row, found.answered))
    if found.unknown:
        print(
            f"{found.unknown:,} of {len(answers):,} answers are about trips that are not in the "
            "months, not once in them, or not clean"
        )


def champion_number(name: str) -> str:
    """Return the champion's version, or stop and say that there is none."""
    from taxi_nb.registry.versions import champion, registered_versions

    if (found := champion(name)) is None:
        there = registered_versions(name)
        stop(
            f"{name} has no champion: none of its {len(there)} versions carries the alias. "
            f"`taxi-nb registry promote VERSION --reason WHY --name {name}` gives it to one",
            FAILURE,
        )
    return str(found.version)


def _show_change(made: Promotion, name: str | None) -> None:
    before = f"version {made.before} before" if made.before else "none before"
    print(f"{model_name(name)}: the champion is version {made.after} now, {before}")


def _print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    cells = [*map(list, rows)]
    for number, column in enumerate(columns):
        # A column is no narrower than its longest word: names are never broken.
        words = " ".join([column, *(row[number] for row in cells)]).split()
        table.add_column(column, min_width=max(map(len, words), default=0))
    for row in cells:
        table.add_row(*row)
    # Where nobody looks at it, nothing is broken into lines.
    console = Console()
    Console(width=None if console.is_terminal else 10_000).print(table)


def _version_row(found: RegisteredVersion) -> Iterator[str]:
    yield found.version
    yield ", ".join(found.aliases)
    yield f"{found.model} (synthetic)" if found.synthetic else found.model
    yield "?" if found.valid_rmse is None else f"{found.valid_rmse:.3f}"
    dirty = "+" if found.tags.get("lineage.dirty") == "true" else ""
    yield found.tags.get("lineage.commit", "?").split(" ")[0][:10] + dirty
    yield datetime.fromtimestamp(found.created / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _answered_row(found: Answered) -> Iterator[str]:
    yield from (found.version, found.role, f"{found.trips:,}", f"{found.known:,}")
    yield found.rmse.shown() if found.rmse else "?"
    yield found.bias.shown("+") if found.bias else "?"


def _promotion_row(made: Promotion) -> list[str]:
    at = datetime.fromisoformat(made.at).strftime("%Y-%m-%d %H:%M:%S")
    champions = [made.before or "", made.after or ""]
    return [str(made.number), at, made.what, *champions, made.who, made.reason]


def _signers(agreed: Approvals, version: str) -> str:
    return ", ".join(one.by for one in agreed.of(version))


def _approval_row(made: Approval) -> list[str]:
    at = datetime.fromisoformat(made.at).strftime("%Y-%m-%d %H:%M:%S")
    return [str(made.number), at, made.kind, made.version or "", made.by, made.who, made.reason]
