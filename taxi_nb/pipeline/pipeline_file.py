"""A pipeline file (params/*.yaml) -> `Pipeline` and steps, every mistake named with its line."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taxi_nb.located_yaml import Location, YamlError, parse_value, read_located_yaml
from taxi_nb.pipeline._file_form import PipelineForm, StepForm, in_words, place_of
from taxi_nb.pipeline._notebook_file import NotebookError
from taxi_nb.pipeline._recipients import Mistake, recipients_of
from taxi_nb.pipeline._relative_months import (
    NewestMonth,
    RelativeMonthError,
    RelativeMonths,
    as_declared,
    chosen_month,
    speaks_of_month,
)
from taxi_nb.pipeline.parameters import Parameter, close_to, declared_parameters
from taxi_nb.pipeline.record import cut_name
from taxi_nb.pipeline.spec import (
    Pipeline,
    PipelineFileError,
    Problem,
    Step,
)
from taxi_nb.plain_data import shortened
from taxi_nb.project import path_within
from taxi_nb.secrets.literals import scrubbed, secret_mistake
from taxi_nb.secrets.references import secret_variables

# Given the checks of a file, returns their names, and what is wrong: where, and a sentence.
ReadChecks = Callable[[Mapping[str, Any]], tuple[Collection[str], Sequence[tuple[Location, str]]]]

NOTEBOOKS = "notebooks"
# The override that says what relative months are relative to.
MONTH = "month"
NO_REASON = "no reason given"
# What would break a path or a line.
_NO_NAME = re.compile(r"[/\x00-\x1f\x7f\x85\u2028\u2029]")


def read_pipeline(
    file: Path,
    root: Path,
    overrides: Sequence[str] = (),
    newest_month: NewestMonth | None = None,
    *,
    read_checks: ReadChecks | None = None,
    accept: Sequence[str] = (),
) -> Pipeline:
    """Read a pipeline file and check all of it against the notebooks in ``notebooks/`` of `root`.

    `overrides` are ``NAME=VALUE``, the value written as in YAML. Raises PipelineFileError with
    every mistake: unreadable file, unknown key, step or parameter, wrong type, missing notebook,
    notebook without a parameters cell.

    Values relative to a month, such as ``{month-1}``, are told which by the override
    ``month=2023-03`` or by the file; `newest_month` is asked where that says ``latest``. The
    month that was meant is among the pipeline's overrides.

    `read_checks` knows which checks there are; without it they are not looked at. `accept` are
    checks to let pass, each ``NAME`` or ``NAME=REASON``.
    """
    reader = _Reader(file, root, newest_month)
    return reader.read(overrides, read_checks or (lambda written: (written, ())), accept)


def _text(written: str) -> str:
    """Return a text as YAML reads it, in quotes or not."""
    with suppress(YamlError):
        if isinstance(value := parse_value(written), str):
            return value
    return written


class _Reader:
    """Reads one file and collects its mistakes."""

    def __init__(self, file: Path, root: Path, newest_month: NewestMonth | None) -> None:
        self.file = file
        self.root = root
        self.newest_month = newest_month
        self.months: RelativeMonths | None = None
        self.relative: set[str] = set()
        self.shown = path_within(root, file)
        self.problems: list[Problem] = []
        self.secrets: set[str] = set()
        self.line: Callable[[Location], int | None] = lambda _: None
        # Position of a step -> parameters; without the notebooks that cannot be used.
        self.declared: dict[int, dict[str, Parameter]] = {}
        # The values of ``--set``.
        self.given: dict[str, Any] = {}

    def read(
        self, overrides: Sequence[str], read_checks: ReadChecks, accept: Sequence[str]
    ) -> Pipeline:
        self.form = self._parse()
        for index, step in enumerate(self.form.steps):
            self._read_notebook(index, self._notebook(step))
        self.names = sorted({name for found in self.declared.values() for name in found})
        of_month = [override for override in overrides if self._is_month(override)]
        overrides = [override for override in overrides if override not in of_month]
        for override in overrides:
            self._override(override)
        self._find_month([override.partition("=")[2] for override in of_month])
        if self.months:
            overrides.append(f"{MONTH}={self.months.month}")
        steps = tuple(self._steps())
        self._check_shared()
        checks, mistakes = read_checks(self.form.checks)
        for place, message in mistakes:
            self._wrong(("checks", *place), message)
        wrong: list[Mistake] = []
        recipients = recipients_of(self.form.notify, wrong)
        for place, message in wrong:
            self._wrong(("notify", *place), message)
        accepted = dict(self._accepted(accept, checks))
        self._stop_if_wrong()
        return Pipeline(
            name=self.file.stem,
            file=self.file,
            root=self.root,
            experiment=self.form.experiment,
            tracking_uri=self.form.tracking_uri,
            artifact_root=self.form.artifact_root,
            results=self.form.results,
            steps=steps,
            overrides=tuple(overrides),
            month=self.months.month if self.months else None,
            relative=frozenset(self.relative),
            secrets=frozenset(self.secrets),
            checks=self.form.checks,
            accepted=accepted,
            recipients=recipients,
        )

    def _wrong(self, location: Location, message: str) -> None:
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
        key = "".join(parts).lstrip(".")
        self.problems.append(Problem(self.shown, self.line(location), key, message))

    def _stop_if_wrong(self) -> None:
        if self.problems:
            once = dict.fromkeys(self.problems)
            raise PipelineFileError(sorted(once, key=lambda p: (p.line or 0, p.key)))

    def _parse(self) -> PipelineForm:
        try:
            document = read_located_yaml(self.file)
        except OSError as error:
            problem = Problem(self.shown, None, "", f"cannot be read: {error.strerror}")
            raise PipelineFileError([problem]) from None
        except YamlError as error:
            raise PipelineFileError([Problem(self.shown, error.line, "", str(error))]) from None
        self.line = document.line
        if not isinstance(document.value, dict):
            self._wrong((), "must be a mapping with the key `steps`, a list of notebooks")
            self._stop_if_wrong()
        try:
            return PipelineForm.model_validate(document.value)
        except ValidationError as error:
            for mistake in error.errors():
                self._wrong(place_of(mistake["loc"]), in_words(mistake))
            self._stop_if_wrong()
            raise

    def _notebook(self, step: StepForm) -> Path:
        name = step.notebook if step.notebook.endswith(".ipynb") else f"{step.notebook}.ipynb"
        return self.root / (name if "/" in name else f"{NOTEBOOKS}/{name}")

    def _read_notebook(self, index: int, path: Path) -> None:
        """Read what a notebook declares; refuse secrets in its own cell, given others or not."""
        shown, place = path_within(self.root, path), ("steps", index, "notebook")
        try:
            if not os.path.isfile(path):
                hint = close_to(path.stem, [other.stem for other in path.parent.glob("*.ipynb")])
                raise NotebookError(f"there is no such notebook{hint}")
            self.declared[index] = declared_parameters(path)
        except NotebookError as error:
            self._wrong(place, f"{shown} {error}")
            return
        for name, parameter in self.declared[index].items():
            default = parameter.default
            is_written_out = default and not any(secret_variables(default))
            if is_written_out and (mistake := secret_mistake(name, default)):
                self._wrong(place, f"{shown}: {name!r} {mistake}")

    def _override(self, override: str) -> None:
        """Read a `--set` value; it counts for every notebook that declares the name."""
        name, equals, text = override.partition("=")
        if not equals or not name:
            self._wrong_set(name, "must be NAME=VALUE")
        elif name in self.given:
            self._wrong_set(name, "is given twice")
        elif name not in self.names:
            hint = close_to(name, self.names)
            self._wrong_set(name, f"no notebook of {self.shown} declares {name!r}{hint}")
        else:
            try:
                value = self.given[name] = parse_value(text)
            except YamlError as error:
                self._wrong_set(name, f"not a YAML value: {error}")
                return
            for step in self.form.steps:
                if name in step.table.axes:
                    step.matrix[name] = value if isinstance(value, list) else [value]

    def _accepted(self, given: Sequence[str], checks: Collection[str]) -> Iterator[tuple[str, str]]:
        """Yield the checks that are to be let pass, with the reasons."""
        names = [text.partition("=")[0] for text in given]
        for text in given:
            name, _, reason = text.partition("=")
            hint = close_to(name, list(checks)) or f"; it has {', '.join(checks) or 'none'}"
            if name not in checks:
                message = f"{self.shown} has no check {name!r}{hint}"
                self.problems.append(Problem("--accept", None, "", message))
            elif names.count(name) > 1:
                self.problems.append(Problem(f"--accept {name}", None, "", "is given twice"))
            yield name, shortened(" ".join(scrubbed(reason)[0].split()), 300) or NO_REASON

    def _is_month(self, override: str) -> bool:
        """Whether it says what the file's months are relative to, and sets no parameter."""
        return override.partition("=")[:2] == (MONTH, "=") and MONTH not in self.names

    def _find_month(self, given: Sequence[str]) -> None:
        """Find the month that values are relative to, and put the months into them."""
        parts = [part for step in self.form.steps for part in (step.params, step.matrix)]
        settings: dict[str, Any] = {}
        for values in (self.form.params, *(step.params for step in self.form.steps), self.given):
            settings |= values
        spoken = [self.form.params, self.given, *parts]
        try:
            given = [_text(text) for text in given]
            month = chosen_month(given, self.form.month, spoken, settings, self.newest_month)
        except RelativeMonthError as error:
            if given:
                self.problems.append(Problem(f"--{MONTH}", None, "", str(error)))
            else:
                self._wrong((MONTH,), str(error))
            # Any month will do to find what else is wrong.
            month = "2021-01"
        if month is None:
            return
        self.months = RelativeMonths(month)
        self.form.params = self._with_months(("params",), self.form.params)
        self.given = self._with_months(None, self.given)
        for index, step in enumerate(self.form.steps):
            step.params = self._with_months(("steps", index, "params"), step.params)
            step.matrix = self._with_months(("steps", index, "matrix"), step.matrix)

    def _with_months(self, place: Location | None, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of a place in the file, or else of ``--set``, with months in them."""
        assert self.months
        found = {}
        for name, value in values.items():
            if speaks_of_month(value):
                self.relative.add(name)
            try:
                found[name] = self.months.put_into(value)
            except RelativeMonthError as error:
                if place is None:
                    self._wrong_set(name, str(error))
                else:
                    self._wrong((*place, name), str(error))
        return found

    def _wrong_set(self, name: str, message: str) -> None:
        # Without the value: it may be a secret that belongs elsewhere.
        self.problems.append(Problem(f"--set {name}", None, "", message))

    def _check_shared(self) -> None:
        if len(self.declared) < len(self.form.steps):
            return  # The notebook that cannot be read may be the one that declares the name.
        for name in self.form.params.keys() - set(self.names):
            hint = close_to(name, self.names)
            self._wrong(("params", name), f"no notebook of this pipeline declares it{hint}")

    def _steps(self) -> Iterator[Step]:
        before: dict[str, list[str]] = {}
        for index, step in enumerate(self.form.steps):
            if step.group in before:
                message = f"a step named {step.group!r} is there already; give this one a `name`"
                self._wrong(("steps", index), message)
            needs = self._needs(index, step, before)
            names = before.setdefault(step.group, [])
            for values in self._executions(index, step):
                chosen = ",".join(_NO_NAME.sub("-", str(values[axis])) for axis in step.table.axes)
                name = cut_name(f"{step.group}[{chosen}]" if step.matrix else step.group)
                if name in names:
                    self._wrong(("steps", index, "matrix"), f"{name} comes up twice")
                names.append(name)
                yield Step(
                    name=name,
                    group=step.group,
                    notebook=self._notebook(step),
                    parameters=values,
                    needs=needs,
                    timeout=step.timeout or self.form.timeout,
                    retries=step.retries,
                    memory=step.memory,
                    cpus=step.cpus,
                    needs_are_declared=step.needs is not None,
                    axes=tuple(step.table.axes),
                )

    def _needs(
        self, index: int, step: StepForm, before: Mapping[str, list[str]]
    ) -> tuple[str, ...]:
        if step.needs is None:
            return tuple(itertools.chain.from_iterable(before.values()))
        executions = {name: [name] for names in before.values() for name in names}
        needed: list[str] = []
        for position, name in enumerate(step.needs):
            found = before.get(name) or executions.get(name)
            if found is None:
                hint = close_to(name, list(before))
                message = f"{name!r} is not a step that comes before {step.group}{hint}"
                self._wrong(("steps", index, "needs", position), message)
            needed += found or []
        return tuple(dict.fromkeys(needed))

    def _executions(self, index: int, step: StepForm) -> Iterator[dict[str, Any]]:
        """Yield the parameters of each execution, having checked them all."""
        if index not in self.declared:
            yield {axis: values[0] for axis, values in step.table.axes.items()}
            return
        declared = self.declared[index]
        axes = {
            axis: [as_declared(declared.get(axis), value) for value in values]
            for axis, values in step.table.axes.items()
        }
        mistakes = list(step.table.mistakes())
        for location, message in mistakes:
            self._wrong(("steps", index, "matrix", *location), message)
        shared, params, given = (
            {name: as_declared(declared.get(name), value) for name, value in values.items()}
            for values in (self.form.params, step.params, self.given)
        )
        shared = {name: value for name, value in shared.items() if name in declared}
        for name, value in shared.items():
            if name not in params and name not in given:
                self._check(("params", name), index, name, value)
        for name, value in params.items():
            if name in axes:
                self._wrong(("steps", index, "params", name), "is an axis of `matrix`, too")
            self._check(("steps", index, "params", name), index, name, value)
        for axis, values in axes.items():
            for position, value in enumerate(values):
                self._check(("steps", index, "matrix", axis, position), index, axis, value)
        settable = declared.keys() - axes.keys()
        set_here = {name: value for name, value in given.items() if name in settable}
        for name, value in set_here.items():
            if mistake := declared[name].mistake(value):
                self._wrong_set(name, f"{mistake} in {step.notebook}")
        fixed = {**shared, **params, **set_here}
        self._check_defaults(index, {*fixed, *axes})
        self.secrets.update(secret_variables([fixed, axes]))
        combinations = [] if mistakes else list(step.table.combinations())
        if not (combinations or mistakes):
            self._wrong(("steps", index, "matrix", "exclude"), "leaves nothing to execute")
        for combination in combinations:
            settled = {
                axis: as_declared(declared.get(axis), value) for axis, value in combination.items()
            }
            yield {**fixed, **settled}

    def _check_defaults(self, index: int, given: set[str]) -> None:
        """Check the parameters that a notebook is left to give a value itself."""
        notebook = self.form.steps[index].notebook
        for name, parameter in self.declared[index].items():
            if name in given:
                continue
            if parameter.required:
                self._wrong(("steps", index), f"{notebook} needs a value for {name!r}")
            elif variables := set(secret_variables(parameter.default)):
                self.secrets |= variables
                if mistake := secret_mistake(name, parameter.default):
                    self._wrong(("steps", index), f"{notebook}: {name!r}: {mistake}")

    def _check(self, place: Location, index: int, name: str, value: Any) -> None:
        declared, notebook = self.declared[index], self.form.steps[index].notebook
        if name in declared:
            if mistake := declared[name].mistake(value):
                self._wrong(place, f"{mistake} (declared in {notebook})")
            return
        names = f"; it declares {', '.join(declared) or 'none'}"
        hint = close_to(name, list(declared)) or names
        self._wrong(place, f"{notebook} declares no parameter {name!r}{hint}")
