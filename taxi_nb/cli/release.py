"""`taxi-nb registry show`, `protect`, `sign-off`, `copy`: who agreed to what, and where it goes."""

from __future__ import annotations

from typing import Annotated

import typer

from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, stop
from taxi_nb.cli.registry import (
    Name,
    Reason,
    Version,
    champion_number,
    model_name,
    registry_errors_stop,
)

By = Annotated[
    str, typer.Option(metavar="NAME", help="Who says so. It is kept as stated; nothing checks it.")
]


def show(version: Version = None, name: Name = None) -> None:
    """Show a version: where it came from, and who signed it off.

    Example:
      taxi-nb registry show 3
    """
    with registry_errors_stop():
        from taxi_nb.registry.sign_off import approvals
        from taxi_nb.registry.versions import registered_versions

        number = version or champion_number(model_name(name))
        agreed, all_there = approvals(model_name(name)), registered_versions(model_name(name))
        found = next((one for one in all_there if one.version == number), None)
    if found is None:
        numbers = ", ".join(one.version for one in reversed(all_there))
        stop(f"{model_name(name)} has no version {number}; there are {numbers}", FAILURE)
    print(f"{model_name(name)}, version {number}")
    print(f"  aliases: {', '.join(found.aliases) or 'none'}")
    for tag, value in sorted(found.tags.items()):
        print(f"  {tag}: {value}")
    about = [one for one in agreed.all if one.version == number]
    for one in about:
        print(f"  {one}")
    if not about:
        print("  not signed off")


def protect(
    by: By,
    reason: Reason,
    alias: Annotated[
        str, typer.Argument(metavar="ALIAS", help="Only champion can be protected.")
    ] = "champion",
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
    name: Name = None,
) -> None:
    """Let a version become champion only once it is signed off.

    Examples:
      taxi-nb registry protect --by "Ada Lovelace" --reason "dispatch relies on it"
      taxi-nb registry protect --off --by "Ada Lovelace" --reason "no longer"
    """
    with registry_errors_stop(), errors_stop({ValueError: USAGE}):
        from taxi_nb.registry.sign_off import protect as protect_champion

        model = model_name(name)
        made = protect_champion(by=by, reason=reason, name=model, alias=alias, off=off)
    print(f"{model}: the champion is {made}")


def sign_off(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="The version that may be champion.")
    ],
    by: By,
    reason: Reason,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it back.")] = False,
    name: Name = None,
) -> None:
    """State that a version may be champion; this moves no alias.

    The statement is about the files that the version has now.

    Examples:
      taxi-nb registry sign-off 4 --by "Grace Hopper" --reason "looked at Queens"
      taxi-nb registry sign-off 4 --withdraw --by "Grace Hopper" --reason "looked again"
    """
    with registry_errors_stop(), errors_stop({ValueError: USAGE}):
        from taxi_nb.registry.sign_off import sign_off as sign_off_version

        model = model_name(name)
        made = sign_off_version(version, by=by, reason=reason, name=model, withdraw=withdraw)
    print(f"{model}, version {version}: {made}")


def copy(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version to copy.")],
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
    """Copy a version to another registry; no alias moves there.

    Example:
      taxi-nb registry copy 3 --to env:PRODUCTION
    """
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
