"""How a challenger was chosen: among how many on the trips it is judged on, and by which seeds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taxi_nb.models.specs import MODELS
from taxi_nb.training.trained_models import candidate_runs, number_different
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

_SEED_PARAMS = ("seed", "random_state")


@dataclass(frozen=True)
class Selection:
    """The candidates that a challenger was the best of."""

    candidates: int = 1
    seeds: str | None = None  # What other seeds say of its error, a sentence.

    @classmethod
    def of(cls, challenger: Run, validation: pd.DataFrame, candidates: int | None) -> Selection:
        """Find the models that learned from the same trips and were validated on these.

        `candidates` is how many there were, where the caller knows.
        """
        judged_on = provenance(validation).digest
        runs = candidate_runs(challenger.data.params.get("training_digest", ""), judged_on)
        # The same again is no other candidate; chosen on other trips, it is the only one on these.
        different = number_different((run.data.params, run.data.metrics) for run in runs)
        return cls(candidates or different or 1, _seeds(challenger, runs or [challenger]))


def _seeds(challenger: Run, runs: list[Run]) -> str:
    name = challenger.data.params["model"]
    if name in MODELS and not MODELS[name].seeded:
        return f"{name} draws no random numbers: another seed changes nothing"
    alike = [run for run in runs if _but_for_seeds(run) == _but_for_seeds(challenger)]
    errors = {run.data.params.get("seed"): run.data.metrics["valid_rmse"] for run in alike}
    if len(errors) < 2:
        return "how much another seed would change its error is not known: one was trained"
    spread = statistics.stdev(errors.values())
    return (
        f"over its {len(errors)} seeds the validation RMSE has a standard deviation of "
        f"{spread:.3f} minutes"
    )


def _but_for_seeds(run: Run) -> dict[str, str]:
    return {name: value for name, value in run.data.params.items() if name not in _SEED_PARAMS}
