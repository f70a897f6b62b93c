"""How a command ends early: one message, and an exit code that says whose mistake it was."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import typer

from taxi_nb.pipeline.interrupted import Interrupted

USAGE, FAILURE = 2, 1


def stop(message: str, code: int) -> NoReturn:
    """Say what is wrong and end with the code."""
    say(message)
    raise typer.Exit(code)


def say(message: str) -> None:
    """Tell the user something that is not the command's result."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def errors_stop(codes: Mapping[type[Exception], int], before: str = "") -> Iterator[None]:
    """Stop where a block raises one of some kinds of error; of several that fit, the first counts.

    `before` is put before the message of a failure.
    """
    try:
        yield
    except tuple(codes) as error:
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
        stop(f"{before if code == FAILURE else ''}{error}", code)


@contextmanager
def signals_stop(message: str) -> Iterator[None]:
    """Let SIGINT and SIGTERM end a block in order, then stop; a second one is not heard."""

    def interrupt(number: int, _: object) -> None:
        for heard in numbers:
            signal.signal(heard, signal.SIG_IGN)
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except Interrupted as interrupted:
        stop(message, 128 + interrupted.signal_number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
