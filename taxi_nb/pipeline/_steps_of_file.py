"""The steps of a pipeline file: executions, their parameters, what they need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.close_names import close_to
from taxi_nb.pipeline._file_form import PipelineForm, StepForm
from taxi_nb.pipeline._notebook_file import TAG_IT
from taxi_nb.pipeline._problems import Problems
from taxi_nb.pipeline._relative_months import as_declared
from taxi_nb.pipeline.parameters import Parameter
from taxi_nb.pipeline.record import cut_name
from taxi_nb.pipeline.spec import Step, Subject
from taxi_nb.secrets.literals import secret_mistake
from taxi_nb.secrets.references import secret_variables

if TYPE_CHECKING:
    from taxi_nb.located_yaml import Location

# What would break a path or a line.
_NO_NAME = re.compile(r"[/\x00-\x1f\x7f\x85\u2028\u2029]")


class StepsOfFile:
    """Reads the steps, and notes what is wrong with them."""

    def __init__(
        self,
        form: PipelineForm,
        notebooks: Mapping[int, Path],
        declared: Mapping[int, Mapping[str, Parameter]],
        given: Mapping[str, Any],
        problems: Problems,
        subject: Subject | None,
    ) -> None:
        self._form, self._notebooks, self._given = form, notebooks, given
        # By the position of a step; without the notebooks that cannot be used.
        self._declared = declared
        self._problems, self._subject = problems, subject
        self.secrets: set[str] = set()
        self._looked_at: set[str] = set()

    def read(self) -> Iterator[Step]:
        """Yield all executions, in the file's order."""
        before: dict[str, list[str]] = {}
        executions: dict[str, list[str]] = {}
        for index, step in enumerate(self._form.steps):
            if step.group in before:
                message = f"a step named {step.group!r} is there already; give this one a `name`"
                self._problems.at(("steps", index), message)
            needs = self._needs(index, step, before, executions)
            names = before.setdefault(step.group, [])
            for values in self._executions(index, step):
                chosen = ",".join(_NO_NAME.sub("-", str(values[axis])) for axis in step.table.axes)
                name = cut_name(f"{step.group}[{chosen}]" if step.matrix else step.group)
                if name in names:
                    self._problems.at(("steps", index, "matrix"), f"{name} comes up twice")
                names.append(name)
                executions[name] = [name]
                yield Step(
                    name=name,
                    group=step.group,
                    notebook=self._notebooks[index],
                    parameters=values,
                    needs=needs,
                    timeout=step.timeout or self._form.timeout,
                    retries=step.retries,
                    memory=step.memory,
                    cpus=step.cpus,
                    needs_are_declared=step.needs is not None,
                    axes=tuple(step.table.axes),
                )

    def _needs(
        self,
        index: int,
        step: StepForm,
        before: Mapping[str, list[str]],
        executions: Mapping[str, list[str]],
    ) -> tuple[str, ...]:
        if step.needs is None:
            return tuple(executions)
        needed: list[str] = []
        for position, name in enumerate(step.needs):
            found = before.get(name) or executions.get(name)
            if found is None:
                hint = close_to(name, list(before))
                message = f"{name!r} is not a step that comes before {step.group}{hint}"
                self._problems.at(("steps", index, "needs", position), message)
            needed += found or []
        return tuple(dict.fromkeys(needed))

    def _executions(self, index: int, step: StepForm) -> Iterator[dict[str, Any]]:
        """Yield the parameters of each execution, having checked them all."""
        if index not in self._declared:
            yield {axis: values[0] for axis, values in step.table.axes.items()}
            return
        declared = self._declared[index]
        axes = {
            axis: [as_declared(declared.get(axis), value) for value in values]
            for axis, values in step.table.axes.items()
        }
        mistakes = list(step.table.mistakes())
        for location, message in mistakes:
            self._problems.at(("steps", index, "matrix", *location), message)
        shared, params, given = (
            {name: as_declared(declared.get(name), value) for name, value in values.items()}
            for values in (self._form.params, step.params, self._given)
        )
        shared = {name: value for name, value in shared.items() if name in declared}
        given = {name: value for name, value in given.items() if name in declared.keys() - axes}
        wrong = 0
        for name, value in shared.items():
            if name not in params and name not in given:
                wrong += self._is_wrong(("params", name), index, name, value)
        for name, value in params.items():
            if name in axes:
                self._problems.at(("steps", index, "params", name), "is an axis of `matrix`, too")
            wrong += self._is_wrong(("steps", index, "params", name), index, name, value)
        for axis, values in axes.items():
            for position, value in enumerate(values):
                place = self._place_of(axis, index, position)
                wrong += self._is_wrong(place, index, axis, value)
        for name, value in given.items():
            wrong += self._is_wrong(f"--set {name}", index, name, value)
        fixed = {**shared, **params, **given}
        wrong += self._wrong_defaults(index, {*fixed, *axes})
        self.secrets.update(secret_variables([fixed, axes]))
        combinations = [] if mistakes else list(step.table.combinations())
        if not (combinations or mistakes):
            self._problems.at(("steps", index, "matrix", "exclude"), "leaves nothing to execute")
        for combination in combinations:
            settled = {
                axis: as_declared(declared.get(axis), value) for axis, value in combination.items()
            }
            chosen = {**fixed, **settled}
            if not wrong:
                self._look_at_all(index, chosen)
            yield chosen

    def _is_wrong(self, place: Location | str, index: int, name: str, value: Any) -> bool:
        declared, notebook = self._declared[index], self._form.steps[index].notebook
        if name in declared:
            if mistake := declared[name].mistake(value):
                self._problems.of_value(place, mistake, notebook)
            return bool(mistake)
        names = f"; it declares {', '.join(declared)}" if declared else f": {TAG_IT}"
        hint = close_to(name, list(declared)) or names
        assert not isinstance(place, str)
        self._problems.at(place, f"{notebook} declares no parameter {name!r}{hint}")
        return True

    def _wrong_defaults(self, index: int, given: set[str]) -> int:
        """Check the parameters that a notebook is left to give a value itself."""
        notebook, place, wrong = self._form.steps[index].notebook, ("steps", index), 0
        for name, parameter in self._declared[index].items():
            if name in given:
                continue
            mistake = None
            if parameter.required:
                mistake = f"{notebook} needs a value for {name!r}"
            elif variables := set(secret_variables(parameter.default)):
                self.secrets |= variables
                if said := secret_mistake(name, parameter.default):
                    mistake = f"{notebook}: {name!r}: {said}"
            elif parameter.is_named and (said := parameter.mistake(parameter.default)):
                mistake = f"{notebook}: its own value of {name!r} {said}"
            if mistake:
                self._problems.at(place, mistake)
                wrong += 1
        return wrong

    def _look_at_all(self, index: int, values: Mapping[str, Any]) -> None:
        """Let those who know what notebooks are about look at an execution's values together."""
        named = {name: one for name, one in self._declared[index].items() if one.is_named}
        known = {name: values.get(name, one.default) for name, one in named.items()}
        if self._subject is None or not known or (key := repr(known)) in self._looked_at:
            return
        self._looked_at.add(key)
        types = {name: one.described for name, one in named.items()}
        for name, mistake in self._subject.mistakes(types, known):
            place = self._place_of(name, index)
            self._problems.of_value(place, mistake, self._form.steps[index].notebook)

    def _place_of(self, name: str, index: int, position: int = 0) -> Location | str:
        """Return where a parameter of a step has its value from."""
        step = self._form.steps[index]
        if name in self._given:
            return f"--set {name}"
        if name in step.table.axes:
            return ("steps", index, "matrix", name, position)
        if name in step.params:
            return ("steps", index, "params", name)
        return ("params", name) if name in self._form.params else ("steps", index)
