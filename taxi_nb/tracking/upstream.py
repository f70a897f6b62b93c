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
    """Return the runs that this step may build on, step -> id; None outside a pipeline.

    The step's inputs say that runs of this kind were asked for: when they change, it runs again.
    `among` are the ids to choose from, where not every run will do.
    """
    content = os.environ.get(UPSTREAM_VARIABLE)
    if content is None:
        return None
    runs: dict[str, str] = json.loads(content)
    chosen = {step: run for step, run in runs.items() if among is None or run in among}
    used_runs(kind, chosen)
    return chosen
