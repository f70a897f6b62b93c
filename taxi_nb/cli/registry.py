"""`taxi-nb registry`: which model people should use, since when, why, and who agreed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, stop

if TYPE_CHECKING:
    from taxi_nb.registry.history import Promotion
    from taxi_nb.registry.sign_off import Approval, Approvals
    from taxi_nb.registry.versions import RegisteredVersion

registry = typer.Typer(
    no_args_is_help=True,
    help="Which model people should use, since when, and why; put back the one before.",
)

Name = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="The registered model; nyc-taxi-duration if left out."),
]
By = Annotated[
    str, typer.Option(metavar="NAME", help="Who says so. It is kept as stated; nothing checks it.")
]
Reason = Annotated[str, typer.Option(help="Why; it stays in the history.")]


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
            "`make run-notebooks` makes it, MLFLOW_TRACKING_URI names another",
            FAILURE,
        )
    from taxi_nb.registry.versions import RegistryError

    failures: dict[type[Exception], int] = {RegistryError: FAILURE, StoreError: FAILURE}
    with errors_stop(failures), errors_of_store(tracking_uri()):
        yield


def model_name(name: str | None) -> str:
    """Return the name given, or the project's own."""
    from taxi_nb.registry.versions import DEFAULT_NAME

    return name or DEFAULT_NAME


@registry.command(name="list")
def list_versions(name: Name = None) -> None:
    """Show the versions of the model, newest first, and what came of them."""
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
def show(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="The champion if left out.")
    ] = None,
    name: Name = None,
) -> None:
    """Show a version: where it came from, and who signed it off when and why."""
    with registry_errors_stop():
        from taxi_nb.registry.sign_off import approvals
        from taxi_nb.registry.versions import registered_versions, usable

        number = version or champion_number(model_name(name))
        usable(model_name(name), number)
        agreed = approvals(model_name(name))
        found = next(one for one in registered_versions(model_name(name)) if one.version == number)
    print(f"{model_name(name)}, version {number}")
    print(f"  aliases: {', '.join(found.aliases) or 'none'}")
    for tag, value in sorted(found.tags.items()):
        print(f"  {tag}: {value}")
    about = [one for one in agreed.all if one.version == number]
    for one in about:
        print(f"  {one}")
    if not about:
        print("  not signed off")


@registry.command()
def history(name: Name = None) -> None:
    """Show every change of champion, oldest first."""
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
def card(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="The champion if left out.")
    ] = None,
    name: Name = None,
) -> None:
    """Print the model card of a version, in Markdown."""
    with registry_errors_stop():
        from taxi_nb.registry.card import model_card

        print(model_card(model_name(name), version or champion_number(model_name(name))))


@registry.command()
def promote(
    version: Annotated[str, typer.Argument(help="The version that shall be champion.")],
    reason: Reason,
    name: Name = None,
) -> None:
    """Make a version champion by hand, past the gate."""
    if not reason.strip():
        stop("--reason must say why", USAGE)
    with registry_errors_stop():
        from taxi_nb.registry.promotion import promote as promote_version

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
    """Make the champion before this one champion again."""
    with registry_errors_stop():
        from taxi_nb.registry.promotion import rollback as roll_back

        _show_change(roll_back(to, reason=reason, name=model_name(name)), name)


@registry.command()
def protect(
    by: By,
    reason: Reason,
    alias: Annotated[str, typer.Argument(help="Only champion can be protected.")] = "champion",
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
    name: Name = None,
) -> None:
    """Let a version become champion only once somebody has signed it off."""
    with registry_errors_stop(), errors_stop({ValueError: USAGE}):
        from taxi_nb.registry.sign_off import protect as protect_champion

        model = model_name(name)
        made = protect_champion(by=by, reason=reason, name=model, alias=alias, off=off)
    print(f"{model}: the champion is {made}")


@registry.command()
def sign_off(
    version: Annotated[str, typer.Argument(help="The version that may be champion.")],
    by: By,
    reason: Reason,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it back.")] = False,
    name: Name = None,
) -> None:
    """State that a version, with the files that it has, may be champion; this moves no alias."""
    with registry_errors_stop(), errors_stop({ValueError: USAGE}):
        from taxi_nb.registry.sign_off import sign_off as sign_off_version

        model = model_name(name)
        made = sign_off_version(version, by=by, reason=reason, name=model, withdraw=withdraw)
    print(f"{model}, version {version}: {made}")


@registry.command()
def copy(
    version: Annotated[str, typer.Argument(help="The version to copy.")],
    to: Annotated[
        str,
        typer.Option(metavar="STORE", help="The other store's address, or env:NAME that holds it."),
    ],
    artifact_root: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where artifacts go, in a database that is new to it."),
    ] = None,
    name: Name = None,
) -> None:
    """Copy a version to another registry, as from staging to production; no alias moves there."""
    with registry_errors_stop():
        from taxi_nb.registry.copying import copy_version

        model = model_name(name)
        made = copy_version(version, to, name=model, artifact_root=artifact_root)
    became = "is" if made.is_new else "was there already, as"
    print(f"{model}: version {version} {became} version {made.version} in {made.store}")
    if made.is_new:
        print(
            f"no alias moved there: MLFLOW_TRACKING_URI={made.store} taxi-nb registry promote "
            f"{made.version} --reason WHY --name {model}"
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

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _version_row(found: RegisteredVersion) -> Iterator[str]:
    yield found.version
    yield ", ".join(found.aliases)
    yield f"{found.model} (synthetic)" if found.synthetic else found.model
    yield "?" if found.valid_rmse is None else f"{found.valid_rmse:.3f}"
    dirty = "+" if found.tags.get("lineage.dirty") == "true" else ""
    yield found.tags.get("lineage.commit", "?").split(" ")[0][:10] + dirty
    yield datetime.fromtimestamp(found.created / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _promotion_row(made: Promotion) -> list[str]:
    at = datetime.fromisoformat(made.at).strftime("%Y-%m-%d %H:%M:%S")
    champions = [made.before or "", made.after or ""]
    return [str(made.number), at, made.what, *champions, made.who, made.reason]


def _signers(agreed: Approvals, version: str) -> str:
    return ", ".join(one.by for one in agreed.of(version))


def _approval_row(made: Approval) -> list[str]:
    at = datetime.fromisoformat(made.at).strftime("%Y-%m-%d %H:%M:%S")
    return [str(made.number), at, made.kind, made.version or "", made.by, made.who, made.reason]
