"""A notebook's parameters cell: the names it declares, their types and defaults."""

from __future__ import annotations

import ast
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_origin

from taxi_nb.pipeline._notebook_file import (
    PARAMETERS,
    NotebookError,
    code_cells,
    other_kernel,
    read_notebook,
)
from taxi_nb.secrets.literals import secret_mistake

_PARSING = threading.Lock()

_TYPES: dict[str, Any] = {
    "Any": Any,
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, set, str, tuple)},
}


def _given_as_list(kind: Any) -> Any:
    """Let a tuple or a set be given as a list: YAML has neither."""
    if (get_origin(kind) or kind) not in (tuple, set):
        return kind
    from pydantic import Strict

    return Annotated[kind, Strict(False)]


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

    def as_declared(self, value: Any) -> Any:
        """Return a valid value with tuples and sets where they are declared."""
        return _as_validated(value, self._adapter.validate_python(value))

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


def _as_validated(value: Any, validated: Any) -> Any:
    """Take kinds of sequences from the validated value, all else as it was written."""
    if isinstance(validated, set):
        return validated
    if isinstance(value, list) and isinstance(validated, list | tuple):
        return type(validated)(map(_as_validated, value, validated))
    if isinstance(value, dict) and isinstance(validated, dict):
        parts = zip(value.items(), validated.values(), strict=True)
        return {key: _as_validated(part, other) for (key, part), other in parts}
    return value


def _unwritable(value: Any) -> Any:
    """Return the part of a value that cannot be written into a notebook, such as a date."""
    if isinstance(value, list | tuple):
        return next((bad for item in value if (bad := _unwritable(item)) is not None), None)
    if isinstance(value, dict):
        return _unwritable([*value.keys(), *value.values()])
    return None if value is None or isinstance(value, str | int | float | bool) else value


def parsed(source: str) -> ast.Module:
    """Parse code, one thread at a time: CPython before 3.11.8 fails otherwise (gh-106905)."""
    with _PARSING:
        return ast.parse(source)


def declared_parameters(path: Path) -> dict[str, Parameter]:
    """Read which parameters a notebook declares.

    Raises NotebookError if it is none, is written for another kernel, has no parameters cell or
    one that is not Python.
    """
    return parameters_of(read_notebook(path))


def parameters_of(notebook: Mapping[str, Any]) -> dict[str, Parameter]:
    """Do the same with a notebook that was read."""
    if (mistake := other_kernel(notebook)) is not None:
        raise NotebookError(mistake)
    sources = _parameter_cells(notebook)
    if not sources:
        raise NotebookError(f"has no parameters cell: give a code cell the tag {PARAMETERS!r}")
    if len(sources) > 1:
        raise NotebookError(f"has {len(sources)} cells with the tag {PARAMETERS!r}: keep one")
    try:
        tree = parsed(sources[0])
    except SyntaxError as error:
        raise NotebookError(f"parameters cell, line {error.lineno}: {error.msg}") from None
    found = (_parameter(statement) for statement in tree.body)
    return {parameter.name: parameter for parameter in found if parameter is not None}


def _parameter_cells(notebook: Mapping[str, Any]) -> list[str]:
    return [source for _, source, tags in code_cells(notebook) if PARAMETERS in tags]


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
            described = getattr(kind, "__name__", "Any")
            return Parameter(name, _given_as_list(kind), described, False, default)
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
        case ast.Constant(value=value) if value is ...:
            return value
        case ast.Name(id=name):
            return _given_as_list(_TYPES.get(name, Any))
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
            kind = _TYPES[name][tuple(_annotated_type(argument) for argument in arguments)]
            return _given_as_list(kind)
    return Any


def close_to(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return a hint at the known name that was probably meant."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
