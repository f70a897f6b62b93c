"""A notebook's file, by the one reader of it: what it refuses is refused before anything runs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taxi_nb.project import read_regular

# Tags of cells: the one whose values a pipeline may set, and those that papermill and we make.
PARAMETERS = "parameters"
INJECTED = "injected-parameters"
BANNER = "papermill-error-cell-tag"

# What to do where values should arrive and do not.
TAG_IT = f"give the cell that sets it the tag {PARAMETERS!r}"

# Of text that Jupytext reads as a notebook: the ending, and what such a text has.
TEXT = {".py": r"^# ?%%|^# +jupytext:", ".md": r"^ *jupytext:"}
ENDINGS = (".ipynb", *TEXT)

_CELL_TYPES = ("code", "markdown", "raw")

# What format 4 says of the metadata that programs read: https://nbformat.readthedocs.io
_Types = Mapping[str, type | tuple[type, ...]]
_NOTEBOOK_METADATA: _Types = {
    **{"kernelspec": dict, "language_info": dict, "authors": list, "title": str},
    "orig_nbformat": int,
}
_CELL_METADATA: _Types = {
    **{"tags": list, "jupyter": dict, "name": str, "format": str, "collapsed": bool},
    **{"scrolled": (bool, str), "execution": dict},
}


class NotebookError(ValueError):
    """A notebook that the pipeline cannot use; the message says why."""


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook of format 4: sources as texts, tags as lists, no cells that a run made.

    Raises NotebookError if it is none, or one that cannot be executed as it is meant; the
    message names the cell, counted from 1 as JupyterLab shows them.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise NotebookError(f"cannot be read: {error.strerror}") from None
    return notebook_of(_from_text(content, path.suffix) if path.suffix in TEXT else content)


def notebook_files(folder: Path) -> Iterator[Path]:
    """Yield the notebooks in a folder and those below it, the ones that are text among them.

    Where a notebook is paired with a text it is yielded once.
    """
    for path in sorted(folder.rglob("*.ipynb")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
    for path in sorted(path for suffix in TEXT for path in folder.rglob(f"*{suffix}")):
        if not path.with_suffix(".ipynb").exists() and is_text_notebook(path):
            yield path


def is_text_notebook(path: Path) -> bool:
    """Return whether a file is a notebook as Jupytext writes it: a script or a page is none."""
    try:
        return _is_notebook(read_regular(path).decode("utf-8", "replace"), path.suffix)
    except OSError:
        return False


def _is_notebook(text: str, suffix: str) -> bool:
    return suffix in TEXT and re.search(TEXT[suffix], text, re.MULTILINE) is not None


def _from_text(content: bytes, suffix: str) -> bytes:
    """Return the notebook that a text stands for, as a notebook's file has it."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotebookError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    if not _is_notebook(text, suffix):
        begin = "`# %%` begins a cell" if suffix == ".py" else "`jupytext:` stands in a header"
        raise NotebookError(f"is no notebook as text: there {begin}, and it has none")
    try:
        import jupytext
    except ModuleNotFoundError:
        needed = "needs Jupytext, the extra `jupytext`: pip install 'taxi-nb[jupytext]'"
        raise NotebookError(f"is a notebook as text, which {needed}") from None
    try:
        notebook = jupytext.reads(text, fmt=suffix.removeprefix("."))
    except Exception as error:  # Of a header or a format that it cannot read.
        raise NotebookError(f"is not a notebook for Jupytext: {error}") from None
    # It makes ids up, new ones each time.
    cells = [{key: value for key, value in cell.items() if key != "id"} for cell in notebook.cells]
    return json.dumps({**notebook, "cells": cells}).encode()


def notebook_of(content: bytes) -> dict[str, Any]:
    """Do the same with a file's content.

    Cells that papermill or a pipeline put there (injected parameters, banners of an error) are
    left out: they are of an earlier run.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        raise NotebookError("is not UTF-8 but UTF-16 or UTF-32: save it as UTF-8")
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise NotebookError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise NotebookError(f"is not a notebook: {error}") from None
    except RecursionError:
        raise NotebookError("is not a notebook: it is nested too deeply") from None
    _check_format(notebook)
    cells = [_cell(number, cell) for number, cell in enumerate(notebook["cells"], 1)]
    made = {INJECTED, BANNER}
    notebook["cells"] = [cell for cell in cells if not made.intersection(tags_of(cell))]
    return dict(notebook)


def _check_format(notebook: Any) -> None:
    if not isinstance(notebook, dict) or not ({"cells", "worksheets"} & notebook.keys()):
        raise NotebookError("is not a notebook of format 4: it has no list of cells")
    version = notebook.get("nbformat")
    if type(version) is not int or version < 4:
        convert = "convert it with `jupyter nbconvert --to notebook --inplace`"
        raise NotebookError(f"is a notebook of format {version!r}, not 4: {convert}")
    if version > 4:
        raise NotebookError(f"is a notebook of format {version}, which is newer than 4")
    if not isinstance(notebook.get("cells"), list):
        raise NotebookError("is not a notebook of format 4: it has no list of cells")
    notebook["metadata"] = _metadata(notebook, "its", _NOTEBOOK_METADATA)


def _cell(number: int, cell: Any) -> dict[str, Any]:
    """Return a cell with a text as source and a list as tags, or say what is wrong with it."""
    if not isinstance(cell, dict):
        raise NotebookError(f"cell {number}: must be a mapping, got {cell!r:.40}")
    kind, source = cell.get("cell_type"), cell.get("source")
    if kind not in _CELL_TYPES:
        raise NotebookError(f"cell {number}: its type must be one of {_CELL_TYPES}, got {kind!r}")
    lines: list[Any] = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        given = "no source" if source is None else f"the source {source!r:.40}"
        raise NotebookError(f"cell {number}: must have a text or lines as source, has {given}")
    text = "".join(lines)
    kept = {"source": text, **{key: cell.get(key) for key in ("metadata", "attachments", "id")}}
    try:
        json.dumps(kept, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise NotebookError(f"cell {number}: {half} is half a character: write it anew") from None
    metadata = _metadata(cell, f"cell {number}:", _CELL_METADATA)
    tags = metadata.get("tags", [])
    if not all(isinstance(tag, str) and tag and "," not in tag for tag in tags):
        raise NotebookError(f"cell {number}: `tags` must be texts without commas, got {tags!r:.40}")
    metadata["tags"] = list(dict.fromkeys(tags))
    return {**cell, "source": text, "metadata": metadata}


def _metadata(holder: Mapping[str, Any], whose: str, types: _Types) -> dict[str, Any]:
    """Return metadata without its nulls, having checked the types that the format names."""
    found = holder.get("metadata") or {}
    if not isinstance(found, dict):
        raise NotebookError(f"{whose} metadata must be a mapping, got {found!r:.40}")
    given = {key: value for key, value in found.items() if value is not None}
    for key in given.keys() & types.keys():
        if not isinstance(given[key], types[key]):
            raise NotebookError(f"{whose} metadata `{key}` is malformed: {given[key]!r:.40}")
    return given


def tags_of(cell: Mapping[str, Any]) -> list[str]:
    """Return a cell's tags."""
    return list(cell["metadata"].get("tags") or [])


def code_cells(notebook: Mapping[str, Any]) -> Iterator[tuple[int, str, set[str]]]:
    """Yield the number of each code cell among all, from 1, its source and its tags."""
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code":
            yield number, "".join(cell["source"]), set(tags_of(cell))


def other_kernel(notebook: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the kernel that a notebook names, or None if it is ours.

    Ours is the running interpreter: what it executes is recorded. It answers to ``python3``,
    as in Jupyter, and to every installed kernel that starts it with no variables of its own.
    """
    spec = notebook["metadata"].get("kernelspec") or {}
    known = notebook["metadata"].get("language_info") or {}
    name = spec.get("name") or "python3"
    language = str(spec.get("language") or known.get("name") or "python")
    change = "a pipeline executes its own Python: choose the kernel python3 in JupyterLab"
    if not language.lower().startswith(("python", "ipython")):
        return f"is written for the kernel {name!r} ({language}); {change}"
    if name in ("python3", "python") or _starts_this_python(name):
        return None
    return f"names the kernel {name!r}, which is not this environment's; {change}"


def _starts_this_python(name: str) -> bool:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec(name)
    except (NoSuchKernel, ValueError):
        return False
    ours = {sys.executable, "python", "python3"}
    return bool(spec.argv) and spec.argv[0] in ours and not spec.env
