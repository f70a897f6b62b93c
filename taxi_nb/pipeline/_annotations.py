"""The annotations of a parameters cell as types, without running any of a notebook's code."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from taxi_nb.pipeline._notebook_file import PARAMETERS, code_cells

# Names that notebooks import, such as ``taxi_nb.Month``, and the types that they stand for.
Types = Mapping[str, Any]

# IPython's own syntax: `%magic`, `!command`, `x = !command`, `name?`.
_MAGIC = re.compile(r"^(\s*)((?:[\w.,\s\[\]]+=\s*)?[%!].*|[%\w.]*\?{1,2}|\?.*)$")
# Those of a whole cell that execute it as Python.
_AROUND_PYTHON = ("%%capture", "%%prun", "%%time")
_PARSING = threading.Lock()
# What `Field` may say of a value; all else of it means nothing to a plan.
_FIELD = {"gt", "ge", "lt", "le", "min_length", "max_length", "pattern", "multiple_of"}
_TYPES: dict[str, Any] = {
    "Any": Any,
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, set, str, tuple)},
}


def parsed(source: str) -> ast.Module:
    """Parse code, one thread at a time: CPython before 3.11.8 fails otherwise (gh-106905)."""
    with _PARSING:
        return ast.parse(source)


def without_magics(source: str) -> str:
    """Return a cell's code with calls in the place of IPython's own syntax, line for line.

    >>> without_magics("%matplotlib inline\\nfiles = !ls")
    "__magic__('%matplotlib inline')\\n__magic__('files = !ls')"
    """
    return "\n".join(map(_without_magic, source.splitlines()))


def _without_magic(line: str) -> str:
    found = _MAGIC.match(line)
    return f"{found[1]}__magic__({found[2].strip()!r})" if found else line


def statements_of(source: str) -> list[ast.stmt]:
    """Return a cell's statements; none of what is not Python, such as ``%%bash``."""
    first, _, rest = source.lstrip().partition("\n")
    if first.startswith("%%"):
        source = rest if first.split()[0] in _AROUND_PYTHON else ""
    try:
        return parsed(without_magics(source)).body
    except (SyntaxError, ValueError):
        return []


def imported_types(notebook: Mapping[str, Any], types: Types) -> Types:
    """Return the types that a notebook imports, by the names that it gives them."""
    found = {}
    for _, source, tags in code_cells(notebook):
        for node in statements_of(source) if "import" in source else ():
            for one in node.names if isinstance(node, ast.ImportFrom) else ():
                if (named := f"{node.module}.{one.name}") in types:  # type: ignore[attr-defined]
                    found[one.asname or one.name] = types[named]
        if PARAMETERS in tags:
            break
    return found


def literal(node: ast.expr | None) -> Any:
    """Return what is written out, or None where something is computed."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def given_as_list(kind: Any) -> Any:
    """Let a tuple or a set be given as a list: YAML has neither."""
    if (get_origin(kind) or kind) not in (tuple, set):
        return kind
    from pydantic import Strict

    return Annotated[kind, Strict(False)]


def type_of(node: ast.expr, names: Types) -> Any:
    """Turn an annotation into a type without running any of the notebook's code."""
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=value) if value is ...:
            return value
        case ast.Name(id=name):
            return given_as_list(_TYPES.get(name, Any))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[type_of(left, names), type_of(right, names)]  # noqa: UP007
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            options = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            values = tuple(option.value for option in options if isinstance(option, ast.Constant))
            return Literal[values]
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return Union[type_of(inner, names), None]  # noqa: UP007
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[kind, *notes])):
            limits = [limit for note in notes if (limit := _limits(note)) is not None]
            return Annotated[type_of(kind, names), *limits]
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _TYPES:
            arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            kind = _TYPES[name][tuple(type_of(one, names) for one in arguments)]
            return given_as_list(kind)
    return Any


def _limits(node: ast.expr) -> Any:
    """Return what `Field(gt=0)` says of a value, or None of what is no field."""
    from pydantic import Field

    match node:
        case ast.Call(func=ast.Name(id="Field") | ast.Attribute(attr="Field"), keywords=given):
            known = {one.arg: literal(one.value) for one in given if one.arg in _FIELD}
            return Field(**{str(name): value for name, value in known.items() if value is not None})
    return None


def plain_text(kind: Any) -> str:
    """Write a type without what a notebook alone can name; tuples and sets are given as lists.

    >>> plain_text(Annotated[str, "a month"] | None), plain_text(tuple[int, ...])
    ('str | None', 'list[int]')
    """
    arguments = get_args(kind)
    match origin := get_origin(kind) or kind:
        case _ if origin is Annotated:
            return plain_text(arguments[0])
        case _ if origin is Literal:
            return f"Literal[{', '.join(map(repr, arguments))}]"
        case _ if origin in (Union, UnionType):
            parts = list(map(plain_text, arguments))
            return "Any" if "Any" in parts else " | ".join(parts)
        case _ if origin is Any:
            return "Any"
        case _ if origin is NoneType:
            return "None"
    parts = list(dict.fromkeys(plain_text(one) for one in arguments if one is not ...))
    if origin in (tuple, set, list):
        return f"list[{parts[0]}]" if len(parts) == 1 else "list"
    return f"{origin.__name__}[{', '.join(parts)}]" if parts else str(origin.__name__)
