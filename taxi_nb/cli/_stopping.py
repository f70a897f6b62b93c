"""How a command ends early: one message, and an exit code that says whose mistake it was."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import typer

from taxi_nb.pipeline.interrupted import GATE, Interrupted

USAGE, FAILURE = 2, 1


def stop(message: str, code: int) -> NoReturn:
    """Say what is wrong and end with the code."""
    say(message)
    raise typer.Exit(code)


def say(message: str) -> None:
    """Tell the user something that is not the command's result."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def errors_stop(
    codes: Mapping[type[Exception], int], before: str = "", after: str = ""
) -> Iterator[None]:
    """Stop where a block raises one of some kinds of error; of several that fit, the first counts.

    `before` is put before the message of a failure, `after` at the end of any.
    """
    try:
        yield
    except tuple(codes) as error:
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
        stop(f"{before if code == FAILURE else ''}{error}{after}", code)


@contextmanager
def signals_stop(message: str) -> Iterator[None]:
    """Let a signal end a block in order, then stop; while books are closed it has to wait."""

    def hear(number: int, _: object) -> None:
        if not GATE.arrive(number):
            say("the run is being closed; this takes seconds")

    before = {number: signal.getsignal(number) for number in _ending_signals()}
    try:
        for number in before:
            signal.signal(number, hear)
        yield
    except Interrupted as interrupted:
        notes = getattr(interrupted, "__notes__", ())
        stop("\n".join([message, *notes]), 128 + interrupted.signal_number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending_signals() -> Iterator[int]:
    """Yield the signals that ask a process to end; `nohup` has it that some do not."""
    yield from (signal.SIGINT, signal.SIGTERM)
    for name in ("SIGHUP", "SIGQUIT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            yield number
