"""Progress bars that look right in JupyterLab and stay out of executed notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.origin import is_step

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(**options: Any) -> tqdm[Any]:
    """Return tqdm's bar, with its options, for wherever this runs.

    A pipeline step has none: each of its states would stay in the executed notebook. Nor has
    an output that is no terminal.
    """
    from tqdm.auto import tqdm

    return tqdm(disable=True if is_step() else None, **options)
