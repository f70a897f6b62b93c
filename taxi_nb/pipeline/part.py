"""Part of a pipeline, as ``--only``, ``--until`` and ``--from`` choose it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from taxi_nb.close_names import close_to
from taxi_nb.pipeline.spec import Pipeline, Step


class UnknownStepError(ValueError):
    """A step was named that the pipeline, or the part of it that was chosen, does not have."""


@dataclass(frozen=True)
class Part:
    """What was chosen: names of steps, or of their groups. Several options together count all."""

    # These alone.
    only: Sequence[str] = ()
    # These and all that they need.
    until: Sequence[str] = ()
    # These and all that need them.
    since: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.only or self.until or self.since)

    def __str__(self) -> str:
        """The options, as they were given."""
        given = [("--only", self.only), ("--from", self.since), ("--until", self.until)]
        return " ".join(f"{option} {name}" for option, names in given for name in names)

    def steps_of(self, pipeline: Pipeline) -> set[str]:
        """Return the names of the chosen steps; UnknownStepError if there are none."""
        steps = {step.name: step for step in pipeline.steps}
        chosen = set(steps)
        if not self:
            return chosen
        needed_by: dict[str, list[str]] = {name: [] for name in steps}
        for step in pipeline.steps:
            for need in step.needs:
                needed_by[need].append(step.name)
        for option, names, following in (
            ("--only", self.only, lambda name: ()),
            ("--until", self.until, lambda name: steps[name].needs),
            ("--from", self.since, needed_by.__getitem__),
        ):
            if names:
                chosen &= _closure(named(pipeline.steps, names, option), following)
        if not chosen:
            raise UnknownStepError(f"{self}: no step is in all of these")
        return chosen


def named(steps: Sequence[Step], names: Iterable[str], option: str) -> set[str]:
    """Return the names of the steps that an option names, by their own names or their group's."""
    known = {*(step.name for step in steps), *(step.group for step in steps)}
    for name in (wanted := list(names)):
        if name not in known:
            hint = close_to(name, sorted(known))
            raise UnknownStepError(f"{option}: there is no step named {name!r}{hint}")
    return {step.name for step in steps if {step.name, step.group}.intersection(wanted)}


def _closure(begin: set[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    found, waiting = set(begin), [*begin]
    while waiting:
        new = set(following(waiting.pop())) - found
        found |= new
        waiting += new
    return found
