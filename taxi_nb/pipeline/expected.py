"""How long a run will take, by what its steps took when they ran last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.planned import Plan


@dataclass(frozen=True)
class Expected:
    """What the steps that will run took last, and what follows for the run."""

    # Step -> seconds; without those that have not run before.
    last: Mapping[str, float]
    # Of the run, with so many steps side by side as it has.
    seconds: float
    # How many steps have not run before: nothing is known of them.
    unknown: int

    @classmethod
    def of(cls, made: Plan, memory: Memory, jobs: int = 1) -> Self:
        """Look up what steps took, and lay those that will run side by side as the run does."""
        will_run = [planned.step for planned in made.will_run]
        known = {step.name: memory.last_seconds(step) for step in will_run}
        last = {name: seconds for name, seconds in known.items() if seconds is not None}
        free, ends = [0.0] * jobs, {step.name: 0.0 for step in will_run}
        for step in will_run:  # In the file's order, in which needs come first.
            ready = max((ends[name] for name in step.needs if name in ends), default=0.0)
            start = max(ready, min(free))
            free[free.index(min(free))] = ends[step.name] = start + last.get(step.name, 0.0)
        return cls(last, max(ends.values(), default=0.0), len(will_run) - len(last))

    def __str__(self) -> str:
        if not self.last:
            return "never run before: how long it takes is not known" if self.unknown else ""
        new = f", and what is new: {_steps(self.unknown)}" if self.unknown else ""
        return f"about {duration(self.seconds, 0)} expected{new}"


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def duration(seconds: float | None, digits: int = 1) -> str:
    """Return ``3.2 s``, ``2 min 5 s``, ``1 h 12 min``.

    >>> duration(3.2), duration(3.2, 0), duration(125), duration(4_320)
    ('3.2 s', '3 s', '2 min 5 s', '1 h 12 min')
    """
    if seconds is None:
        return "–"
    if seconds < 59.95 and (digits or seconds < 59.5):
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"
