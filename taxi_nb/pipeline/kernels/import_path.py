"""The project's folder on a kernel's import path, as a program started there would have it.

Notebooks are in a folder of their own; what they import may stand beside that folder.
"""

from __future__ import annotations

import sys
from pathlib import Path


def modules_of(root: Path | str) -> str:
    """Return the code by which a kernel, of any client, finds modules in a project's folder.

    It assigns no name and imports no module of this project.
    """
    code = Path(__file__).read_text("utf-8")
    program = f"{code}\nfind_modules_in({str(root)!r})\n"
    return f"exec(compile({program!r}, {__file__!r}, 'exec'), {{'__name__': 'import_path'}})"


def find_modules_in(root: str) -> None:
    """Let this process import from a folder.

    As IPython does with a notebook's own folder, which comes first: after the standard library,
    so that a `random.py` there breaks nothing, and before what is installed.
    """
    if root not in sys.path:
        installed = (at for at, place in enumerate(sys.path) if place.endswith("-packages"))
        own = sys.path.index("") + 1 if "" in sys.path else next(installed, len(sys.path))
        sys.path.insert(own, root)
