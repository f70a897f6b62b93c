"""A notebook's parameters cell: the names it declares, their types and defaults."""

from __future__ import annotations

import ast
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Union

from taxi_nb.secrets.literals import secret_mistake

TAG = "parameters"
_PARSING = threading.Lock()

_TYPES: dict[str, Any] = {
    "Any": Any,
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, str, tuple)},
}


class NotebookError(ValueError):
    """A notebook that the pipeline cannot use; the message says why."""


@dataclass(frozen=True)
class Parameter:
    """A name that a parameters cell declares."""

    name: str
    # From the annotation, or else from the default; `Any` where neither tells.
    type: Any
    # The type as the notebook writes it.
    described: str
    required: bool
    # None as well where the notebook computes one.
    default: Any = None

    @cached_property
    def _adapter(self) -> Any:
        from pydantic import ConfigDict, TypeAdapter

        return TypeAdapter(self.type, config=ConfigDict(strict=True))

    def mistake(self, value: Any) -> str | None:
        """Say what is wrong with a value, or return None."""
        from pydantic import ValidationError

        if (mistake := secret_mistake(self.name, value)) is not None:
            return mistake
        if (date := _unwritable(value)) is not None:
            return (
                f"must be {self.described}, got {type(date).__name__} {date}, which no notebook "
                "can be given; in quotes it is a text"
            )
        try:
            self._adapter.validate_python(value)
        except ValidationError:
            return f"must be {self.described}, got {type(value).__name__} {value!r}"
        return None


def _unwritable(value: Any) -> Any:
    """Return the part of a value that cannot be written into a notebook, such as a date."""
    if isinstance(value, list | tuple):
        return next((bad for item in value if (bad := _unwritable(item)) is not None), None)
    if isinstance(value, dict):
        return _unwritable([*value.keys(), *value.values()])
    return None if value is None or isinstance(value, str | int | float | bool) else value


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook's JSON; NotebookError if it is not a notebook of format 4."""
    try:
        notebook = json.loads(path.read_bytes())
    except ValueError as error:
        raise NotebookError(f"is not a notebook: {error}") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise NotebookError("is not a notebook of format 4: it has no list of cells")
    return notebook


def code_cells(notebook: Mapping[str, Any]) -> Iterator[tuple[int, str, set[str]]]:
    """Yield the number of each code cell among all, from 1, its source and its tags."""
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") == "code":
            yield number, "".join(cell["source"]), set(cell.get("metadata", {}).get("tags", []))


def parsed(source: str) -> ast.Module:
    """Parse code, one thread at a time: CPython before 3.11.8 fails otherwise (gh-106905)."""
    with _PARSING:
        return ast.parse(source)


def declared_parameters(path: Path) -> dict[str, Parameter]:
    """Read which parameters a notebook declares.

    Raises NotebookError if it is none, has no parameters cell or one that is not Python.
    """
    sources = _parameter_cells(read_notebook(path))
    if not sources:
        raise NotebookError(f"has no parameters cell: give a code cell the tag {TAG!r}")
    if len(sources) > 1:
        raise NotebookError(f"has {len(sources)} cells with the tag {TAG!r}: keep one")
    try:
        tree = parsed(sources[0])
    except SyntaxError as error:
        raise NotebookError(f"parameters cell, line {error.lineno}: {error.msg}") from None
    found = (_parameter(statement) for statement in tree.body)
    return {parameter.name: parameter for parameter in found if parameter is not None}


def _parameter_cells(notebook: Mapping[str, Any]) -> list[str]:
    return [source for _, source, tags in code_cells(notebook) if TAG in tags]


def default_values(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook's own values of its parameters; none of a cell that computes one."""
    sources = _parameter_cells(notebook)
    return (defaults_of(sources[0]) or {}) if sources else {}


def defaults_of(source: str) -> dict[str, Any] | None:
    """Return the values that a parameters cell assigns, or None if it does anything else."""
    values: dict[str, Any] = {}
    try:
        for statement in parsed(source).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    values[name] = ast.literal_eval(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    values[name] = ast.literal_eval(value)
                case ast.AnnAssign(target=ast.Name()) | ast.Expr(value=ast.Constant()):
                    pass
                case _:
                    return None
    except (SyntaxError, ValueError):
        return None
    return values


def _parameter(statement: ast.stmt) -> Parameter | None:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=written, value=value):
            kind, described = _annotated_type(written), ast.unparse(written)
            return Parameter(name, kind, described, value is None, _literal(value))
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            default = _literal(value)
            kind = Any if default is None else type(default)
            return Parameter(name, kind, getattr(kind, "__name__", "Any"), False, default)
    return None


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _annotated_type(node: ast.expr) -> Any:
    """Turn an annotation into a type without running any of the notebook's code."""
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Name(id=name):
            return _TYPES.get(name, Any)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_annotated_type(left), _annotated_type(right)]  # noqa: UP007
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            options = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            values = tuple(option.value for option in options if isinstance(option, ast.Constant))
            return Literal[values]
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return Union[_annotated_type(inner), None]  # noqa: UP007
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _TYPES:
            arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _TYPES[name][tuple(_annotated_type(argument) for argument in arguments)]
    return Any


def close_to(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return a hint at the known name that was probably meant."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
