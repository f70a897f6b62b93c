"""The examples of docstrings run; each public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import taxi_nb
from taxi_nb.training.notebook_parameters import PARAMETERS
from tests.conftest import REPOSITORY, current_project
from tests.trained_models import TrainedModels

MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((REPOSITORY / "taxi_nb").rglob("*.py"))
}
OF_CONSTANTS = {"MODELS", "plots"}
OF_CONSTANTS |= {name.removeprefix("taxi_nb.") for name in PARAMETERS.types}
"""Public names without a docstring of their own."""


@pytest.mark.parametrize(
    "name", [name for name, path in MODULES.items() if ">>> " in path.read_text("utf-8")]
)
def test_examples_run(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a store is needed, trips are loaded, and models trained and promoted."""
    current_project(tmp_path / "project", monkeypatch)
    module = importlib.import_module(name)
    public = {public: getattr(taxi_nb, public) for public in dir(taxi_nb)}
    given = {}
    if name.split(".")[1] in {"training", "registry", "scoring"}:
        models: TrainedModels = request.getfixturevalue("three_champions")
        given = {"training": models.training, "validation": models.validation}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for example in doctest.DocTestFinder().find(module, name, globs=public | vars(module) | given):
        runner.run(example, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


@pytest.mark.parametrize("name", sorted(set(dir(taxi_nb)) - OF_CONSTANTS))
def test_a_public_name_has_an_example_that_runs(name: str) -> None:
    said = inspect.getdoc(getattr(taxi_nb, name)) or ""
    assert ">>> " in said
    assert "+SKIP" not in said
