"""How a command ends early: one message, and an exit code that says whose mistake it was."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

USAGE, FAILURE = 2, 1


def stop(message: str, code: int) -> NoReturn:
    """Say what is wrong and end with the code."""
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def say(message: str) -> None:
    """Tell the user something that is not the command's result."""
    print(message, file=sys.stderr, flush=True)
