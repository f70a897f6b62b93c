"""A plan: for each step a result that is used again, or the reasons to run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Self

from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.spec import Step


class OfSteps(str):
    """A reason to run that lies in other steps, with their names."""

    steps: tuple[str, ...]

    def __new__(cls, text: str, steps: Iterable[str]) -> Self:
        """Make a text that knows them."""
        made = super().__new__(cls, text)
        made.steps = tuple(steps)
        return made


@dataclass(frozen=True)
class PlannedStep:
    """A step with its decision: `result` is used again, or there are `reasons` to run."""

    step: Step
    reasons: tuple[str, ...] = ()
    result: StepResult | None = None
    # The newest result that the step once had, whether it still holds or not.
    former: StepResult | None = None
    # The options that choose a part of the pipeline without it; empty: it is chosen.
    not_in: str = ""

    @property
    def will_run(self) -> bool:
        """Whether there is no result to use again, and it is chosen."""
        return self.result is None and not self.not_in

    @property
    def is_left_out(self) -> bool:
        """Whether it would have to run, and is not chosen."""
        return self.result is None and bool(self.not_in)

    @property
    def run_id(self) -> str | None:
        """The MLflow run that later steps may build on; None: it will run."""
        return self.result.mlflow_run_id if self.result else None

    @property
    def kind(self) -> str | None:
        """The kind of its run, such as ``training``; None: that is not known."""
        known = self.result or self.former
        return known.kind if known else None

    @property
    def because(self) -> tuple[str, ...]:
        """The steps in which reasons lie."""
        of_steps = (reason for reason in self.reasons if isinstance(reason, OfSteps))
        return tuple(dict.fromkeys(step for reason in of_steps for step in reason.steps))

    @property
    def reason(self) -> str:
        """All the reasons in one line; of a step that is left out also what leaves it out."""
        before = f"left out by {self.not_in}; it would run: " if self.is_left_out else ""
        return before + "; ".join(self.reasons)

    def __str__(self) -> str:
        if self.is_left_out:
            return self.reason
        if self.result is None:
            return f"will run: {self.reason}"
        return f"up to date ({self.result.shared})" if self.result.shared else "up to date"


@dataclass(frozen=True, repr=False)
class Plan:
    """The decision for each step, in the order of the pipeline file."""

    steps: tuple[PlannedStep, ...]

    @property
    def will_run(self) -> list[PlannedStep]:
        """The steps that have to run."""
        return [planned for planned in self.steps if planned.will_run]

    @property
    def left_out(self) -> list[PlannedStep]:
        """The steps that would have to run, and are not in the part that was chosen."""
        return [planned for planned in self.steps if planned.is_left_out]

    @property
    def results(self) -> list[StepResult]:
        """The results that are used again."""
        return [planned.result for planned in self.steps if planned.result]

    @property
    def summary(self) -> str:
        """How many steps will run."""
        count, left_out = len(self.will_run), len(self.left_out)
        says = f"{count} of {len(self.steps)} steps will run" if count else "nothing will run"
        return says + (f", {left_out} left out by {self.left_out[0].not_in}" if left_out else "")

    def __str__(self) -> str:
        width = max(len(planned.step.name) for planned in self.steps)
        lines = [f"{planned.step.name:<{width}}  {planned}" for planned in self.steps]
        return "\n".join([*lines, "", self.summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align: left'>{escape(planned.step.name)}</td>"
            f"<td style='text-align: left'>{escape(str(planned))}</td></tr>"
            for planned in self.steps
        )
        return f"<table>{rows}</table><p>{self.summary}</p>"
