"""Hold committed notebooks to the house style; `make lint` runs this on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from taxi_nb.pipeline.house_style import complaints as complaints_of


def complaints(path: Path) -> Iterator[str]:
    """Yield what is wrong with a notebook, a line each."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    yield from (f"{path}: {complaint}" for complaint in complaints_of(notebook))


def main(paths: list[str]) -> int:
    """Print all complaints; return 1 if there are any."""
    found = [line for path in paths for line in complaints(Path(path))]
    print("\n".join(found) or f"{len(paths)} notebooks are clean")
    return 1 if found or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
