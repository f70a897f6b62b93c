"""The end of a run that a signal asked for, and the times at which it has to wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(BaseException):
    """A signal asked the pipeline to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class SignalGate:
    """Whether a signal may end what runs now, or has to wait until books are closed.

    Of the main thread alone, which is where Python handles signals.
    """

    def __init__(self) -> None:
        self._is_open = True
        self._waiting: int | None = None

    def arrive(self, signal_number: int) -> bool:
        """Take a signal: raise Interrupted, once; return False where it has to wait."""
        if self._is_open:
            self._is_open = False
            raise Interrupted(signal_number)
        self._waiting = self._waiting or signal_number
        return False

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let signals wait in a block, but for the parts of it that are `opened`."""
        self._is_open, self._waiting = False, None
        try:
            yield
        finally:
            self._is_open = True

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let a signal end a block; one that waits does so at once."""
        try:
            self._is_open = True
            if self._waiting is not None:
                self.arrive(self._waiting)
            yield
        finally:
            self._is_open = False


GATE = SignalGate()
