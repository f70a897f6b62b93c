"""Where the project is on disk."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_dir", "path_within", "project_root"]


def project_root() -> Path:
    """
    Return the folder that the project's relative paths start from.

    Returns
    -------
    Path
        The folder in the environment variable ``TAXI_NB_ROOT`` if it is set; else the
        nearest folder, from the current one upwards, that holds both ``params/`` and
        ``notebooks/``; else the nearest that holds a ``pyproject.toml``; else the
        current folder. Always absolute.

    Raises
    ------
    NotADirectoryError
        If ``TAXI_NB_ROOT`` does not name a folder.
    """
    given = os.environ.get("TAXI_NB_ROOT")
    if given:
        return _existing_folder(given)
    here = Path.cwd()
    candidates = (here, *here.parents)
    return (
        next(filter(_holds_notebooks, candidates), None)
        or next(filter(_holds_pyproject, candidates), None)
        or here
    )


def data_dir() -> Path:
    """Return the folder that made and downloaded months are kept in; it may not exist yet."""
    return project_root() / "data"


def path_within(root: Path, path: Path) -> str:
    """Return a path as people know it: relative to the project where it is inside."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _existing_folder(given: str) -> Path:
    folder = Path(given).expanduser().absolute()
    if not folder.is_dir():
        raise NotADirectoryError(f"`TAXI_NB_ROOT` must be an existing folder, got: {given!r}")
    return folder


def _holds_notebooks(folder: Path) -> bool:
    return (folder / "params").is_dir() and (folder / "notebooks").is_dir()


def _holds_pyproject(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file()
