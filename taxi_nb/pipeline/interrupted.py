"""The end of a run that a signal asked for."""

from __future__ import annotations


class Interrupted(BaseException):
    """A signal asked the pipeline to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
