"""Who and what makes a run: the developer, the notebook, the commit."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from taxi_nb.project import project_root
from taxi_nb.tracking.names import NOTEBOOK_VARIABLE


def source_tags() -> dict[str, str]:
    """Return who and what makes a run: developer, commit, dirty flag, notebook."""
    notebook = current_notebook()
    tags = {
        "developer": developer(),
        **git_tags(),
        "python": platform.python_version(),
    }
    if notebook:
        tags |= {
            "notebook": notebook,
            "mlflow.source.name": notebook,
            "mlflow.source.type": "NOTEBOOK",
        }
    return tags


def current_notebook() -> str | None:
    """Return the running notebook's path, relative to the project where it can be."""
    told = os.environ.get(NOTEBOOK_VARIABLE)
    if told:
        return told
    # Jupyter Server names the notebook that a kernel belongs to.
    session = os.environ.get("JPY_SESSION_NAME", "")
    if not session.endswith(".ipynb"):
        return None
    path = Path(session)
    root = project_root()
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def authorship() -> dict[str, Any]:
    """Return who runs something from which state of the project."""
    tags = git_tags()
    dirty = tags.get("git.dirty")
    return {
        "developer": developer(),
        "commit": tags.get("mlflow.source.git.commit"),
        "branch": tags.get("git.branch"),
        "dirty": None if dirty is None else dirty == "true",
    }


def git_tags() -> dict[str, str]:
    """Return commit, branch and dirty flag; outside git, a tag that says so."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"git.commit": "none (not a git checkout)"}
    return {
        "git.commit": commit,
        "git.branch": _git("rev-parse", "--abbrev-ref", "HEAD") or "",
        "git.dirty": str(bool(_git("status", "--porcelain"))).lower(),
        "mlflow.source.git.commit": commit,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project_root()), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def developer() -> str:
    """Return who makes runs: git's user, else the system's."""
    return _git("config", "user.name") or getpass.getuser()
