"""Which steps of a pipeline have to run, and why.

A step is up to date if a kept result of it was made from the same code, parameters, modules,
files, packages and upstream runs, and is still there. Its inputs were recorded when it ran (see
`kernels/input_recorder.py`); nothing is declared.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol

from taxi_nb.pipeline.differences import Present, differences
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.part import Part, UnknownStepError, named
from taxi_nb.pipeline.planned import Plan, PlannedStep
from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.plain_data import shortened

EVERY_STEP = "*"


# All steps.
WHOLE = Part()


class LeftOutError(ValueError):
    """A step would run without one that it needs."""


def plan(
    pipeline: Pipeline, memory: Memory, force: Collection[str] = (), part: Part = WHOLE
) -> Plan:
    """Decide for each step whether it has to run; nothing is changed by that.

    `force` names steps, or their groups, that run in any case; `EVERY_STEP`: all. Of what is not
    in `part` nothing runs: a step that is up to date is used, another one is left out. Raises
    UnknownStepError if a step is named that is not there, and LeftOutError if one that would run
    declares that it needs one that is left out.
    """
    with memory.digests.one_moment():
        return _planned(pipeline, memory, force, part)


def _planned(pipeline: Pipeline, memory: Memory, force: Collection[str], part: Part) -> Plan:
    chosen = part.steps_of(pipeline)
    forced = _forced(pipeline, force, chosen, part)
    planned: dict[str, PlannedStep] = {}
    writers: dict[str, str] = {}
    for step in pipeline.steps:
        if step.name in forced:
            made = PlannedStep(step, ("forced",), former=_former(step, memory))
        else:
            made = decide(step, memory, planned, writers)
        if step.name not in chosen:
            made = replace(made, not_in=str(part))
        elif made.will_run:
            _require_needs(step, planned)
        planned[step.name] = made
        if made.will_run:
            kept = (result.used for result in memory.known_results(step))
            writers |= {path: step.name for used in kept if used for path in used.outputs}
    return Plan(tuple(planned.values()))


def decide(
    step: Step,
    memory: Memory,
    before: Mapping[str, PlannedStep],
    writers: Mapping[str, str] | None = None,
) -> PlannedStep:
    """Decide for one step; see `Present` for `before` and `writers`."""
    present = Present(step, memory, before, writers or {})
    former = _former(step, memory)
    found: list[list[str]] = []
    for candidate in memory.candidates[step.name]:
        reasons = list(differences(candidate, present))
        if not reasons:
            return PlannedStep(step, result=candidate, former=former)
        found.append(reasons)
    damaged: list[str] = []
    for entry in memory.shared_results(step):
        if entry.problem or entry.result is None:
            damaged.append(f"the shared result {entry.name.rpartition('/')[2]} {entry.problem}")
            continue
        reasons = list(differences(entry.result, present))
        if not reasons:
            return PlannedStep(step, result=entry.result, former=former)
        found.append(reasons)
    reasons = [*_reasons_to_tell(present, found), *damaged]
    return PlannedStep(step, tuple(reasons), former=former)


class Outcomes(Protocol):
    """What the steps of a run have come to."""

    def __getitem__(self, step: str) -> StepResult:
        """Return what a step has come to."""


def decide_in_run(
    step: Step, steps: Mapping[str, Step], memory: Memory, outcomes: Outcomes
) -> PlannedStep:
    """Decide for a step when all that it needs is done in a run; `steps` are the pipeline's."""
    before = {name: _outcome(steps[name], outcomes[name]) for name in step.needs}
    return decide(step, memory, before)


def _outcome(step: Step, result: StepResult) -> PlannedStep:
    if result.is_left_out:
        return PlannedStep(step, not_in=str(result.reason))
    return PlannedStep(step, result=result)


def _require_needs(step: Step, planned: Mapping[str, PlannedStep]) -> None:
    """Raise LeftOutError if a step that will run declares a need that is left out."""
    for name in step.needs if step.needs_are_declared else ():
        if (need := planned[name]).is_left_out:
            why = shortened("; ".join(need.reasons), 200)
            raise LeftOutError(
                f"{need.not_in}: {step.name} needs {name}, which is left out and is not up to "
                f"date ({why}): add --only {shlex.quote(name)}, or ask for --until "
                f"{shlex.quote(step.name)}"
            )


def _former(step: Step, memory: Memory) -> StepResult | None:
    return next(iter(memory.candidates[step.name]), None)


def _reasons_to_tell(present: Present, found: list[list[str]]) -> list[str]:
    """Choose the differences from the result that is closest."""
    memory, step = present.memory, present.step
    attempt = memory.results.attempt(memory.pipeline.name, step.name)
    if attempt and attempt.problem and (attempt.key == present.inputs.key or not found):
        return [f"last time {attempt.problem}"]
    return min(found, key=len, default=["never ran"])


def _forced(pipeline: Pipeline, names: Collection[str], chosen: set[str], part: Part) -> set[str]:
    if EVERY_STEP in names:
        return chosen
    forced = named(pipeline.steps, names, "--force")
    if outside := sorted(forced - chosen):
        raise UnknownStepError(f"--force {outside[0]}: {part} leaves that step out")
    return forced
