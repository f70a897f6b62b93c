"""Digests of cells and modules that leave out comments, layout and documentation."""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from typing import Any

from taxi_nb.pipeline._annotations import parsed, without_magics
from taxi_nb.pipeline._notebook_file import PARAMETERS, code_cells
from taxi_nb.pipeline.parameters import defaults_of

# Of a module: what is not the definition of a name, and what it imports.
MODULE_LEVEL = "module level"
IMPORTS = "imports"

# The tags that decide what is executed; no other tag changes a result.
_EXECUTION_TAGS = {"raises-exception", "skip-execution"}


def digest(text: str) -> str:
    """Return a digest long enough to tell a project's texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cell_digests(notebook: Mapping[str, Any]) -> dict[int, str]:
    """Digest a notebook's code cells, numbered among all from 1, by what they do.

    The parameters cell counts by its values, which are compared one by one, where it holds
    nothing but literals and imports; these count as in other cells.
    """
    return {
        number: digest(said)
        for number, source, tags in code_cells(notebook)
        if (said := _what_a_cell_says(source, tags))
    }


def _what_a_cell_says(source: str, tags: set[str]) -> str:
    if PARAMETERS in tags and defaults_of(source) is not None:
        kinds = (ast.Import, ast.ImportFrom)
        imports: list[ast.stmt] = [one for one in parsed(source).body if isinstance(one, kinds)]
        return _dump(ast.Module(imports, [])) if imports else ""
    execution = ",".join(sorted(tags & _EXECUTION_TAGS))
    said = what_code_says(source)
    return f"{execution}:{said}" if execution else said


def what_code_says(source: str) -> str:
    """Return a form of a cell's code that only a change of what it does changes."""
    tree = None if source.lstrip().startswith("%%") else _parsed(source)
    if tree is None:
        return source.strip()
    if not tree.body:
        return ""
    # A semicolon at the end hides what the cell would show.
    return _dump(tree) + (";" if _ends_in_semicolon(source) else "")


def _parsed(source: str) -> ast.Module | None:
    try:
        return parsed(without_magics(source))
    except (SyntaxError, ValueError):
        return None


def _ends_in_semicolon(source: str) -> bool:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return source.rstrip().endswith(";")
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
    layout |= {tokenize.INDENT, tokenize.DEDENT}
    code = [token.string for token in tokens if token.type not in layout]
    return bool(code) and code[-1] == ";"


def definition_digests(source: str) -> dict[str, str]:
    """Digest a module by its top-level definitions, for reasons that name one.

    Documentation strings do not count, as for ``python -OO``. Code that defines no name is under
    `MODULE_LEVEL` and `IMPORTS`. Of a file that is not Python there is one digest of its text.
    """
    try:
        tree = parsed(source)
    except (SyntaxError, ValueError):
        return {MODULE_LEVEL: digest(source)}
    _drop_documentation(tree)
    said: dict[str, list[str]] = {}
    for statement in tree.body:
        said.setdefault(_name_of(statement), []).append(_dump(statement))
    return {name: digest("\n".join(parts)) for name, parts in said.items()}


def _name_of(statement: ast.stmt) -> str:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case ast.Import() | ast.ImportFrom():
            return IMPORTS
    return MODULE_LEVEL


def _drop_documentation(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())), *rest]:
                    node.body = rest


def _dump(node: ast.AST) -> str:
    return ast.dump(node, annotate_fields=False)


def named_in(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts in a notebook's code that may be the path of a file."""
    for _, source, _ in code_cells(notebook):
        for node in ast.walk(_parsed(source) or ast.Module([], [])):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


# How code asks MLflow itself for runs and models, past what the pipeline hears.
_ASKS_MLFLOW = re.compile(
    r"\b(MlflowClient|search_runs|search_logged_models|get_run|get_logged_model|load_model"
    r"|search_model_versions|get_model_version\w*|download_artifacts|list_artifacts|load_dict"
    r"|load_text|load_table|mlflow\.artifacts)\b"
)


def asks_mlflow(notebook: Mapping[str, Any]) -> bool:
    """Whether a notebook's own code reads runs or models from MLflow."""
    sources = (source for _, source, _ in code_cells(notebook))
    return any("mlflow" in source and _ASKS_MLFLOW.search(source) for source in sources)
