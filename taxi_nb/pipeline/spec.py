"""A pipeline file (params/*.yaml) -> `Pipeline` and steps, every mistake named with its line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taxi_nb.pipeline.located_yaml import Location, YamlError, parse_value, read_located_yaml
from taxi_nb.pipeline.parameters import (
    NotebookError,
    Parameter,
    close_to,
    declared_parameters,
)
from taxi_nb.project import path_within
from taxi_nb.secrets.addresses import user_info, without_credentials
from taxi_nb.secrets.literals import secret_mistake
from taxi_nb.secrets.references import secret_variables

NOTEBOOKS = "notebooks"


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is and what would be right."""

    file: str
    line: int | None
    key: str
    message: str

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
    """One execution of one notebook.

    Attributes
    ----------
    name : str
        ``03_train`` or, of a matrix, ``03_train[lasso]``.
    group : str
        The name without the matrix values; what `needs` may name.
    parameters : mapping
        What the notebook is given; only names that it declares.
    needs : tuple of str
        Names of the steps that have to be done before.
    timeout : float or None
        Seconds that the whole notebook may take.
    retries : int
        How often it is tried again after it failed.
    needs_are_declared : bool
        Whether the file names its `needs`: it then runs again whenever one of them does.
        Otherwise it waits for all before it, and what it uses of them is recorded.
    """

    name: str
    group: str
    notebook: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0
    needs_are_declared: bool = False


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline file: nothing in it can fail before a notebook runs.

    Attributes
    ----------
    overrides : tuple of str
        The ``NAME=VALUE`` that it was read with.
    mlflow_run : str or None
        A run that is open already and is to be the pipeline's.
    secrets : frozenset of str
        The environment variables that parameters name as ``env:NAME``.
    """

    name: str
    file: Path
    root: Path
    experiment: str | None
    tracking_uri: str | None
    artifact_root: str | None
    steps: tuple[Step, ...]
    overrides: tuple[str, ...] = ()
    mlflow_run: str | None = None
    secrets: frozenset[str] = frozenset()


def _seconds(value: Any) -> Any:
    """Read `90`, `90s`, `30m`, `2h` as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h)\s*", value)
        if match is None:
            raise ValueError("must be a time such as 90s, 30m or 2h")
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    return value


_Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


def _without_secrets(address: str) -> str:
    """Refuse a password: the file is kept with every run."""
    _, has_password, _ = user_info(address).partition(":")
    if has_password or "password=" in address:
        raise ValueError(
            "must not carry a password, since this file is logged with every run: it belongs "
            "into the environment (MLFLOW_TRACKING_URI, or PGPASSWORD, "
            "MLFLOW_TRACKING_PASSWORD, AWS_SECRET_ACCESS_KEY)"
        )
    return address


_Address = Annotated[str, AfterValidator(_without_secrets)]


class _StepInFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    notebook: str
    name: str | None = None
    params: dict[str, Any] = {}
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    needs: list[str] | None = None
    timeout: _Seconds | None = None
    retries: Annotated[int, Field(ge=0)] = 0

    @property
    def group(self) -> str:
        return self.name or Path(self.notebook).stem


class _PipelineInFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    experiment: str | None = None
    tracking_uri: _Address | None = None
    artifact_root: _Address | None = None
    params: dict[str, Any] = {}
    timeout: _Seconds | None = None
    steps: Annotated[list[_StepInFile], Field(min_length=1)]


def read_pipeline(file: Path, root: Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Read a pipeline file and check all of it against the notebooks.

    Parameters
    ----------
    file : Path
        The YAML file.
    root : Path
        The project's folder, which holds ``notebooks/``.
    overrides : sequence of str
        ``NAME=VALUE``, the value written as in YAML.

    Raises
    ------
    PipelineFileError
        With every mistake: unreadable file, unknown key, step or parameter,
        wrong type, missing notebook, notebook without a parameters cell.
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

    def read(self, overrides: Sequence[str]) -> Pipeline:
        written = self._parse()
        self._stop_if_wrong()
        declared = self._declared(written)
        given = self._overridden(written, overrides, declared)
        steps = tuple(self._steps(written, declared, given))
        self._check_shared(written, declared)
        self._stop_if_wrong()
        return Pipeline(
            name=self.file.stem,
            file=self.file,
            root=self.root,
            experiment=written.experiment,
            tracking_uri=written.tracking_uri,
            artifact_root=written.artifact_root,
            steps=steps,
            overrides=tuple(overrides),
            secrets=frozenset(self.secrets),
        )

    def _wrong(self, location: Location, message: str) -> None:
        key = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in location
        ).lstrip(".")
        self.problems.append(Problem(self.shown, self.line(location), key, message))

    def _stop_if_wrong(self) -> None:
        if self.problems:
            once = dict.fromkeys(self.problems)
            raise PipelineFileError(sorted(once, key=lambda p: (p.line or 0, p.key)))

    def _parse(self) -> _PipelineInFile:
        try:
            document = read_located_yaml(self.file)
        except OSError as error:
            raise PipelineFileError(
                [Problem(self.shown, None, "", f"cannot be read: {error.strerror}")]
            ) from None
        except YamlError as error:
            raise PipelineFileError([Problem(self.shown, error.line, "", str(error))]) from None
        self.line = document.line
        if not isinstance(document.value, dict):
            self._wrong((), "must be a mapping with the key `steps`, a list of notebooks")
            self._stop_if_wrong()
        try:
            return _PipelineInFile.model_validate(document.value)
        except ValidationError as error:
            for mistake in error.errors():
                self._wrong(_place(mistake["loc"]), _in_words(mistake))
            self._stop_if_wrong()
            raise

    def _declared(self, written: _PipelineInFile) -> dict[int, dict[str, Parameter]]:
        """Return what each step's notebook declares; a notebook that cannot be used is reported."""
        declared = {}
        for index, step in enumerate(written.steps):
            path = self._notebook(step)
            try:
                if not path.is_file():
                    raise NotebookError(f"there is no such notebook{self._close_notebook(path)}")
                declared[index] = declared_parameters(path)
                self._check_defaults(index, path, declared[index])
            except NotebookError as error:
                shown = path_within(self.root, path)
                self._wrong(("steps", index, "notebook"), f"{shown} {error}")
        return declared

    def _check_defaults(self, index: int, path: Path, declared: Mapping[str, Parameter]) -> None:
        """Refuse secrets in a notebook's own parameters cell, also where others are given."""
        shown = path_within(self.root, path)
        for name, parameter in declared.items():
            if parameter.default and not any(secret_variables(parameter.default)):
                mistake = secret_mistake(name, parameter.default)
                if mistake:
                    self._wrong(("steps", index, "notebook"), f"{shown}: {name!r} {mistake}")

    def _notebook(self, step: _StepInFile) -> Path:
        name = step.notebook if step.notebook.endswith(".ipynb") else f"{step.notebook}.ipynb"
        return self.root / (name if "/" in name else f"{NOTEBOOKS}/{name}")

    def _close_notebook(self, path: Path) -> str:
        return close_to(path.stem, [other.stem for other in path.parent.glob("*.ipynb")])

    def _overridden(
        self,
        written: _PipelineInFile,
        overrides: Sequence[str],
        declared: Mapping[int, Mapping[str, Parameter]],
    ) -> dict[str, Any]:
        """Read `--set` values; they count for every notebook that declares the name."""
        known = {name for parameters in declared.values() for name in parameters}
        given: dict[str, Any] = {}
        for override in overrides:
            name, equals, text = override.partition("=")
            # Without the value: it may be a secret that belongs elsewhere.
            source = f"--set {name}"
            if not equals or not name:
                self.problems.append(Problem(source, None, "", "must be NAME=VALUE"))
            elif name not in known:
                hint = close_to(name, sorted(known))
                message = f"no notebook of {self.shown} declares {name!r}{hint}"
                self.problems.append(Problem(source, None, "", message))
            else:
                try:
                    given[name] = parse_value(text)
                except YamlError as error:
                    self.problems.append(Problem(source, None, "", f"not a YAML value: {error}"))
        for step in written.steps:
            for axis in step.matrix.keys() & given.keys():
                step.matrix[axis] = given[axis] if isinstance(given[axis], list) else [given[axis]]
        return given

    def _check_shared(
        self, written: _PipelineInFile, declared: Mapping[int, Mapping[str, Parameter]]
    ) -> None:
        if len(declared) < len(written.steps):
            return  # The notebook that cannot be read may be the one that declares the name.
        known = {name for parameters in declared.values() for name in parameters}
        for name in written.params.keys() - known:
            hint = close_to(name, sorted(known))
            self._wrong(("params", name), f"no notebook of this pipeline declares it{hint}")

    def _steps(
        self,
        written: _PipelineInFile,
        declared: Mapping[int, Mapping[str, Parameter]],
        given: Mapping[str, Any],
    ) -> Iterator[Step]:
        before: dict[str, list[str]] = {}
        for index, step in enumerate(written.steps):
            if step.group in before:
                self._wrong(
                    ("steps", index),
                    f"a step named {step.group!r} is there already; give this one a `name`",
                )
            needs = self._needs(index, step, before)
            names = before.setdefault(step.group, [])
            for values in self._executions(index, step, declared.get(index), written, given):
                chosen = ",".join(_short(values[axis]) for axis in step.matrix)
                name = f"{step.group}[{chosen}]" if step.matrix else step.group
                if name in names:
                    self._wrong(("steps", index, "matrix"), f"{name} comes up twice")
                names.append(name)
                yield Step(
                    name=name,
                    group=step.group,
                    notebook=self._notebook(step),
                    parameters=values,
                    needs=needs,
                    timeout=step.timeout or written.timeout,
                    retries=step.retries,
                    needs_are_declared=step.needs is not None,
                )

    def _needs(
        self, index: int, step: _StepInFile, before: Mapping[str, list[str]]
    ) -> tuple[str, ...]:
        if step.needs is None:
            return tuple(itertools.chain.from_iterable(before.values()))
        executions = {name for names in before.values() for name in names}
        needed: list[str] = []
        for position, name in enumerate(step.needs):
            if name in before:
                needed += before[name]
            elif name in executions:
                needed.append(name)
            else:
                hint = close_to(name, list(before))
                self._wrong(
                    ("steps", index, "needs", position),
                    f"{name!r} is not a step that comes before {step.group}{hint}",
                )
        return tuple(dict.fromkeys(needed))

    def _executions(
        self,
        index: int,
        step: _StepInFile,
        declared: Mapping[str, Parameter] | None,
        written: _PipelineInFile,
        given: Mapping[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """Yield the parameters of each execution, having checked them all."""
        if declared is None:
            yield from ({axis: values[0] for axis, values in step.matrix.items()},)
            return
        shared = {name: value for name, value in written.params.items() if name in declared}
        for name, value in shared.items():
            if name not in step.params and name not in given:
                self._check(("params", name), declared[name], value, step)
        for name, value in step.params.items():
            if name in step.matrix:
                self._wrong(("steps", index, "params", name), "is an axis of `matrix`, too")
            self._check_declared(("steps", index, "params", name), name, value, declared, step)
        for axis, values in step.matrix.items():
            for position, value in enumerate(values):
                place: Location = ("steps", index, "matrix", axis, position)
                self._check_declared(place, axis, value, declared, step)
        set_here = {
            name: value
            for name, value in given.items()
            if name in declared and name not in step.matrix
        }
        for name, value in set_here.items():
            mistake = declared[name].mistake(value)
            if mistake:
                self.problems.append(
                    Problem(f"--set {name}", None, "", f"{mistake} in {step.notebook}")
                )
        fixed = {**shared, **step.params, **set_here}
        for name, parameter in declared.items():
            if name in fixed or name in step.matrix:
                continue
            if parameter.required:
                self._wrong(("steps", index), f"{step.notebook} needs a value for {name!r}")
            elif variables := set(secret_variables(parameter.default)):
                self.secrets |= variables
                if mistake := secret_mistake(name, parameter.default):
                    self._wrong(("steps", index), f"{step.notebook}: {name!r}: {mistake}")
        self.secrets.update(secret_variables([fixed, step.matrix]))
        for combination in itertools.product(*step.matrix.values()):
            yield {**fixed, **dict(zip(step.matrix, combination, strict=True))}

    def _check_declared(
        self,
        place: Location,
        name: str,
        value: Any,
        declared: Mapping[str, Parameter],
        step: _StepInFile,
    ) -> None:
        if name in declared:
            self._check(place, declared[name], value, step)
        else:
            hint = close_to(name, list(declared))
            self._wrong(
                place, f"{step.notebook} declares no parameter {name!r}{hint or _list(declared)}"
            )

    def _check(self, place: Location, parameter: Parameter, value: Any, step: _StepInFile) -> None:
        mistake = parameter.mistake(value)
        if mistake:
            self._wrong(place, f"{mistake} (declared in {step.notebook})")


def _list(declared: Mapping[str, Parameter]) -> str:
    return f"; it declares {', '.join(declared)}" if declared else "; it declares none"


def _place(location: tuple[int | str, ...]) -> Location:
    """Drop pydantic's own words from an error's location."""
    return tuple(part for part in location if not str(part).startswith("function-"))


def _in_words(mistake: Any) -> str:
    if mistake["type"] == "extra_forbidden":
        fields = _StepInFile if mistake["loc"][0] == "steps" else _PipelineInFile
        known = list(fields.model_fields)
        hint = close_to(str(mistake["loc"][-1]), known)
        return f"is not a known key{hint}; known are {', '.join(known)}"
    if mistake["type"] == "missing":
        return "is missing"
    message = (
        str(mistake["msg"])
        .removeprefix("Value error, ")
        .replace("Input should", "must")
        .replace("List should", "must")
    )
    given = mistake["input"]
    shown = without_credentials(given) if isinstance(given, str) and "://" in given else given
    return f"{message}, got {shown!r}"


def _short(value: Any) -> str:
    return str(value).replace("/", "-")
