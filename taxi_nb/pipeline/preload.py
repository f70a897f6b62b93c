"""The libraries that a pipeline's kernels should find imported: those that its code names."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from taxi_nb.pipeline._notebook_file import code_cells, read_notebook
from taxi_nb.pipeline.kernels.input_recorder import places_of_packages
from taxi_nb.pipeline.kernels.pool import DEFAULT_PRELOAD
from taxi_nb.pipeline.spec import Pipeline

_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)

# How code names a library that it uses, if not by its own name.
_OF_MLFLOW = (
    *("alembic", "git", "sqlalchemy"),
    *("mlflow.models", "mlflow.sklearn", "mlflow.store", "mlflow.tracing"),
)
_PATTERNS = {
    **dict.fromkeys(_OF_MLFLOW, r"\bmlflow\.\w"),
    **dict.fromkeys(("matplotlib", "PIL"), r"\b(matplotlib|seaborn|plot)"),
    "narwhals": r"\bsklearn\b",
    "mlflow.pyfunc": r"\b(pyfunc|log_model)\b",
    "mlflow.xgboost": r"\bxgboost\b",
    "pyarrow": r"\b(pyarrow|parquet)\b",
    "scipy": r"\b(scipy|sklearn|seaborn)\b",
}
_EVERY_KERNEL = ("ipykernel", "ipykernel_launcher", "IPython", "pdb", "threadpoolctl", "tornado")


def modules_to_preload(pipeline: Pipeline) -> tuple[str, ...]:
    """Return those of `DEFAULT_PRELOAD` that a pipeline's notebooks may use.

    A kernel imports one that is missing itself; one too many delays the first kernel, by half
    a second for some libraries.
    """
    code = "\n".join(_code_of(pipeline))
    return tuple(module for module in DEFAULT_PRELOAD if _is_named(module, code))


def _is_named(module: str, code: str) -> bool:
    library = module.partition(".")[0]
    if library in _EVERY_KERNEL:
        return True
    part = ".".join(module.split(".")[:2])
    pattern = _PATTERNS.get(part) or _PATTERNS.get(library) or rf"\b{library}\b"
    return re.search(pattern, code) is not None


def _code_of(pipeline: Pipeline) -> Iterator[str]:
    """Yield the notebooks' code, and that of the project's own packages that they import."""
    notebooks = dict.fromkeys(step.notebook for step in pipeline.steps)
    code = [source for path in notebooks for _, source, _ in code_cells(read_notebook(path))]
    yield from code
    places = [*dict.fromkeys(str(path.parent) for path in notebooks), str(pipeline.root), *sys.path]
    for file in _own_modules({name for text in code for name in _IMPORT.findall(text)}, places):
        yield file.read_text("utf-8", "replace")


def _own_modules(imported: Iterable[str], places: list[str]) -> Iterator[Path]:
    """Yield the files of imported packages that nobody installed, this one among them."""
    installed = set(places_of_packages())
    for name in sorted(imported):
        found = PathFinder.find_spec(name, places) or _editable(name)
        origin = Path(found.origin) if found and found.origin else None
        if origin is None or origin.suffix != ".py" or any(map(origin.is_relative_to, installed)):
            continue
        yield from origin.parent.rglob("*.py") if origin.name == "__init__.py" else (origin,)


def _editable(name: str) -> ModuleSpec | None:
    """Return where a package is that finders of its own find, as some editable installs have."""
    try:
        return find_spec(name)
    except (ImportError, ValueError):
        return None
