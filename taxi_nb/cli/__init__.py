"""`taxi-nb`: a module for each command."""

from __future__ import annotations

import atexit
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from taxi_nb.cli._limits import lacking, open_streams, system_errors_end
from taxi_nb.cli._stopping import FAILURE, say
from taxi_nb.cli.adopt import adopt
from taxi_nb.cli.export import export
from taxi_nb.cli.init import init
from taxi_nb.cli.lint import lint
from taxi_nb.cli.monthly import monthly
from taxi_nb.cli.new import new
from taxi_nb.cli.plan import plan
from taxi_nb.cli.registry import registry
from taxi_nb.cli.release import copy, protect, show, sign_off
from taxi_nb.cli.report import report
from taxi_nb.cli.results import results
from taxi_nb.cli.review import review
from taxi_nb.cli.run import run
from taxi_nb.cli.score import score
from taxi_nb.cli.serve import serve
from taxi_nb.cli.step import close, open_run, step
from taxi_nb.cli.trace import trace
from taxi_nb.cli.ui import ui
from taxi_nb.cli.verify import verify
from taxi_nb.tracking.held_folder import remove_abandoned
from taxi_nb.trips.extras import how_to_install

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run numbered notebooks as a tracked pipeline.",
)
for command in (
    *(init, run, plan, new, adopt, report, lint, review, trace, verify),
    *(score, monthly, serve, ui, step, close),
):
    app.command()(command)
for agreeing in (show, protect, sign_off, copy):
    registry.command()(agreeing)
app.command("open")(open_run)
app.add_typer(results, name="results")
app.add_typer(registry, name="registry")
app.add_typer(export, name="export")


def _with_examples(documented: Callable[..., object] | None) -> str:
    """Return a command's docstring, in which the lines of its examples stay lines."""
    said = inspect.getdoc(documented) or ""
    return re.sub(r"^(?=Examples?:$)", "\b\n", said, flags=re.MULTILINE)


for group in (app, results, registry, export):
    for known in group.registered_commands:
        known.help = _with_examples(known.callback)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"taxi-nb {version('taxi-nb')}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run numbered notebooks as a tracked pipeline."""


def main() -> None:
    """Run the command line."""
    # Every process that a command starts inherits these.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # nbformat imports jsonschema, which then builds a parser for international addresses: two
    # seconds for a check that no notebook needs, and that is left out without this package.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    open_streams()
    try:
        if problem := lacking():
            say(problem)
            raise SystemExit(FAILURE)
        with system_errors_end():
            remove_abandoned()
            app(_forced_all(sys.argv[1:]))
            sys.stdout.flush()
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
