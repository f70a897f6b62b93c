"""The mistakes of a pipeline file, collected until all of it has been looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taxi_nb.pipeline.spec import PipelineFileError, Problem

if TYPE_CHECKING:
    from taxi_nb.located_yaml import Location


class Problems:
    """What is wrong, each with its place: once, whoever else it concerns."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.line: Callable[[Location], int | None] = lambda _: None
        self._found: list[Problem] = []
        # Place and mistake of a value -> the notebooks that take it.
        self._values: dict[tuple[Location | str, str], dict[str, None]] = {}

    def at(self, place: Location, message: str) -> None:
        """Note a mistake at a place of the file."""
        self._found.append(self._at(place, message))

    def given(self, option: str, message: str) -> None:
        """Note a mistake of an option, such as ``--set seed``."""
        self._found.append(Problem(option, None, "", message))

    def of_value(self, place: Location | str, mistake: str, notebook: str) -> None:
        """Note that a value, at a place of the file or of an option, is none for a notebook."""
        self._values.setdefault((place, mistake), {})[notebook] = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found or self._values)

    def stop(self) -> None:
        """Raise a PipelineFileError with all of them, if there are any."""
        for (place, mistake), notebooks in self._values.items():
            message = f"{mistake} (declared in {', '.join(notebooks)})"
            if isinstance(place, str):
                self.given(place, message)
            else:
                self.at(place, message)
        self._values.clear()
        if self._found:
            once = dict.fromkeys(self._found)
            raise PipelineFileError(sorted(once, key=lambda one: (one.line or 0, one.key)))

    def _at(self, place: Location, message: str) -> Problem:
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        return Problem(self.shown, self.line(place), "".join(parts).lstrip("."), message)
