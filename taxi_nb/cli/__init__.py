"""`taxi-nb`: a module for each command."""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, NoReturn

import typer

from taxi_nb.cli._limits import lacking, open_streams, system_errors_end
from taxi_nb.cli._stopping import FAILURE, USAGE, say
from taxi_nb.project import SettingsError
from taxi_nb.tracking.held_folder import remove_abandoned
from taxi_nb.trips.extras import how_to_install

# Each with its module in this package, in the order of `--help`.
_COMMANDS = {
    **{name: name for name in ("init", "run", "plan", "new", "adopt", "report", "lint", "review")},
    **{name: name for name in ("trace", "verify", "score", "monthly", "serve", "ui", "lab")},
    **{"step": "step", "close": "step", "open": "step"},
}
_GROUPS = ("results", "registry", "export")
# Where a function cannot have its command's name.
_FUNCTIONS = {"open": "open_run"}


@cache
def _app_of(*asked: str) -> typer.Typer:
    """Make the command line of some commands alone: one needs neither the others nor their options.

    To make all takes as long as most commands do.
    """
    made = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Run numbered notebooks as a tracked pipeline.",
    )
    made.callback()(options)
    for name in asked:
        if name in _GROUPS:
            made.add_typer(_group(name), name=name)
        else:
            function = getattr(_module(_COMMANDS[name]), _FUNCTIONS.get(name, name))
            made.command(name, help=_with_examples(function))(function)
    return made


@cache
def _group(name: str) -> typer.Typer:
    group: typer.Typer = getattr(_module(name), name)
    if name == "registry":
        release = _module("release")
        for agreeing in (release.show, release.protect, release.sign_off, release.copy):
            group.command()(agreeing)
    for known in group.registered_commands:
        known.help = _with_examples(known.callback)
    return group


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")


def _all() -> typer.Typer:
    return _app_of(*_COMMANDS, *_GROUPS)


def __getattr__(name: str) -> typer.Typer:
    """Return `app`, the whole command line, to those who look at it."""
    if name == "app":
        return _all()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _with_examples(documented: Callable[..., object] | None) -> str:
    """Return a command's docstring, in which the lines of its examples stay lines."""
    said = inspect.getdoc(documented) or ""
    return re.sub(r"^(?=Examples?:$)", "\b\n", said, flags=re.MULTILINE)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"taxi-nb {version('taxi-nb')}, Python {sys.version.split()[0]}")
        raise typer.Exit


def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run numbered notebooks as a tracked pipeline."""


def main() -> None:
    """Run the command line."""
    # Every process that a command starts inherits it.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # nbformat imports jsonschema, which then builds a parser for international addresses: two
    # seconds for a check that no notebook needs, and that is left out without this package.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    # Pydantic would look for plug-ins among all installed packages; kernels have pydantic as it is.
    # Where a later pydantic has no such place it looks for them, which only takes longer.
    with suppress(ImportError):
        pydantic_plugins: Any = import_module("pydantic.plugin._loader")
        pydantic_plugins._plugins = {}
    # What a command imports and reads stays: to look through it for garbage again and again is
    # for nothing.
    gc.set_threshold(50_000)
    open_streams()
    try:
        if problem := lacking():
            say(problem)
            raise SystemExit(FAILURE)
        with system_errors_end():
            remove_abandoned()
            arguments = _forced_all(sys.argv[1:])
            known = {*_COMMANDS, *_GROUPS}.intersection(arguments[:1])
            (_app_of(*known) if known else _all())(arguments)
            sys.stdout.flush()
    except SettingsError as error:
        say(str(error))
        _leave(USAGE)
    except ModuleNotFoundError as error:
        message = how_to_install(error.name or "")
        if message is None:
            raise
        say(message)
        _leave(FAILURE)
    except SystemExit as ending:
        _leave(ending.code)


def _leave(code: str | int | None) -> NoReturn:
    """End as the interpreter ends, but for taking its objects apart: a second after MLflow."""
    if isinstance(code, str):
        raise SystemExit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # A reader that has gone, such as `head`, is not this program's mistake.
        try:
            stream.flush()
        except BrokenPipeError:
            pass
        except (OSError, ValueError):
            code = code or FAILURE
    os._exit(code or 0)


def _forced_all(arguments: list[str]) -> list[str]:
    """Let `--force` without a name mean all steps: Typer's options always take a value."""
    if arguments[:1] not in (["run"], ["plan"]):  # Elsewhere it is a flag.
        return arguments
    from taxi_nb.pipeline.plan import EVERY_STEP

    given = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        is_bare = argument == "--force" and (following.startswith("-") or ".y" in following)
        given.append(f"--force={EVERY_STEP}" if is_bare else argument)
    return given
