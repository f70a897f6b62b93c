"""A notebook's parameters cell: the names it declares, their types and defaults."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from taxi_nb.close_names import close_to
from taxi_nb.pipeline._annotations import (
    Types,
    given_as_list,
    imported_types,
    literal,
    parsed,
    plain_text,
    statements_of,
    type_of,
)
from taxi_nb.pipeline._notebook_file import (
    PARAMETERS,
    NotebookError,
    code_cells,
    other_kernel,
    read_notebook,
)
from taxi_nb.plain_data import shortened
from taxi_nb.secrets.literals import secret_mistake

_LIMITS = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "of the form {pattern}",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "too_short": "of {min_length} or more values",
    "too_long": "of {max_length} or fewer values",
}


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
    # Whether the type says more than a plain one: of a name that is imported, or with limits.
    is_named: bool = False

    @property
    def plain(self) -> str:
        """The type as a file can write it that imports nothing of the notebook's."""
        return plain_text(self.type)

    @cached_property
    def _adapter(self) -> Any:
        try:
            return _adapter_of(self.type)
        except TypeError:  # Some types have no hash.
            return _adapter_of.__wrapped__(self.type)

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
        except ValidationError as error:
            return _in_words(error.errors()[0], self.plain, value)
        return None


@cache
def _adapter_of(kind: Any) -> Any:
    """Return pydantic's judge of a type; most parameters are of a few types."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(kind, config=ConfigDict(strict=True))


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


def _in_words(found: Mapping[str, Any], described: str, value: Any) -> str:
    """Say in one sentence what pydantic found."""
    kind, given, limits = found["type"], found["input"], found.get("ctx", {})
    if kind == "value_error":
        return f"{limits['error']}, got {given!r}"
    if kind in _LIMITS:
        # Of a lower and an upper limit pydantic names the one that was passed.
        return f"must be {_LIMITS[kind].format(**limits)}, got {given!r}"
    if kind == "literal_error" and not isinstance(given, list | dict):
        choices = [text.strip("'") for text in re.split(", | or ", limits["expected"])]
        hint = close_to(given, choices) if isinstance(given, str) else ""
        return f"must be {limits['expected']}, got {given!r}{hint}"
    return f"must be {described}, got {type(value).__name__} {value!r}"


def _unwritable(value: Any) -> Any:
    """Return the part of a value that cannot be written into a notebook, such as a date."""
    if isinstance(value, list | tuple):
        return next((bad for item in value if (bad := _unwritable(item)) is not None), None)
    if isinstance(value, dict):
        return _unwritable([*value.keys(), *value.values()])
    return None if value is None or isinstance(value, str | int | float | bool) else value


def declared_parameters(path: Path, types: Types | None = None) -> dict[str, Parameter]:
    """Read which parameters a notebook declares; `types` are those that it may import.

    It declares none without a parameters cell. Raises NotebookError if it is no notebook, is
    written for another kernel, or has a parameters cell that is not Python.
    """
    return parameters_of(read_notebook(path), types)


def parameters_of(notebook: Mapping[str, Any], types: Types | None = None) -> dict[str, Parameter]:
    """Do the same with a notebook that was read."""
    if (mistake := other_kernel(notebook)) is not None:
        raise NotebookError(mistake)
    sources = _parameter_cells(notebook)
    if not sources:
        return {}
    if len(sources) > 1:
        raise NotebookError(f"has {len(sources)} cells with the tag {PARAMETERS!r}: keep one")
    try:
        tree = parsed(sources[0])
    except SyntaxError as error:
        why = _what_is_wrong(error)
        raise NotebookError(f"parameters cell, line {error.lineno}: {why}") from None
    names = imported_types(notebook, types or {})
    found = (_parameter(statement, names) for statement in tree.body)
    return {parameter.name: parameter for parameter in found if parameter is not None}


def _what_is_wrong(error: SyntaxError) -> str:
    """Say why a parameters cell cannot be read."""
    line = (error.text or "").strip()
    if line.startswith(("%", "!")):
        return f"{shortened(line, 40)!r} is IPython's own: put it into another cell"
    return error.msg


def untagged(notebook: Mapping[str, Any], names: Collection[str]) -> tuple[int, str] | None:
    """Return where a notebook without a parameters cell sets one of some names: cell and name.

    Its author may have forgotten the tag, and nobody would be told that a value does not arrive.
    """
    if _parameter_cells(notebook):
        return None
    for number, source, _ in code_cells(notebook):
        for statement in statements_of(source):
            set_here = _parameter(statement, {})
            if set_here and set_here.name in names and set_here.default is not None:
                return number, set_here.name
    return None


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
                case ast.Import() | ast.ImportFrom():  # Of the types.
                    pass
                case _:
                    return None
    except (SyntaxError, ValueError):
        return None
    return values


def _parameter(statement: ast.stmt, names: Types) -> Parameter | None:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=written, value=value):
            kind, described = type_of(written, names), ast.unparse(written)
            used = {node.id for node in ast.walk(written) if isinstance(node, ast.Name)}
            is_named = not used.isdisjoint({*names, "Annotated", "Literal"})
            return Parameter(name, kind, described, value is None, literal(value), is_named)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            default = literal(value)
            kind = Any if default is None else type(default)
            described = getattr(kind, "__name__", "Any")
            return Parameter(name, given_as_list(kind), described, False, default)
    return None
