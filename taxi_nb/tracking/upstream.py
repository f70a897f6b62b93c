"""The runs of earlier steps that a notebook builds on."""

from __future__ import annotations

import json
import os
from collections.abc import Collection

from taxi_nb.tracking.inputs import used_runs
from taxi_nb.tracking.names import UPSTREAM_VARIABLE


def upstream_runs(
    kind: str | None = None, among: Collection[str] | None = None
) -> dict[str, str] | None:
    """Return the runs that this step may build on.

    The step's inputs say which ones were asked for: when they change, it runs again.

    Parameters
    ----------
    kind : str, optional
        Only runs of this kind are asked for.
    among : collection of str, optional
        The ids to choose from, where not every run will do.

    Returns
    -------
    dict of str to str, or None
        Step name -> run id; None outside a pipeline.

    Examples
    --------
    >>> upstream_runs() is None  # Outside a pipeline.
    True
    """
    content = os.environ.get(UPSTREAM_VARIABLE)
    if content is None:
        return None
    runs: dict[str, str] = json.loads(content)
    chosen = {step: run for step, run in runs.items() if among is None or run in among}
    used_runs(kind, chosen)
    return chosen
