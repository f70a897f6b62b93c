"""A pipeline file (params/*.yaml) -> `Pipeline` and steps, every mistake named with its line."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.close_names import close_to
from taxi_nb.pipeline._file_form import PipelineForm
from taxi_nb.pipeline._notebook_file import (
    ENDINGS,
    TAG_IT,
    TEXT,
    NotebookError,
    is_text_notebook,
    read_notebook,
)
from taxi_nb.pipeline._problems import Problems
from taxi_nb.pipeline._recipients import Mistake, recipients_of
from taxi_nb.pipeline._relative_months import (
    NewestMonth,
    RelativeMonthError,
    RelativeMonths,
    chosen_month,
    speaks_of_month,
)
from taxi_nb.pipeline._steps_of_file import StepsOfFile
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.parameters import Parameter, declared_parameters, untagged
from taxi_nb.pipeline.spec import Pipeline, PipelineFileError, Problem, Subject
from taxi_nb.plain_data import shortened
from taxi_nb.project import path_within
from taxi_nb.secrets.literals import scrubbed, secret_mistake
from taxi_nb.secrets.references import secret_variables

if TYPE_CHECKING:
    from taxi_nb.located_yaml import LocatedYaml, Location

NOTEBOOKS = "notebooks"
# The override that says what relative months are relative to.
MONTH = "month"
NO_REASON = "no reason given"


def notebook_path(root: Path, name: str) -> Path:
    """Return a step's notebook, as a file names it: with or without its ending, or its folder.

    Without an ending it may also be text, if there is but one such.
    """
    folders = (root,) if "/" in name else (root / NOTEBOOKS, root)
    if name.endswith(ENDINGS):
        found = [folder / name for folder in folders if os.path.exists(folder / name)]
        return found[0] if found else folders[0] / name
    notebooks = [folder / f"{name}.ipynb" for folder in folders]
    if found := [notebook for notebook in notebooks if os.path.exists(notebook)]:
        return found[0]
    texts = [folder / f"{name}{ending}" for folder in folders for ending in TEXT]
    there = [text for text in texts if is_text_notebook(text)]
    return there[0] if len(there) == 1 else notebooks[0]


def read_pipeline(
    file: Path,
    root: Path,
    overrides: Sequence[str] = (),
    newest_month: NewestMonth | None = None,
    *,
    subject: Subject | None = None,
    accept: Sequence[str] = (),
    digests: FileDigests | None = None,
) -> Pipeline:
    """Read a pipeline file and check all of it against the notebooks in ``notebooks/`` of `root`.

    `overrides` are ``NAME=VALUE``, the value written as in YAML. Raises PipelineFileError with
    every mistake: unreadable file, unknown key, step or parameter, wrong type, missing notebook,
    values for a notebook without a parameters cell.

    Values relative to a month, such as ``{month-1}``, are told which by the override
    ``month=2023-03`` or by the file; `newest_month` is asked where that says ``latest``. The
    month that was meant is among the pipeline's overrides.

    `subject` knows which checks there are, the types that notebooks import and which of their
    values go together; without it these are not looked at. `accept` are checks to let pass, each
    ``NAME`` or ``NAME=REASON``. `digests` know what a file said that has not changed.
    """
    return _Reader(file, root, newest_month, subject, digests).read(overrides, accept)


def _text(written: str) -> str:
    """Return a text as YAML reads it, in quotes or not."""
    from taxi_nb.located_yaml import YamlError, parse_value

    try:
        value = parse_value(written)
    except YamlError:
        return written
    return value if isinstance(value, str) else written


class _Reader:
    """Reads one file and collects its mistakes."""

    def __init__(
        self,
        file: Path,
        root: Path,
        newest_month: NewestMonth | None,
        subject: Subject | None,
        digests: FileDigests | None,
    ) -> None:
        self.digests = digests
        self.subject = subject
        self.file = file
        self.root = root
        self.newest_month = newest_month
        self.months: RelativeMonths | None = None
        self.relative: set[str] = set()
        self.shown = path_within(root, file)
        self.problems = Problems(self.shown)
        self.problems.line = lambda place: self._document.line(place)
        # Position of a step -> parameters; without the notebooks that cannot be used.
        self.declared: dict[int, dict[str, Parameter]] = {}
        # Many steps may execute one notebook.
        self._read: dict[Path, dict[str, Parameter]] = {}
        # The values of ``--set``.
        self.given: dict[str, Any] = {}

    def read(self, overrides: Sequence[str], accept: Sequence[str]) -> Pipeline:
        self.form = self._form()
        # Many steps may execute one notebook.
        paths = {n: notebook_path(self.root, n) for n in {s.notebook for s in self.form.steps}}
        notebooks = {index: paths[step.notebook] for index, step in enumerate(self.form.steps)}
        for index, notebook in notebooks.items():
            self._read_notebook(index, notebook)
        self.names = sorted({name for found in self.declared.values() for name in found})
        of_month = [override for override in overrides if self._is_month(override)]
        overrides = [override for override in overrides if override not in of_month]
        for override in overrides:
            self._override(override)
        for index, notebook in notebooks.items():
            self._check_untagged(index, notebook)
        self._find_month([override.partition("=")[2] for override in of_month])
        if self.months:
            overrides.append(f"{MONTH}={self.months.month}")
        reader = StepsOfFile(
            self.form, notebooks, self.declared, self.given, self.problems, self.subject
        )
        steps = tuple(reader.read())
        self._check_shared()
        checks: Collection[str] = self.form.checks
        if self.subject:
            checks, mistakes = self.subject.checks(self.form.checks)
            for place, message in mistakes:
                self.problems.at(("checks", *place), message)
        wrong: list[Mistake] = []
        recipients = recipients_of(self.form.notify, wrong)
        for place, message in wrong:
            self.problems.at(("notify", *place), message)
        accepted = dict(self._accepted(accept, checks))
        self.problems.stop()
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
            secrets=frozenset(reader.secrets),
            checks=self.form.checks,
            accepted=accepted,
            recipients=recipients,
            needs_review=self.form.review is not None,
        )

    def _form(self) -> PipelineForm:
        """Return what the file says; a file that has not changed is not parsed again."""
        found: list[PipelineForm] = []

        def parse(_: Path) -> str | None:
            found.append(self._parse())
            return None if self.problems else found[0].as_json()

        kept = self.digests.form(self.file, parse) if self.digests else None
        if kept and not found:
            return PipelineForm.of(json.loads(kept))
        return found[0] if found else self._parse()

    @cached_property
    def _document(self) -> LocatedYaml:
        """What the file says, with its lines."""
        from taxi_nb.located_yaml import YamlError, read_located_yaml

        try:
            return read_located_yaml(self.file)
        except OSError as error:
            problem = Problem(self.shown, None, "", f"cannot be read: {error.strerror}")
            raise PipelineFileError([problem]) from None
        except YamlError as error:
            raise PipelineFileError([Problem(self.shown, error.line, "", str(error))]) from None

    def _parse(self) -> PipelineForm:
        from taxi_nb.pipeline._file_keys import checked_keys

        keys = checked_keys(self._document.value, self.problems.at)
        if keys is None:
            self.problems.stop()
        assert keys
        return PipelineForm.of(keys)

    def _read_notebook(self, index: int, path: Path) -> None:
        """Read what a notebook declares; refuse secrets in its own cell, given others or not."""
        shown, place = path_within(self.root, path), ("steps", index, "notebook")
        try:
            if not os.path.isfile(path):
                hint = self._meant(path)
                raise NotebookError(f"there is no such notebook{hint}")
            types = self.subject.types if self.subject else None
            if path not in self._read:
                self._read[path] = declared_parameters(path, types)
            self.declared[index] = self._read[path]
        except NotebookError as error:
            self.problems.at(place, f"{shown} {error}")
            return
        for name, parameter in self.declared[index].items():
            default = parameter.default
            is_written_out = default and not any(secret_variables(default))
            if is_written_out and (mistake := secret_mistake(name, default)):
                self.problems.at(place, f"{shown}: {name!r} {mistake}")

    def _meant(self, path: Path) -> str:
        """Return a hint at the notebook that was probably meant."""
        within = self.root / NOTEBOOKS / path.relative_to(self.root)
        if os.path.isfile(within):
            return f"; did you mean {path_within(self.root, within.with_suffix(''))!r}?"
        others = [other for ending in ENDINGS for other in path.parent.glob(f"*{ending}")]
        return close_to(path.stem, sorted({other.stem for other in others}))

    def _check_untagged(self, index: int, path: Path) -> None:
        """Refuse values that a notebook would not get, because its cell has no tag."""
        names = {*self.form.params, *self.given}
        if self.declared.get(index) != {} or not names:
            return
        if found := untagged(read_notebook(path), names):
            cell, name = found
            message = (
                f"{path_within(self.root, path)} has no parameters cell, and cell {cell} sets "
                f"{name!r}, which would not be given to it: {TAG_IT}"
            )
            self.problems.at(("steps", index, "notebook"), message)

    def _override(self, override: str) -> None:
        """Read a `--set` value; it counts for every notebook that declares the name."""
        name, equals, text = override.partition("=")
        if not equals or not name:
            self._wrong_set(name, "must be NAME=VALUE")
        elif name in self.given:
            self._wrong_set(name, "is given twice")
        elif name not in self.names:
            hint = close_to(name, self.names) or ("" if self.names else f": {TAG_IT}")
            self._wrong_set(name, f"no notebook of {self.shown} declares {name!r}{hint}")
        else:
            from taxi_nb.located_yaml import YamlError, parse_value

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
                self.problems.given("--accept", message)
            elif names.count(name) > 1:
                self.problems.given(f"--accept {name}", "is given twice")
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
                self.problems.given(f"--{MONTH}", str(error))
            else:
                self.problems.at((MONTH,), str(error))
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
                    self.problems.at((*place, name), str(error))
        return found

    def _wrong_set(self, name: str, message: str) -> None:
        # Without the value: it may be a secret that belongs elsewhere.
        self.problems.given(f"--set {name}", message)

    def _check_shared(self) -> None:
        if len(self.declared) < len(self.form.steps):
            return  # The notebook that cannot be read may be the one that declares the name.
        for name in self.form.params.keys() - set(self.names):
            hint = close_to(name, self.names) or ("" if self.names else f": {TAG_IT}")
            self.problems.at(("params", name), f"no notebook of this pipeline declares it{hint}")
