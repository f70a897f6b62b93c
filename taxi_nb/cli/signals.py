"""What a command does when it is asked to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from taxi_nb.pipeline.interrupted import Interrupted


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the work in order; a second one is not heard."""

    def interrupt(number: int, _: object) -> None:
        for heard in (signal.SIGINT, signal.SIGTERM):
            signal.signal(heard, signal.SIG_IGN)
        raise Interrupted(number)

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
