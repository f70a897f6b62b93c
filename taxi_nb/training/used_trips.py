"""Which trips a run says that it used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from taxi_nb.tracking.inputs import not_inputs

if TYPE_CHECKING:
    from taxi_nb.tracking.names import Role
    from taxi_nb.trips.origin import Provenance


def logged_trips(run_id: str | None, role: Role) -> Provenance | None:
    """Return the trips that a run has logged; None if it says nothing of them."""
    import mlflow
    from mlflow.exceptions import MlflowException

    from taxi_nb.trips.origin import Provenance

    if not run_id:
        return None
    try:
        with not_inputs():
            text = mlflow.artifacts.load_text(f"runs:/{run_id}/data/{role}.json")
    except (MlflowException, OSError):
        return None
    return Provenance.from_dict(json.loads(text))
