"""The names of a notebook that could be its parameters: each is assigned once, a plain value."""

from __future__ import annotations

import ast
import builtins
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from taxi_nb.pipeline._annotations import parsed
from taxi_nb.pipeline._notebook_file import PARAMETERS, code_cells
from taxi_nb.secrets.literals import secret_mistake

# What changes a list, a mapping or a set in place: such a name is a state, and no setting.
_CHANGING = {
    *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"),
    *("reverse", "setdefault", "sort", "update"),
}
_PLAIN_TYPES = {"bool", "dict", "float", "int", "list", "set", "str", "tuple", "None"}
_CELL_MAGIC = re.compile(r"\s*%%(\w*).*\n?")


@dataclass(frozen=True)
class Candidate:
    """A name, its line as a parameters cell has it, and where it is assigned now."""

    name: str
    line: str
    cell: int  # Its position among all cells, from 1.
    first: int  # Its lines in the cell, from 1.
    last: int


@dataclass
class Found:
    """The candidates of a notebook by name; why other names that it assigns are none."""

    candidates: dict[str, Candidate] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def find_candidates(notebook: Mapping[str, Any]) -> Found:
    """Look through a notebook's cells; nothing is executed."""
    found, times, changed = Found(), Counter[str](), set[str]()
    values: list[tuple[str, Candidate | str]] = []
    for number, source, tags in code_cells(notebook):
        tree, is_whole = _tree(source)
        times.update(_bound(tree.body))
        changed |= set(_changed(tree))
        if PARAMETERS in tags:
            found.refused |= dict.fromkeys(_bound(tree.body), "is a parameter already")
        elif is_whole:
            values += _assigned(tree, source, number)
        else:
            why = "is assigned in a cell whose first line is a magic of the whole cell"
            found.refused |= dict.fromkeys(_bound(tree.body), why)
    for name, candidate in values:
        if name in found.refused:
            continue
        if times[name] > 1:
            found.refused[name] = f"is assigned {times[name]} times"
        elif name in changed:
            found.refused[name] = "is changed after it was assigned"
        elif isinstance(candidate, str):
            found.refused[name] = candidate
        else:
            found.candidates[name] = candidate
    for name in times.keys() - found.candidates.keys() - found.refused.keys():
        found.refused[name] = "is not assigned a plain value in a line of its own"
    return found


def _tree(source: str) -> tuple[ast.Module, bool]:
    """Parse a cell, magics aside; and whether its lines are those of the source."""
    from IPython.core.inputtransformer2 import TransformerManager

    is_whole = not (whole := _CELL_MAGIC.match(source))
    if whole:  # Of `%%time` and the like what follows is Python; of others it may be none.
        source = source[whole.end() :]
    try:
        python = TransformerManager().transform_cell(source)  # type: ignore[no-untyped-call]
        is_whole &= len(python.splitlines()) == len(source.splitlines())
        return parsed(python), is_whole
    except SyntaxError:
        return ast.Module([], []), False


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements of a cell bind, one for each time that they do."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
                inner = (one for part in node.body for one in ast.walk(part))
                yield from (n for one in inner if isinstance(one, ast.Global) for n in one.names)
                continue
            case ast.ClassDef(name=name):
                yield name
                continue
            case ast.Lambda():
                continue
            case ast.comprehension():
                waiting += [node.iter, *node.ifs]
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.alias():
                yield node.asname or node.name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
        waiting += ast.iter_child_nodes(node)


def _changed(tree: ast.Module) -> Iterator[str]:
    """Yield names whose values are changed in place."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if attr in _CHANGING:
                yield name
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                yield name


def _assigned(tree: ast.Module, source: str, cell: int) -> Iterator[tuple[str, Candidate | str]]:
    """Yield the names that lines of their own assign, each a candidate or why it is none."""
    comments = _comments(source)
    used = Counter(
        line for one in tree.body for line in range(one.lineno, (one.end_lineno or 0) + 1)
    )
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                written = None
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                written = statement.annotation
            case _:
                continue
        first, last = statement.lineno, statement.end_lineno or statement.lineno
        if max(used[line] for line in range(first, last + 1)) > 1:
            yield name, "shares its line with another statement"
            continue
        try:
            known = ast.literal_eval(value)
        except (ValueError, TypeError):
            yield name, "is computed"
            continue
        kind = _plain(written) or _type_of(known)
        if why := _unfit(name, known, kind):
            yield name, why
            continue
        one_line = first == last
        text = ast.get_source_segment(source, value) if one_line else ast.unparse(value)
        comment = next((comments[line] for line in (first, last) if line in comments), "")
        yield name, Candidate(name, f"{name}: {kind} = {text}{comment}", cell, first, last)


def _unfit(name: str, value: Any, kind: str | None) -> str | None:
    if name.startswith("_") or hasattr(builtins, name):
        return "is a name of Python's own" if hasattr(builtins, name) else "is a private name"
    if kind is None:
        return f"could be of any type: write one, such as `{name}: int | None = None`"
    mistake = secret_mistake(name, value)
    return mistake and f"{mistake}"


def _comments(source: str) -> dict[int, str]:
    """Return the comments that end lines of code, as they would end another line."""
    found = {}
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):  # Magics.
        return {}
    for token in tokens:
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            found[token.start[0]] = f"  # {token.string.lstrip('#').strip()}"
    return found


def _plain(annotation: ast.expr | None) -> str | None:
    """Return an annotation that means the same in the notebook's first cell."""
    if annotation is None:
        return None
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return ast.unparse(annotation) if names <= _PLAIN_TYPES else None


def _type_of(value: Any) -> str | None:
    """Return the type of a plain value as one writes it; None of None.

    >>> _type_of(["2021-01"]), _type_of([1, "a"]), _type_of(None)
    ('list[str]', 'list', None)
    """
    match value:
        case bool() | int() | float() | str():
            return type(value).__name__
        case list() if len(kinds := {_type_of(item) for item in value}) == 1:
            (kind,) = kinds
            return f"list[{kind}]" if kind in ("bool", "int", "float", "str") else "list"
        case list() | dict() | tuple() | set():
            return type(value).__name__
    return None
