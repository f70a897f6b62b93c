"""Starts the recorder of inputs in a kernel, forked or spawned, of any Jupyter client."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_RECORDER = Path(__file__).with_name("input_recorder.py")


def start_recording(root: Path, record: Path, ignored: Iterable[Path] = ()) -> str:
    """Return the code by which a kernel records what it reads and writes from then on.

    It assigns no name and imports no module of this project.

    Parameters
    ----------
    root : Path
        The project's folder: files below it are inputs.
    record : Path
        The file to write; see `input_recorder` for its lines.
    ignored : iterable of Path
        Files and folders below `root` that are no inputs.
    """
    call = f"start({str(root)!r}, {str(record)!r}, {[str(path) for path in ignored]!r})"
    program = f"{_RECORDER.read_text('utf-8')}\n{call}\n"
    return f"exec(compile({program!r}, {str(_RECORDER)!r}, 'exec'), {{'__name__': 'recorder'}})"
