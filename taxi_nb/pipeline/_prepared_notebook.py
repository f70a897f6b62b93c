"""A notebook made ready for one execution: parameters injected, traces of earlier runs gone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from papermill.version import version as papermill_version

from taxi_nb.pipeline._notebook_file import INJECTED, PARAMETERS, read_notebook, tags_of
from taxi_nb.pipeline.parameters import parameters_of
from taxi_nb.plain_data import to_json

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KERNELSPEC = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


def prepared_notebook(path: Path, parameters: Mapping[str, Any]) -> nbformat.NotebookNode:
    """Read a notebook and put a cell that assigns `parameters` after its parameters cell.

    What an earlier execution left is not there: outputs, papermill's metadata and its cells.
    """
    content = read_notebook(path)
    declared = parameters_of(content)
    values = {name: declared[name].as_declared(value) for name, value in parameters.items()}
    cells = [_fresh(number, cell) for number, cell in enumerate(content["cells"], 1)]
    if len({cell["id"] for cell in cells}) < len(cells):
        cells = [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells, 1)]
    metadata = {**content["metadata"], "kernelspec": _KERNELSPEC}
    notebook = nbformat.from_dict(
        {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    )
    if values:
        assigned = "\n".join(f"{name} = {python_literal(value)}" for name, value in values.items())
        cell = nbformat.v4.new_code_cell(f"# Parameters\n{assigned}\n", id=INJECTED)
        cell.metadata["tags"] = [INJECTED]
        tagged = (at for at, cell in enumerate(notebook.cells) if PARAMETERS in tags_of(cell))
        notebook.cells.insert(next(tagged) + 1, cell)
    notebook.metadata["papermill"] = {
        "default_parameters": {},
        "parameters": json.loads(to_json(dict(parameters))),
        "environment_variables": {},
        "version": papermill_version,
        "input_path": path.name,
    }
    return notebook


def _fresh(number: int, cell: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell as format 4.5 has it, before its first execution."""
    is_code = cell["cell_type"] == "code"
    own: dict[str, Any] = {"outputs": [], "execution_count": None} if is_code else {}
    if not is_code and cell.get("attachments"):
        own["attachments"] = cell["attachments"]
    kept = {k: v for k, v in cell["metadata"].items() if k not in ("papermill", "execution")}
    name = str(cell.get("id"))
    return {
        "cell_type": cell["cell_type"],
        "id": name if cell.get("id") and _ID.fullmatch(name) else f"cell-{number}",
        "metadata": kept,
        "source": cell["source"],
        **own,
    }


def python_literal(value: Any) -> str:
    """Return the Python expression of a value of plain data, types of keys included.

    >>> python_literal({1: ["a", None], "x": (True, float("inf"))})
    '{1: ["a", None], "x": (True, float("inf"))}'
    """
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case list():
            return f"[{', '.join(map(python_literal, value))}]"
        case tuple():
            return f"({', '.join(map(python_literal, value))}{',' * (len(value) == 1)})"
        case set():
            return f"{{{', '.join(sorted(map(python_literal, value)))}}}" if value else "set()"
        case dict():
            pairs = (f"{python_literal(k)}: {python_literal(v)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
    return repr(value)
