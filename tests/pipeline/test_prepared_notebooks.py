"""The notebook that is executed: what is read, what is refused, what a pipeline adds to it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from taxi_nb.pipeline._prepared_notebook import python_literal
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.spec import PipelineFileError
from tests.conftest import Project, texts
from tests.running import Run

ONE = "steps: [{notebook: a}]"


def code(source: Any = "print('seed', seed)", **metadata: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"cell_type": "code", "outputs": [], "execution_count": None}
    return {**base, "id": secrets.token_hex(4), "metadata": metadata, "source": source}


PARAMETERS = code("seed: int = 1", tags=["parameters"])


def written(project: Project, *cells: Any, **top: Any) -> Path:
    """Write a notebook as JSON, however odd; "broken" is for files that nbformat refuses."""
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [PARAMETERS, *cells]}
    path = project.root / "notebooks" / "a.ipynb"
    path.write_text(json.dumps(content | top))
    return path


def refusal(project: Project) -> str:
    """Return the one line that refuses the notebook before anything runs."""
    with pytest.raises(PipelineFileError) as refused:
        read_pipeline(project.pipeline(ONE), project.root)
    (line,) = map(str, refused.value.problems)
    return line


@pytest.mark.parametrize(
    ("cells", "top", "message"),
    [
        ([], {"nbformat": 3}, "is a notebook of format 3, not 4"),
        ([], {"nbformat": 5}, "format 5, which is newer than 4"),
        ([], {"metadata": {"kernelspec": "python3"}}, "metadata `kernelspec` is malformed"),
        ([code(tags="parameters")], {}, "cell 2: metadata `tags` is malformed"),
        ([code(tags=[1])], {}, "cell 2: `tags` must be texts"),
        ([code(None)], {}, "cell 2: must have a text or lines as source, has no source"),
        ([code("print('\ud800')")], {}, r"cell 2: '\ud800' is half a character"),
        ([code(), "text"], {}, "cell 3: must be a mapping"),
        ([{**code(), "cell_type": "heading"}], {}, "cell 2: its type must be one of"),
        (
            [],
            {"metadata": {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}},
            "is written for the kernel 'ir' (R)",
        ),
        (
            [],
            {"metadata": {"kernelspec": {"name": "other-env", "display_name": "Other"}}},
            "names the kernel 'other-env', which is not this environment's",
        ),
    ],
)
def test_a_notebook_that_cannot_be_executed_as_meant_is_refused_with_its_cell(
    project: Project, cells: list[Any], top: dict[str, Any], message: str
) -> None:
    path = written(project, *cells, **top)
    line = refusal(project)
    path.unlink()  # No valid notebook, as every other that a test leaves has to be.
    assert line.startswith("params/test.yaml:1: steps[0].notebook: notebooks/a.ipynb ")
    assert message in line


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda text: text.encode("utf-16"), "is not UTF-8 but UTF-16"),
        (lambda text: text.replace("seed", "süd").encode("latin-1"), "is not UTF-8"),
        (lambda text: b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_not_utf8_or_endless_is_refused(
    project: Project, encode: Callable[[str], bytes], message: str
) -> None:
    path = written(project, code())
    path.write_bytes(encode(path.read_text()))
    line = refusal(project)
    path.unlink()
    assert message in line


def test_what_other_programs_leave_out_or_add_is_no_mistake(project: Project, run: Run) -> None:
    """A BOM, no tags, ids that are not unique or not valid, keys that nobody knows."""
    cells = [{**code(tags=None), "id": "no id"}, {"cell_type": "code", "source": ["1\n", "+1"]}]
    kernel = {"name": "python3", "display_name": ".venv (3.11)"}
    path = written(
        project, *cells, metadata={"kernelspec": kernel}, nbformat_minor=None, unknown=[1]
    )
    odd = path.with_stem("broken")
    odd.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    path.unlink()
    record, folder = run("steps: [{notebook: broken}]")
    assert record.status.value == "ok"
    assert "seed 1" in texts(folder / "broken.ipynb")
    nbformat.validate(nbformat.read(folder / "broken.ipynb", as_version=4))


def test_parameters_are_one_cell_after_the_parameters_cell_wherever_an_old_one_stands(
    project: Project, run: Run
) -> None:
    banner = nbformat.v4.new_markdown_cell("An Exception")
    banner.metadata["tags"] = ["papermill-error-cell-tag"]
    old, again = (code("seed = 7", tags=["injected-parameters"]) for _ in range(2))
    content = [banner, old, PARAMETERS, code(), again]
    stale = {"papermill": {"parameters": {"seed": 7}, "exception": True, "duration": 9.0}}
    written(project, cells=content, metadata=stale)
    for params, shown in (("", "seed 1"), ("params: {seed: 3}\n", "seed 3")):
        _, folder = run(params + ONE)
        assert shown in texts(folder / "a.ipynb")
    executed = nbformat.read(folder / "a.ipynb", as_version=4)
    assert [cell.source for cell in executed.cells] == [
        "seed: int = 1",
        "# Parameters\nseed = 3\n",
        "print('seed', seed)",
    ]
    assert executed.metadata.papermill["parameters"] == {"seed": 3}
    assert executed.metadata.papermill["exception"] is None


def test_values_arrive_with_the_types_that_the_notebook_declares(
    project: Project, run: Run
) -> None:
    declared = """
        weights: dict[int, float] = {1: 0.9}
        months = ("2021-01",)
        pairs: list[tuple[int, str]] = []
        zones: set[int] = {1}
        limit: float = 1.0
        name: str = ""
    """
    lines = "\n".join(line.strip() for line in declared.strip().splitlines())
    project.notebook("a", "print([weights, months, pairs, zones, limit, name])", parameters=lines)
    given = """{weights: {1: 0.5}, months: [2021-02], pairs: [[1, a]], zones: [3, 2],
        limit: .inf, name: "a\\nb \\"c\\" \\\\"}"""
    _, folder = run(f"params: {given}\n{ONE}")
    expected = [{1: 0.5}, ("2021-02",), [(1, "a")], {2, 3}, float("inf"), 'a\nb "c" \\']
    assert str(expected) in texts(folder / "a.ipynb")


@pytest.mark.parametrize(
    "value", [None, True, -1, 1.5, "é\u2028'\"", [], (), (1,), {1: ["a"], "b": {}}, set(), {2, 1}]
)
def test_a_literal_is_the_value(value: Any) -> None:
    assert eval(python_literal(value)) == value


def test_a_cell_that_is_meant_to_raise_or_to_be_skipped_is(project: Project, run: Run) -> None:
    raises = code("1/0", tags=["raises-exception"])
    skipped = code("print('never')", tags=["skip-execution"])
    written(project, raises, skipped, code("print('after')"))
    record, folder = run(ONE)
    assert record.steps[0].status.value == "ok"
    shown = texts(folder / "a.ipynb")
    assert "division by zero" in shown
    assert "after" in shown
    assert "never" not in shown


@pytest.mark.slow
def test_a_reader_that_is_slower_than_the_kernel_loses_nothing(project: Project, run: Run) -> None:
    """A socket of the kernel's would drop what is past 1,000 messages."""
    project.notebook(
        "a", "for i in range(4000): print(f'<{i}>', end='', flush=True)", "print('end')"
    )
    record, folder = run(ONE)
    assert record.steps[0].status.value == "ok"
    shown = texts(folder / "a.ipynb")
    assert shown.count("<") == 4000
    # One text, as in JupyterLab, not one output for each print.
    assert len(nbformat.read(folder / "a.ipynb", as_version=4).cells[1].outputs) == 1
