"""What of code decides results: comments, layout and documentation do not."""

from __future__ import annotations

import pytest

from taxi_nb.pipeline._code_digest import (
    IMPORTS,
    MODULE_LEVEL,
    asks_mlflow,
    cell_digests,
    definition_digests,
    what_code_says,
)

MODULE = '''
"""Documentation."""
import os
from pathlib import Path

LIMIT = 3

def scale(x):
    """Return more."""
    return LIMIT * x  # why

class Model:
    """A model."""
    def fit(self): return self

if LIMIT: print()
'''


def notebook(*cells: dict) -> dict:
    kinds = [{"cell_type": "code", "metadata": {}, **cell} for cell in cells]
    return {"cells": kinds}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 1  # one"),
        ("x = 1\ny = 2", "x=1\n\n\ny  =  2\n"),
        ("f(a, b)", "f(\n    a,\n    b,\n)"),
        ("%matplotlib inline\nx = 1", "%matplotlib inline\nx = 1 # one"),
        ("!ls\nx = 1", "!ls\n\nx = 1"),
        ("files = !ls\nx", "files = !ls\nx  # shown"),
        ("", "# nothing but a comment"),
    ],
)
def test_layout_and_comments_say_nothing(before: str, after: str) -> None:
    assert what_code_says(before) == what_code_says(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = '# a'", "x = '# b'"),
        ("x.plot()", "x.plot();"),
        ("x.plot()  # ;", "x.plot();  # ;"),
        ("%matplotlib inline", "%matplotlib agg"),
        ("if a:\n    %time x", "if a:\n    %time y"),
        ("!ls", "!ls -l"),
        ("files = !ls", "files = !ls -l"),
        ("%%bash\necho 1 # a", "%%bash\necho 1 # b"),
        ("len?", "len??"),
        ("this is no python # a", "this is no python # b"),
    ],
)
def test_what_a_cell_does_is_all_that_counts(before: str, after: str) -> None:
    assert what_code_says(before) != what_code_says(after)


def test_cells_are_counted_among_all_and_only_tags_that_steer_execution_count() -> None:
    digests = cell_digests(
        notebook(
            {"cell_type": "markdown", "source": ["# Title"]},
            {"source": ["x: int = 1"], "metadata": {"tags": ["parameters"]}},
            {"source": ["y = x\n", "z = y"]},
            {"source": ["# only a remark"]},
            {"source": ["y = x\nz = y"], "metadata": {"tags": ["hide-input"]}},
            {"source": ["y = x\nz = y"], "metadata": {"tags": ["raises-exception"]}},
        )
    )
    assert list(digests) == [3, 5, 6]
    assert digests[3] == digests[5] != digests[6]


def test_a_parameters_cell_that_computes_counts_as_code() -> None:
    parameters = {"source": ["x = 1 + len('ab')"], "metadata": {"tags": ["parameters"]}}
    assert list(cell_digests(notebook(parameters))) == [1]


def test_what_a_parameters_cell_imports_counts_and_its_values_do_not() -> None:
    cell = "from one import Size\nsize: Size = 1"
    one, value, other = (
        cell_digests(notebook({"source": [source], "metadata": {"tags": ["parameters"]}}))
        for source in (cell, cell.replace("= 1", "= 2"), cell.replace("one", "two"))
    )
    assert one == value != other


def test_a_module_is_digested_by_its_definitions() -> None:
    digests = definition_digests(MODULE)
    assert set(digests) == {IMPORTS, "LIMIT", "scale", "Model", MODULE_LEVEL}
    documented = MODULE.replace("Return more", "Give more").replace("# why", "# because")
    assert definition_digests(documented) == digests
    changed = definition_digests(MODULE.replace("LIMIT * x", "LIMIT + x"))
    assert {name for name in digests if digests[name] != changed[name]} == {"scale"}
    imported = definition_digests(MODULE.replace("import os", "import sys"))
    assert {name for name in digests if digests[name] != imported[name]} == {IMPORTS}


def test_what_is_not_python_is_digested_as_text() -> None:
    assert set(definition_digests("def broken(:")) == {MODULE_LEVEL}


def test_a_notebook_that_asks_mlflow_itself_is_known_by_its_code() -> None:
    assert asks_mlflow(notebook({"source": ["import mlflow\n", "mlflow.search_runs()"]}))
    assert asks_mlflow(notebook({"source": ["from mlflow import MlflowClient"]}))
    assert not asks_mlflow(notebook({"source": ["import mlflow\n", "mlflow.log_metric('m', 1)"]}))
    assert not asks_mlflow(notebook({"source": ["load_model(run_id)"]}))
