"""The code that a logged model carries: what notebooks call, not what runs them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["model_code"]

_PACKAGE = Path(__file__).parent
_LEFT_OUT = ("pipeline", "cli", "lab.py", "__main__.py", "__pycache__")


def model_code() -> Path:
    """Return a folder ``taxi_nb`` with the package's code as it is on disk, for `code_paths`.

    MLflow copies each file twice: half as many is half the time that logging a model takes. The
    folder is made again when a file has changed.
    """
    return _copy(tuple(sorted(_stamps(_PACKAGE))))


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    files = (path for path in folder.rglob("*") if not _is_left_out(path) and path.is_file())
    return [(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]


def _is_left_out(path: Path) -> bool:
    parts = path.relative_to(_PACKAGE).parts
    return parts[0] in _LEFT_OUT or "__pycache__" in parts


@cache
def _copy(stamps: tuple[tuple[str, int, int], ...]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="taxi-nb-code-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, _, _ in stamps:
        target = folder / _PACKAGE.name / Path(name).relative_to(_PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, target)
    return folder / _PACKAGE.name
