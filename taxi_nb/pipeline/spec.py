"""A pipeline file (params/*.yaml) -> `Pipeline` and steps, every mistake named with its line."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taxi_nb.located_yaml import Location, YamlError, parse_value, read_located_yaml
from taxi_nb.pipeline._file_form import PipelineForm, StepForm, in_words, place_of
from taxi_nb.pipeline._notebook_file import NotebookError
from taxi_nb.pipeline.parameters import Parameter, close_to, declared_parameters
from taxi_nb.pipeline.record import cut_name
from taxi_nb.plain_data import shortened
from taxi_nb.project import path_within
from taxi_nb.secrets.literals import secret_mistake
from taxi_nb.secrets.references import secret_variables

NOTEBOOKS = "notebooks"
# What would break a path or a line.
_NO_NAME = re.compile(r"[/\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is and what would be right."""

    file: str
    line: int | None
    key: str
    message: str

    def __post_init__(self) -> None:
        """Keep the beginning of what is long: a message may quote a value."""
        for part, most in (("file", 300), ("key", 300), ("message", 1_000)):
            object.__setattr__(self, part, shortened(getattr(self, part), most))

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class PipelineFileError(ValueError):
    """All the mistakes of a pipeline file at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Step:
    """One execution of one notebook."""

    # ``03_train`` or, of a matrix, ``03_train[lasso]``.
    name: str
    # The name without the matrix values; `needs` may name it.
    group: str
    notebook: Path
    # Only names that the notebook declares.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    # Names of the steps that have to be done before.
    needs: tuple[str, ...] = ()
    # Seconds that the whole notebook may take.
    timeout: float | None = None
    retries: int = 0
    # Bytes that its kernel may use, and processors to keep free for it.
    memory: float | None = None
    cpus: float | None = None
    # Whether the file names its `needs`: it then runs again whenever one of them does.
    # Otherwise it waits for all before it, and what it uses of them is recorded.
    needs_are_declared: bool = False
    # The parameters whose values its matrix gives: their number decides which steps there are.
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline file: nothing in it can fail before a notebook runs."""

    name: str
    file: Path
    root: Path
    experiment: str | None
    tracking_uri: str | None
    artifact_root: str | None
    # Where results are shared: a folder, or an address that fsspec knows.
    results: str | None
    steps: tuple[Step, ...]
    # The ``NAME=VALUE`` that it was read with.
    overrides: tuple[str, ...] = ()
    # A run that is open already and is to be the pipeline's.
    mlflow_run: str | None = None
    # The environment variables that parameters name as ``env:NAME``.
    secrets: frozenset[str] = frozenset()


def read_pipeline(file: Path, root: Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Read a pipeline file and check all of it against the notebooks in ``notebooks/`` of `root`.

    `overrides` are ``NAME=VALUE``, the value written as in YAML. Raises PipelineFileError with
    every mistake: unreadable file, unknown key, step or parameter, wrong type, missing notebook,
    notebook without a parameters cell.
    """
    return _Reader(file, root).read(overrides)


class _Reader:
    """Reads one file and collects its mistakes."""

    def __init__(self, file: Path, root: Path) -> None:
        self.file = file
        self.root = root
        self.shown = path_within(root, file)
        self.problems: list[Problem] = []
        self.secrets: set[str] = set()
        self.line: Callable[[Location], int | None] = lambda _: None
        # Position of a step -> parameters; without the notebooks that cannot be used.
        self.declared: dict[int, dict[str, Parameter]] = {}
        # The values of ``--set``.
        self.given: dict[str, Any] = {}

    def read(self, overrides: Sequence[str]) -> Pipeline:
        self.form = self._parse()
        for index, step in enumerate(self.form.steps):
            self._read_notebook(index, self._notebook(step))
        self.names = sorted({name for found in self.declared.values() for name in found})
        for override in overrides:
            self._override(override)
        steps = tuple(self._steps())
        self._check_shared()
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
            secrets=frozenset(self.secrets),
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
        declared, axes = self.declared[index], step.table.axes
        mistakes = list(step.table.mistakes())
        for location, message in mistakes:
            self._wrong(("steps", index, "matrix", *location), message)
        shared = {name: value for name, value in self.form.params.items() if name in declared}
        for name, value in shared.items():
            if name not in step.params and name not in self.given:
                self._check(("params", name), index, name, value)
        for name, value in step.params.items():
            if name in axes:
                self._wrong(("steps", index, "params", name), "is an axis of `matrix`, too")
            self._check(("steps", index, "params", name), index, name, value)
        for axis, values in axes.items():
            for position, value in enumerate(values):
                self._check(("steps", index, "matrix", axis, position), index, axis, value)
        settable = declared.keys() - axes.keys()
        set_here = {name: value for name, value in self.given.items() if name in settable}
        for name, value in set_here.items():
            if mistake := declared[name].mistake(value):
                self._wrong_set(name, f"{mistake} in {step.notebook}")
        fixed = {**shared, **step.params, **set_here}
        self._check_defaults(index, {*fixed, *axes})
        self.secrets.update(secret_variables([fixed, axes]))
        combinations = [] if mistakes else list(step.table.combinations())
        if not (combinations or mistakes):
            self._wrong(("steps", index, "matrix", "exclude"), "leaves nothing to execute")
        for combination in combinations:
            yield {**fixed, **combination}

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
