"""Progress bars that look right in JupyterLab and stay out of executed notebooks."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.names import PROGRESS_VARIABLE
from taxi_nb.tracking.origin import is_step

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(**options: Any) -> tqdm[Any]:
    """Return tqdm's bar, with its options, for wherever this runs.

    In a pipeline step each of its states would stay in the executed notebook: there it says in a
    file how far it has come, for whoever watches the run. None is shown by an output that is no
    terminal.
    """
    from tqdm import auto, std

    place = os.environ.get(PROGRESS_VARIABLE)
    if not (is_step() and place):
        return auto.tqdm(disable=True if is_step() else None, **options)
    unit = options.pop("unit", "it")
    many = unit if unit in ("B", "it") else f" {unit}s"
    form = f"{{n_fmt}} of {{total_fmt}}{many}{{postfix}}"
    told = {"mininterval": 0.5, **options, "bar_format": form}
    return std.tqdm(file=_LastLine(Path(place)), **told)


class _LastLine(io.StringIO):
    """A file that holds the last state of a bar, without what moves a terminal's cursor."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self._place = place

    def write(self, text: str) -> int:
        if says := text.strip():
            with suppress(OSError):  # Nobody's work hangs on it.
                self._place.write_text(says.replace("=", " "), "utf-8")
        return len(text)
