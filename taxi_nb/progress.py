"""Progress bars that look right in JupyterLab and stay out of executed notebooks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.names import NOTEBOOK_VARIABLE

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(**options: Any) -> tqdm[Any]:
    """Return tqdm's bar for wherever this runs.

    In a pipeline step there is none: every state that it showed would stay in
    the executed notebook. Nor is there one where nobody watches a terminal.

    Parameters
    ----------
    **options
        As `tqdm.tqdm` takes them.
    """
    from tqdm.auto import tqdm

    in_a_step = NOTEBOOK_VARIABLE in os.environ
    return tqdm(disable=True if in_a_step else None, **options)
