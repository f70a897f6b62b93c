"""`taxi-nb init`."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from taxi_nb.cli._stopping import USAGE, say, stop

_SKELETON = Path(__file__).with_name("skeleton")
# What may be in a folder before: an environment to install into, an empty repository.
_BEFOREHAND = (".git", ".venv")
_SHOWN = 3


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where: a folder that is empty or not there.")
    ] = Path(),
) -> None:
    """Make a small project that runs, to put notebooks of your own into.

    Example:
      taxi-nb init demo
    """
    place = folder.expanduser().absolute()
    _require_empty(place, folder)
    is_new = not place.exists()
    shutil.copytree(
        _SKELETON,
        place,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
        copy_function=shutil.copyfile,  # What is installed may be read-only.
    )
    for name in ("README.md", "requirements.txt"):
        text = (place / name).read_text("utf-8")
        filled = text.replace("{name}", place.name).replace("{version}", version("taxi-nb"))
        (place / name).write_text(filled, "utf-8")
    _make_repository(place)
    enter = f"cd {folder} && " if is_new or place != Path.cwd() else ""
    print(f"{place} is a project with two notebooks. Next: {enter}taxi-nb run")


def _require_empty(place: Path, named: Path) -> None:
    if place.exists() and not place.is_dir():
        stop(f"{named} is a file: name a folder that is empty or not there yet", USAGE)
    there = sorted(path.name for path in place.iterdir()) if place.exists() else []
    if others := [name for name in there if name not in _BEFOREHAND]:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        stop(
            f"{place} is not empty, it has {', '.join(others[:_SHOWN])}{more}: nothing was "
            "written. Name a folder that is empty or not there yet",
            USAGE,
        )


def _make_repository(place: Path) -> None:
    """Make a Git repository where there is none, so that runs can tell from which state."""
    if not shutil.which("git"):
        say("note: git is not on PATH, so runs here will not know their commit until `git init`")
        return
    inside = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if inside.returncode == 0:
        say(f"note: it is in the Git repository {inside.stdout.strip()}")
        return
    made = subprocess.run(
        ["git", "init", "-q"], cwd=place, capture_output=True, text=True, check=False
    )
    if made.returncode:
        say(f"note: no Git repository was made: {made.stderr.strip()}")
